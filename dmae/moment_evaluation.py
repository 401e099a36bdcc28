"""Moment retrieval measured through an index: within the right video, and over all of the videos."""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dmae.modeling import InputError, load_pretrained
from dmae.modeling.precision import place
from dmae.retrieval import SearchHit, VideoIndex
from dmae.training.corpora.moments import MomentQuery, load_moments
from dmae.training.evaluation.moments import interval_iou, moment_metrics

RANKS = 5


def run(args: argparse.Namespace) -> int:
    """`dmae evaluate … --moments`: indexes the videos in a folder for the time being, and searches for every query."""
    if not args.videos:
        raise InputError("--moments needs --videos, the folder of the benchmark's videos")
    if args.json not in (None, "-") and not Path(args.json).expanduser().parent.is_dir():
        raise InputError(f"--json {args.json}: there is no such folder")
    queries = load_moments(args.dataset, args.annotations or args.videos)
    started = time.monotonic()
    model, processor = load_pretrained(args.model)
    place(model, args.device or _default_device(), args.precision)
    with tempfile.TemporaryDirectory() as scratch:
        index = VideoIndex.create(scratch, model, processor, frames_per_second=args.frames_per_second, overwrite=True)
        added = index.add(args.videos, workers=args.workers)
        report = {
            "model": args.model,
            "dataset": args.dataset,
            "frames_per_second": args.frames_per_second,
            "segments": index.stats()["segments"],
            **evaluate_moments(index, queries),
            "skipped": added.failed,
            "seconds": round(time.monotonic() - started, 1),
        }
    text = json.dumps(report, ensure_ascii=False, indent=2)
    if args.json and args.json != "-":
        Path(args.json).expanduser().write_text(text + "\n", encoding="utf-8")
    if args.json == "-":
        print(text)
    else:
        for name in ("within_video", "corpus"):
            shown = ", ".join(f"{key} {value:.1f}" for key, value in report[name].items())
            print(f"{name.replace('_', ' '):12}  {shown}  ({report['queries']} queries)")
    return 1 if added.failed else 0


def _default_device():
    from accelerate import PartialState

    return PartialState().default_device


def evaluate_moments(index: VideoIndex, queries: Sequence[MomentQuery]) -> dict:
    """Searches for every query whose video is in the index.

    Returns:
        `within_video` and `corpus`: `moment_metrics` where the video is known, and where it has to be found too
        (video corpus moment retrieval); `queries`: how many; `missing`: the names of videos that are not there.
    """
    ids = _ids(index)
    there = [query for query in queries if Path(query.video).stem in ids]
    missing = sorted({query.video for query in queries} - {query.video for query in there})
    within, corpus = [], []
    for query in there:
        encoded, own = index.encode_text(query.text), ids[Path(query.video).stem]
        inside = index.search(encoded, k=RANKS, where={"id": own}, per_video=False)
        within.append(_overlaps(inside, query, own))
        corpus.append(_overlaps(index.search(encoded, k=RANKS, per_video=False), query, own))
    return {
        "queries": len(there),
        "missing": missing,
        "within_video": moment_metrics(within),
        "corpus": moment_metrics(corpus),
    }


def _ids(index: VideoIndex) -> dict[str, str]:
    """Ids by the names of their files without folder and suffix, as benchmarks know them."""
    return {Path(video_id).stem: video_id for video_id in index.table.videos(["id"])["id"].to_pylist()}


def _overlaps(hits: Sequence[SearchHit], query: MomentQuery, video_id: str) -> list[float]:
    found = []
    for hit in hits:
        if hit.id != video_id or hit.start is None or hit.end is None:
            found.append(0.0)
            continue
        span = (hit.start, hit.end)
        found.append(max((interval_iou(span, right) for right in query.spans), default=0.0))
    return found
