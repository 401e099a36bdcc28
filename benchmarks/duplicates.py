"""How long does `dmae duplicates` take, beside the bare matrix product that it cannot do without?

    python benchmarks/duplicates.py                        # 10,000 videos
    python benchmarks/duplicates.py --videos 100000

One video in a hundred is copied: every other copy is a re-encode (noise on each frame, a cosine of about 0.98), the
others are trims of eight of the twelve frames, with the same noise. The bare product is that of every one of F frames
with √F others, 64 numbers each, in float32; both are also given in seconds of the processor, which other load hardly
moves. Videos are those of structured_embeddings.py, or random with --unrelated.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from structured_embeddings import StructuredEmbeddings
from torch.nn.functional import normalize

from dmae.retrieval import VideoIndex
from dmae.retrieval.duplicates.pairs import BLOCK, SHADOW

COPIED = 100  # one in so many videos
NOISE = 0.2
TRIM = slice(2, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--unrelated", action="store_true", help="frames that have nothing in common")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        index = VideoIndex.create(Path(scratch) / "index", dim=args.dim)
        planted = fill(index, StructuredEmbeddings(args.videos, args.frames, args.dim, unrelated=args.unrelated))
        index.optimize()
        started, worked = time.perf_counter(), time.process_time()
        groups = index.duplicates()
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
    found = {frozenset((group[0].id, copy.id)) for group in groups for copy in group[1:]}
    frames = index_frames(args.videos, args.frames, len(planted))
    bare = bare_product(frames)
    print(f"{args.videos:,} videos and {len(planted):,} copies, {frames:,} frames x {args.dim} dimensions")
    print(f"found: {len(found & planted):,} of the copies, and {len(found - planted):,} that were not planted")
    print(
        f"{seconds:.1f} s; of the processor {worked:.1f} s, {worked / bare:.1f} times the bare product of "
        f"{frames:,} x {SHADOW} x √F ({bare:.1f} s)"
    )


def index_frames(videos: int, frames: int, copies: int) -> int:
    trims = copies // 2
    return (videos + copies - trims) * frames + trims * (TRIM.stop - TRIM.start)


def fill(index: VideoIndex, corpus: StructuredEmbeddings) -> set[frozenset[str]]:
    """Adds the corpus and copies of it; returns the pairs of original and copy."""
    noise = torch.Generator().manual_seed(1)
    planted, number = set(), 0
    for frames in corpus.blocks():
        ids = [f"v{number + n}" for n in range(len(frames))]
        index.add_embeddings(ids, frames)
        copied = frames[::COPIED]
        shaken = normalize(copied + NOISE * normalize(torch.randn(copied.shape, generator=noise), dim=-1), dim=-1)
        names = [f"{name}-copy" for name in ids[::COPIED]]
        index.add_embeddings(names[::2], shaken[::2])
        index.add_embeddings(names[1::2], shaken[1::2, TRIM])
        planted |= {frozenset(pair) for pair in zip(ids[::COPIED], names)}
        number += len(frames)
    return planted


def bare_product(frames: int) -> float:
    """Seconds of the processor that the product takes, by a tenth of its blocks."""
    left, right = np.ones((BLOCK, SHADOW), np.float32), np.ones((round(frames**0.5), SHADOW), np.float32)
    blocks = max(1, frames // BLOCK)
    timed = max(1, blocks // 10)
    np.dot(left, right.T)
    started = time.process_time()
    for _ in range(timed):
        np.dot(left, right.T)
    return (time.process_time() - started) / timed * frames / BLOCK


if __name__ == "__main__":
    main()
