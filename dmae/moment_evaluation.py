"""Moment retrieval measured through an index: within the right video, and over all of the videos."""

from collections.abc import Sequence
from pathlib import Path

from dmae.retrieval import SearchHit, VideoIndex
from dmae.training.corpora.moments import MomentQuery
from dmae.training.evaluation.moments import interval_iou, moment_metrics

RANKS = 5


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
        known = hit.id == video_id and hit.start is not None and hit.end is not None
        span = (hit.start, hit.end) if known else None
        found.append(max((interval_iou(span, right) for right in query.spans), default=0.0) if span else 0.0)
    return found
