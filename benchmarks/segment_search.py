"""What does it cost to search segments of long videos rather than as many short videos?

    python benchmarks/segment_search.py

The same random embeddings are indexed twice: as so many videos, and as the segments of far fewer. Queries take turns
between the two; each number is the median of all of them.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from dmae import VideoIndex

BATCH = 5000


def build(place: Path, count: int, per_video: int, frames: int, dim: int) -> VideoIndex:
    """An index of `count` rows, the same whatever video they belong to."""
    index = VideoIndex.create(place, dim=dim)
    generator = torch.Generator().manual_seed(0)
    for first in range(0, count, BATCH):
        rows = range(first, min(first + BATCH, count))
        centre = normalize(torch.randn(len(rows), 1, dim, generator=generator), dim=-1)
        noise = normalize(torch.randn(len(rows), frames, dim, generator=generator), dim=-1)
        starts = np.array([row % per_video * frames for row in rows], dtype=float)
        index.add_embeddings(
            [f"video {row // per_video}" for row in rows],
            normalize(centre + 0.5 * noise, dim=-1),
            frame_times=starts[:, None] + np.arange(frames) + 0.5,
            segments=[(start, start + frames) for start in starts] if per_video > 1 else None,
        )
    index.prepare()
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--per-video", type=int, default=50, help="segments; must divide 5000")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    args = parser.parse_args()
    size = args.frames, args.dim
    with tempfile.TemporaryDirectory() as scratch:
        indexes = {per: build(Path(scratch, str(per)), args.rows, per, *size) for per in (1, args.per_video)}
        times: dict[int, list[float]] = {per: [] for per in indexes}
        generator = torch.Generator().manual_seed(1)
        for _ in range(args.queries):
            sentence = normalize(torch.randn(1, args.dim, generator=generator), dim=-1)
            words = normalize(sentence[:, None] + 0.5 * torch.randn(1, 8, args.dim, generator=generator), dim=-1)
            for per, index in indexes.items():
                started = time.perf_counter()
                index.search_embeddings(sentence, words, torch.ones(1, 8), k=10)
                times[per].append(time.perf_counter() - started)
    medians = {per: 1000 * statistics.median(own) for per, own in times.items()}
    for per, median in medians.items():
        print(f"{args.rows} rows of {args.rows // per} videos: p50 {median:.1f} ms")
    print(f"segments over videos: {medians[args.per_video] / medians[1]:.2f}")


if __name__ == "__main__":
    main()
