"""Spans of videos that match a query, from the scores of the frames of their segments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .candidates import CandidateSource
from .combination import Queries
from .places import Place
from .scoring import CandidateFrames

LEVEL = 0.6  # a span holds the frames whose evidence has this share of the way from what is unrelated to the best
HIGH_LEVEL = 0.8  # the same where many frames of the index reach that share
UNRELATED = 12  # segments from all over the index whose middle frame stands for what is unrelated to a query
SEGMENT_SHARE = 0.25  # of a frame's evidence that is its segment's score
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
    """Finds the spans of one query.

    Args:
        source: where segments are read from.
        query: `Queries` of one.
        where: a filter that every segment must pass.
    """

    def __init__(self, source: CandidateSource, query: Queries, where: str | None):
        self.source, self.query, self.where = source, query, where
        sample = source.sample()
        known = [segment.evidence for segment in self._score(_thinned(sample))] if sample is not None else []
        quantiles = np.quantile(np.concatenate(known), (0.5, 0.9)) if known else (0.0, 0.0)
        self.unrelated, self.common = map(float, quantiles)

    def spans(self, ranked: Sequence[ScoredSegment], part: slice = slice(None)) -> list[list[Span]]:
        """The spans of each video that some segments belong to, best first, and the videos by their best.

        Args:
            ranked: best first. part: of the videos.
        """
        videos: dict[int, dict[int, ScoredSegment]] = {}
        for segment in ranked:
            videos.setdefault(segment.place.video, {})[segment.place.number] = segment
        videos = {video: videos[video] for video in list(videos)[part]}
        thresholds = {video: self._threshold(segments) for video, segments in videos.items()}
        if self.source.have_parts:
            self._grow(videos, thresholds)
        found = [list(spans_of(list(segments.values()), thresholds[video])) for video, segments in videos.items()]
        for spans in found:
            spans.sort(key=lambda span: -span.moment.score)
        return found

    def _threshold(self, segments: dict[int, ScoredSegment]) -> float:
        best = max(segments.values(), key=lambda segment: segment.score)
        peak = float(best.evidence.max())
        rise = peak - self.unrelated
        # What a tenth of all frames reach is no sign of anything, unless the best is hardly above it.
        return min(self.unrelated + max(LEVEL * rise, min(self.common - self.unrelated, HIGH_LEVEL * rise)), peak)

    def _grow(self, videos: dict[int, dict[int, ScoredSegment]], thresholds: dict[int, float]) -> None:
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
            scored = self._score(self.source.frames([place.row_id for place in places]))
            for place, segment in zip(places, scored):
                videos[place.video][place.number] = segment._replace(place=place)

    def _score(self, frames: CandidateFrames) -> Iterator[ScoredSegment]:
        scores, per_frame = (part[0] for part in self.query.score(CandidateFrames(*(part[None] for part in frames))))
        nowhere = Place(-1, 0, 0, None, None, np.empty(0))
        for score, own, real in zip(scores.tolist(), per_frame.numpy(), (frames.weights > 0).numpy()):
            yield ScoredSegment(nowhere, score, own[real])


def _thinned(sample: CandidateFrames) -> CandidateFrames:
    step = max(1, len(sample.weights) // UNRELATED)
    return CandidateFrames(*(part[::step] for part in sample))


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
    owner = np.repeat(np.arange(len(segments)), [len(segment.frame_scores) for segment in segments])
    above = np.flatnonzero(np.concatenate([segment.evidence for segment in segments]) >= threshold)
    if not len(above):
        return
    for run in np.split(above, np.flatnonzero(np.diff(above) > BRIDGED + 1) + 1):
        touched = segments[owner[run[0]] : owner[run[-1]] + 1]
        yield _span(touched, *(int(end - np.searchsorted(owner, owner[run[0]])) for end in (run[0], run[-1])))


def _span(segments: list[ScoredSegment], first: int, last: int) -> Span:
    """The span from the `first` to the `last` frame of some segments."""
    best = max(segments, key=lambda segment: segment.score)
    scores = np.concatenate([segment.frame_scores for segment in segments])
    times = np.concatenate([segment.place.times for segment in segments])
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
