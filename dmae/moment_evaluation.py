"""Moment retrieval measured through an index: within the right video, and over all of the videos."""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmae.modeling import VIDEO_SUFFIXES, InputError, load_pretrained
from dmae.modeling.precision import place
from dmae.retrieval import EncodedQuery, SearchHit, VideoIndex
from dmae.training.corpora.moments import HIGHLIGHT_CLIP, MomentQuery, load_moments
from dmae.training.evaluation.highlights import highlight_metrics
from dmae.training.evaluation.moments import PRECISION_SPANS, interval_iou, moment_metrics


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
        for name in filter(report.__contains__, ("within_video", "corpus", "highlights")):
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
        (video corpus moment retrieval); `highlights`: `highlight_metrics`, where people marked some; `queries`: how
        many; `missing`: the names of videos that are not there.
    """
    ids = {video_name(video_id): video_id for video_id in index.table.videos(["id"])["id"].to_pylist()}
    there = [query for query in queries if video_name(query.video) in ids]
    missing = sorted({query.video for query in queries} - {query.video for query in there})
    within, corpus, scores, saliency = [], [], [], []
    for query in there:
        encoded, own = index.encode_text(query.text), ids[video_name(query.video)]
        inside = index.search(encoded, k=PRECISION_SPANS, where={"id": own}, per_video=False)
        within.append(_overlaps(inside, query, own))
        corpus.append(_overlaps(index.search(encoded, k=PRECISION_SPANS, per_video=False), query, own))
        if query.saliency:
            saliency.append(np.array(query.saliency))
            scores.append(_clip_scores(index, encoded, own, len(query.saliency)))
    found = {"within_video": moment_metrics(within), "corpus": moment_metrics(corpus)}
    if scores:
        found["highlights"] = highlight_metrics(scores, saliency)
    return {"queries": len(there), "missing": missing, **found}


def video_name(file: str) -> str:
    """The name of a video as benchmarks know it: without folder and video suffixes, of which a file may have two, and
    with whatever else follows a dot, as the seconds in names of QVHighlights."""
    name = os.path.basename(file)
    while os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
        name = os.path.splitext(name)[0]
    return name


def _overlaps(hits: Sequence[SearchHit], query: MomentQuery, video_id: str) -> np.ndarray:
    """`(P, S)` IoU of what was found with what was marked."""
    found = np.zeros((len(hits), len(query.spans)))
    for row, hit in enumerate(hits):
        if hit.id == video_id and hit.start is not None and hit.end is not None:
            found[row] = [interval_iou((hit.start, hit.end), right) for right in query.spans]
    return found


def _clip_scores(index: VideoIndex, query: EncodedQuery, video_id: str, clips: int) -> np.ndarray:
    """`(clips,)` scores: of each clip the one in its middle."""
    times, scores = index.timeline(query, video_id)
    return np.interp(HIGHLIGHT_CLIP * (np.arange(clips) + 0.5), times, scores)
