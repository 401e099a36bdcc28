"""Is the best moment of a long film in the right scene?

    python benchmarks/moments.py demo/model

A film of 120 synthetic scenes, one after another, is indexed in three ways: as one video of the model's frames, in
fixed windows, and in segments cut where the content changes. Each scene's caption is searched for. "right scene": the
best moment lies in the captioned scene; R@1 and mIoU compare the spans.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dmae import VideoIndex, load_pretrained
from dmae.retrieval.indexing import long_videos
from dmae.training.evaluation.moments import interval_iou
from dmae.training.synthetic.films import MOMENTS, write_films


class FixedWindows:
    """In place of `Segmenter`: windows of the longest segment's frames, wherever the content changes."""

    def __init__(self, longest: int):
        self.longest, self.waiting = longest, 0

    def push(self, embeds: np.ndarray) -> list[int]:
        self.waiting += len(embeds)
        whole = max(0, self.waiting - 1) // self.longest  # the last one's end is known when something follows
        self.waiting -= whole * self.longest
        return [self.longest] * whole

    def finish(self) -> list[int]:
        lengths = [self.longest] * (self.waiting // self.longest)
        return lengths + ([self.waiting % self.longest] if self.waiting % self.longest else [])


def measure(index, moments: list[dict]) -> dict[str, float]:
    inside, ious = [], []
    for moment in moments:
        hit = index.search(index.encode_text(moment["caption"]), k=1)[0]
        inside.append(moment["start"] <= hit.best_time < moment["end"])
        ious.append(interval_iou((hit.start, hit.end), (moment["start"], moment["end"])))
    ious = np.array(ious)
    at = {f"R@1, IoU {level}": float((ious >= level).mean()) for level in (0.3, 0.5, 0.7)}
    return {"right scene": float(np.mean(inside)), **at, "mIoU": float(ious.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model of the synthetic scenes, such as the demo's")
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--rate", type=float, default=2.0, help="frames per second (default: 2)")
    args = parser.parse_args()
    model, processor = load_pretrained(args.model)
    ours = long_videos.Segmenter
    ways = {"whole video": (None, ours), "fixed windows": (args.rate, FixedWindows), "segments": (args.rate, ours)}
    table = Table(title=f"one film of {args.scenes} scenes")
    with tempfile.TemporaryDirectory() as scratch:
        films = write_films(Path(scratch) / "films", scenes=args.scenes)
        film = json.loads((films / MOMENTS).read_text(encoding="utf-8").splitlines()[0])
        for name, (rate, segmenter) in ways.items():
            long_videos.Segmenter = segmenter
            index = VideoIndex.create(Path(scratch) / name, model, processor, frames_per_second=rate)
            started = time.perf_counter()
            index.add(films / film["video"])
            seconds = time.perf_counter() - started
            found = measure(index, film["moments"])
            if not table.columns:
                for title in ("", "segments", "indexed in s", *found):
                    table.add_column(title, justify="right" if title else "left")
            cells = (f"{value:.3f}" for value in found.values())
            table.add_row(name, str(index.stats()["segments"]), f"{seconds:.1f}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
