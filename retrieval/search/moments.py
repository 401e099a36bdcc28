"""Spans of videos that match a query, from the scores of the frames of their segments."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch

from .candidates import QUERY_GROUP, CandidateSource
from .combination import Queries
from .resident import Place
from .scoring import CandidateFrames

LEVEL = 0.6  # a span holds the frames whose evidence has this share of the way from what is unrelated to the best
HIGH_LEVEL = 0.8  # the same where many frames of the index reach that share
SEGMENT_SHARE = 0.25  # of a frame's evidence that is its segment's score
SHARES = torch.tensor([0.5, 0.9])  # of the frames of the index, that what is unrelated and what is common stay below
BRIDGED = 1  # frames in a row that may fall short inside a span
ROUNDS = 6  # in each of which a span may grow by twice as many segments as in the one before


@dataclass(frozen=True)
class Moment:
    """A span of a video.

    Attributes:
        start, end: in seconds, None where unknown.
        best_time: time in seconds of its best frame, None where unknown.
        score: the DMAE similarity of the query and its best segment.
    """

    start: float | None
    end: float | None
    best_time: float | None
    score: float

    def to_dict(self) -> dict:
        """The span as JSON values."""
        return {
            "start": rounded(self.start),
            "end": rounded(self.end),
            "best_time": rounded(self.best_time),
            "score": round(self.score, 6),
        }


def rounded(seconds: float | None) -> float | None:
    """To the millisecond."""
    return None if seconds is None else round(seconds, 3)


class ScoredSegment(NamedTuple):
    """A segment, its DMAE score and the `(F,)` scores of its frames."""

    place: Place
    score: float
    frame_scores: np.ndarray

    @property
    def evidence(self) -> np.ndarray:
        """`(F,)` how much each frame speaks for the query: by itself, and by the segment that it is part of."""
        return self.frame_scores + SEGMENT_SHARE * (self.score - self.frame_scores)


@dataclass(frozen=True, eq=False)
class Span:
    """A matching span: the segments that it touches, in the order of time, the best one, and the moment itself."""

    segments: list[ScoredSegment]
    best: ScoredSegment
    moment: Moment


class SpanFinder:
    """Finds the spans of queries that are searched for together.

    Args:
        source: where segments are read from.
        queries: all of them.
        where: a filter that every segment must pass.
    """

    def __init__(self, source: CandidateSource, queries: Queries, where: str | None):
        self.source, self.queries, self.where = source, queries, where
        self._levels = _levels(queries, source.few())

    def spans(self, number: int, ranked: Sequence[ScoredSegment], part: slice = slice(None)) -> list[list[Span]]:
        """The spans of each video that some segments belong to, best first, and the videos by their best.

        Args:
            number: of the query. ranked: its segments, best first. part: of the videos.
        """
        videos: dict[int, dict[int, ScoredSegment]] = {}
        for segment in ranked:
            videos.setdefault(segment.place.video, {})[segment.place.number] = segment
        videos = {video: videos[video] for video in list(videos)[part]}
        thresholds = {video: _threshold(segments, *self._levels[number]) for video, segments in videos.items()}
        if self.source.have_parts:
            self._grow(self.queries[number : number + 1], videos, thresholds)
        found = [list(spans_of(list(segments.values()), thresholds[video])) for video, segments in videos.items()]
        for spans in found:
            spans.sort(key=lambda span: -span.moment.score)
        return found

    def _grow(self, query: Queries, videos: dict[int, dict[int, ScoredSegment]], thresholds: dict[int, float]) -> None:
        """Scores the neighbours of segments that match up to their end, until none does."""
        for step in (2**n for n in range(ROUNDS)):
            wanted = [
                (video, number)
                for video, segments in videos.items()
                for number in _missing(segments, thresholds[video], step)
            ]
            places = self.source.segments(wanted, self.where) if wanted else []
            if not places:
                return
            frames = self.source.frames([place.row_id for place in places])
            scores, per_frame = (part[0] for part in query.score(frames.as_batch()))
            scored = zip(places, scores.tolist(), per_frame.numpy(), (frames.weights > 0).numpy())
            for place, score, own, real in scored:
                videos[place.video][place.number] = ScoredSegment(place, score, own[real])


def _levels(queries: Queries, few: CandidateFrames | None) -> list[list[float]]:
    """For each query the evidence that half of the frames of the index, and nine tenths of them, stay below, by a few
    of its segments."""
    if few is None:
        return [[0.0, 0.0]] * len(queries)
    real = few.weights > 0
    found = []
    for start in range(0, len(queries), QUERY_GROUP):
        group = queries[start : start + QUERY_GROUP]
        frames = CandidateFrames(*(part.expand(len(group), *part.shape) for part in few))
        scores, frame_scores = group.score(frames)
        evidence = frame_scores + SEGMENT_SHARE * (scores[..., None] - frame_scores)
        found += _quantiles(evidence[:, real], SHARES).tolist()
    return found


def _quantiles(values: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """`(A, S)` of `(A, N)` values, as `torch.quantile`, which takes several times as long where they are few."""
    ordered = values.sort(dim=1).values
    at = shares * (ordered.shape[1] - 1)
    return ordered[:, at.floor().long()].lerp(ordered[:, at.ceil().long()], at.frac())


def _threshold(segments: dict[int, ScoredSegment], unrelated: float, common: float) -> float:
    best = max(segments.values(), key=lambda segment: segment.score)
    peak = float(best.evidence.max())
    rise = peak - unrelated
    # What a tenth of all frames reach is no sign of anything, unless the best is hardly above it.
    return min(unrelated + max(LEVEL * rise, min(common - unrelated, HIGH_LEVEL * rise)), peak)


def _missing(segments: dict[int, ScoredSegment], threshold: float, step: int) -> Iterator[int]:
    """Numbers of the segments beside those that match up to their first or last frame, `step` of them on a side."""
    for number, segment in segments.items():
        for side, frame in ((-1, 0), (1, -1)):
            if segment.evidence[frame] >= threshold and number + side not in segments and number + side >= 0:
                yield from (n for n in range(number + side, number + side * (step + 1), side) if n >= 0)


def spans_of(segments: list[ScoredSegment], threshold: float) -> Iterator[Span]:
    """The spans of one video whose frames' evidence reaches a threshold, in the order of time."""
    segments = sorted(segments, key=lambda segment: segment.place.number)
    borders = [0, *(n for n, (a, b) in enumerate(pairwise(segments), 1) if b.place.number != a.place.number + 1)]
    for first, stop in pairwise([*borders, len(segments)]):
        yield from _spans_in_a_row(segments[first:stop], threshold)


def _spans_in_a_row(segments: list[ScoredSegment], threshold: float) -> Iterator[Span]:
    above = np.flatnonzero(_joined([segment.evidence for segment in segments]) >= threshold).tolist()
    starts = list(accumulate((len(segment.frame_scores) for segment in segments), initial=0))
    gaps = [n for n, (frame, other) in enumerate(pairwise(above), 1) if other - frame > BRIDGED + 1]
    for begin, stop in pairwise([0, *gaps, len(above)] if above else []):
        first, last = above[begin], above[stop - 1]
        touched = slice(bisect_right(starts, first) - 1, bisect_right(starts, last))
        yield _span(segments[touched], first - starts[touched.start], last - starts[touched.start])


def _span(segments: list[ScoredSegment], first: int, last: int) -> Span:
    """The span from the `first` to the `last` frame of some segments."""
    best = max(segments, key=lambda segment: segment.score)
    scores = _joined([segment.frame_scores for segment in segments])
    times = _joined([segment.place.times for segment in segments])
    start, end = segments[0].place.start, segments[-1].place.end
    best_time = None
    if len(times) == len(scores):
        best_time = float(times[first + int(scores[first : last + 1].argmax())])
        # Between two frames a span ends halfway; where it holds a segment's last frame, with the segment.
        if first > 0:
            start = float(times[first - 1] + times[first]) / 2
        if last + 1 < len(times):
            end = float(times[last] + times[last + 1]) / 2
    return Span(segments, best, Moment(start, end, best_time, best.score))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
