"""Does indexing keep an accelerator fed, and hide the faster of decoding and encoding behind the slower?

    python benchmarks/indexing.py                                   # drawn videos, a tower of ViT-B/32's size
    python benchmarks/indexing.py ~/clips --model openai/clip-vit-base-patch32

First, how fast the same worker processes read videos: bare, and with what they do for the index too (cropping, the
thumbnail, the digest of the file). Then `VideoIndex.add` with a model that costs nothing, as a share of both, and what
this process spends on a video meanwhile: an accelerator would wait for that. Last, with the real model:
encoding alone, and `VideoIndex.add` as a share of the slower half (what an accelerator beside the cores could reach)
and of both halves after one another (the most that one set of cores can do when each half keeps all of them busy).
Shares are of one run: on a busy machine they still hold, the videos per second do not.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import torch
from torch.nn import functional as F

from dmae.modeling.encoding import encode_videos
from dmae.modeling.features import VideoFeatures
from dmae.modeling.frame_loader import FrameLoader
from dmae.modeling.loading import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.retrieval.indexing import batch_encoding
from dmae.retrieval.indexing.corpus import make_plan
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.synthetic import write_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--videos", type=int, default=60, help="drawn videos, where no corpus is given")
    parser.add_argument("--copies", type=int, default=8, help="of each, so that what is done once weighs little")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--no-model", action="store_true", help="only what needs no real model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        drawn = {"num_train": 1, "num_test": args.videos, "size": 224}
        corpus = args.corpus or repeated(write_corpus(Path(folder, "videos"), **drawn) / "test", args.copies)
        model, processor = load_pretrained(args.model) if args.model else vit_b32()
        measure(corpus, model.eval(), processor, args)


def repeated(folder: Path, copies: int) -> Path:
    """The same videos under further names."""
    for video in list(folder.glob("*.mp4")):
        for copy in range(1, copies):
            os.link(video, video.with_name(f"{video.stem}-{copy}.mp4"))
    return folder


def vit_b32() -> tuple:
    return new_model(
        ["a red star"], image_size=224, patch_size=32, width=768, vision_layers=12, text_layers=1, num_frames=12
    )


def measure(corpus: Path, model, processor, args: argparse.Namespace) -> None:
    files = make_plan(corpus, []).new
    sources, count = [file.video for file in files], len(files)

    loader = FrameLoader(sources, processor.video_processor, workers=args.workers)
    _, bare = timed(lambda: sum(item.error is None for item in loader))
    prepare = batch_encoding.Preparation(files, processor.video_processor)
    preparing = FrameLoader(sources, processor.video_processor, workers=args.workers, prepare=prepare)
    _, prepared = timed(lambda: sum(item.error is None for item in preparing))
    row("read, bare", count / bare)
    row("read, with cropping, thumbnail, digest", count / prepared)

    unit = F.normalize(torch.ones(1, 1, model.config.projection_dim), dim=-1)
    free = lambda pixels, mask: VideoFeatures(unit.expand(*mask.shape, -1), mask)  # noqa: E731
    with (
        patch.object(model, "get_video_features", free),
        patch.object(batch_encoding.Normalizer, "__call__", lambda self, frames, out=None: frames),
    ):
        before = peak()
        spent = time.process_time()
        report = add(corpus, model, processor, args)
        spent = (time.process_time() - spent) / count
    row("index.add, free model", count / report.seconds)
    row("", bare / report.seconds, "of reading, bare")
    row("", prepared / report.seconds, "of reading, with the rest")
    row("", 1000 * spent, "ms of this process per video")
    row("", peak() - before, "MB more at its peak")
    if args.no_model:
        return

    decoded = [item.frames for item in loader if item.error is None]
    _, encode = timed(lambda: encode_videos(model, processor, decoded, batch_size=args.batch_size))
    report = add(corpus, model, processor, args)
    row("encode alone", len(decoded) / encode)
    row("index.add", count / report.seconds)
    row("", max(prepared, encode) / report.seconds, "of the slower alone")
    row("", (prepared + encode) / report.seconds, "of one after the other")


def add(corpus: Path, model, processor, args: argparse.Namespace):
    with tempfile.TemporaryDirectory() as folder:
        index = VideoIndex.create(Path(folder, "index"), model, processor)
        return index.add(corpus, workers=args.workers, batch_size=args.batch_size, progress=False)


def timed(work) -> tuple:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def peak() -> float:
    """Most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(name: str, value: float, unit: str = "videos/s") -> None:
    print(f"{name:40} {value:8.2f} {unit}", flush=True)


if __name__ == "__main__":
    main()
