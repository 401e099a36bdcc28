"""Two-stage search: pooled vectors narrow the corpus down, the full DMAE similarity ranks what is left."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from dmae.modeling.features import TextFeatures

from ..errors import VideoIndexError
from ..inputs import check_confidence, check_number
from ..storage.filters import make_where
from ..storage.schema import IndexSettings
from ..storage.table import VideoTable
from .candidates import CandidateSource
from .combination import Combination, CombinedQuery, Queries
from .confidence import Judge, TextBank
from .distinct import DistinctHits
from .likeness import check_cosine
from .limits import SearchLimits
from .moments import Moment, ScoredSegment, Span, SpanFinder, rounded
from .query import EncodedQuery
from .resident import place_columns
from .sample import Sample
from .scoring import ScoreOptions
from .stages import RankedRow, rank

HIT_COLUMNS = ("id", "path", "duration", "frame_times", "metadata")
FEW_SEGMENTS = 24  # ranked at least where a video may take many places


@dataclass(frozen=True, eq=False)
class SearchHit:
    """One result.

    Attributes:
        id: the video's id. path: its file, None where the embeddings were added by hand.
        start, end: the span that matches, in seconds; None where unknown.
        score: the DMAE similarity of the query and the segment of the video that fits best, exactly the model's. A
            short video is one segment.
        best_time: time in seconds of the frame with the highest score, None where frame times are unknown.
        frame_scores: `(F,)` of the frames of the span's segments, one score per real frame: half the sentence's
            similarity to it, half that of its best word.
        frame_times: `(F,)` seconds, empty where unknown.
        duration: seconds, None where unknown.
        metadata: the user's metadata.
        moments: further spans of the same video, best first.
        segment: the number of the segment that fits best, from 0.
        confidence: from 0 to 1, comparable between queries and indexes: how far the score stands out from those of
            unrelated texts with the same video (`confidence`). None for a query that is no text, or without a model.
        pooled: `(D,)` the mean frame of the segment that fits best, where it was asked for.
    """

    id: str
    path: str | None
    score: float
    best_time: float | None
    frame_scores: np.ndarray
    frame_times: np.ndarray
    duration: float | None = None
    metadata: dict = field(default_factory=dict)
    start: float | None = None
    end: float | None = None
    moments: tuple[Moment, ...] = ()
    segment: int = 0
    confidence: float | None = None
    pooled: np.ndarray | None = field(default=None, repr=False)

    def to_dict(self) -> dict:
        """The hit as JSON values."""
        return {
            "id": self.id,
            "path": self.path,
            "score": round(self.score, 6),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "start": rounded(self.start),
            "end": rounded(self.end),
            "best_time": rounded(self.best_time),
            "moments": [moment.to_dict() for moment in self.moments],
            "duration": self.duration,
            "frame_times": [round(float(t), 3) for t in self.frame_times],
            "frame_scores": [round(float(s), 6) for s in self.frame_scores],
            "metadata": self.metadata,
        }

    @classmethod
    def from_dict(cls, values: Mapping) -> "SearchHit":
        """A hit of what `to_dict` made of it, which does not tell the segment.

        Raises:
            ValueError, KeyError, TypeError: the values are no hit's.
        """
        scores, times = (np.array(values[name], dtype=np.float64) for name in ("frame_scores", "frame_times"))
        if not isinstance(values["id"], str) or scores.ndim != 1 or not len(scores) or times.ndim != 1:
            raise ValueError("a hit without id or frames")
        return cls(
            id=values["id"],
            path=None if values["path"] is None else str(values["path"]),
            score=float(values["score"]),
            best_time=_number(values["best_time"]),
            frame_scores=scores,
            frame_times=times,
            duration=_number(values["duration"]),
            metadata=dict(values["metadata"]),
            start=_number(values["start"]),
            end=_number(values["end"]),
            moments=tuple(_moment(part) for part in values["moments"]),
            confidence=_number(values["confidence"]),
        )


class Searcher:
    """Searches one table from one process.

    Safe to call from several threads: one of them at a time brings the memory in step with the table and ranks, the
    others wait for it.
    """

    def __init__(self, table: VideoTable, options: ScoreOptions, limits: SearchLimits, bank: TextBank | None = None):
        self.table = table
        self._bank = bank
        self._judge: tuple[Sample, Judge] | None = None
        self.options = options
        self.limits = limits
        self.source = CandidateSource(table, limits)
        self._searched = False
        self._lock = threading.RLock()

    def search(
        self, queries: TextFeatures, k: int, *, options: ScoreOptions | None = None, **limits
    ) -> list[list[SearchHit]]:
        """Hits of each of A queries, best first, from the `offset`-th on; `options` in place of the model's."""
        return self._search(
            lambda: Queries([(queries, options or self.options)]), k, confident=options is None, **limits
        )

    def search_combined(self, query: CombinedQuery, k: int, **limits) -> list[SearchHit]:
        """As `search`, for one query of several parts."""
        return self._search(lambda: self._queries_of(query), k, confident=query.text is not None, **limits)[0]

    def queries_of(self, query: EncodedQuery, options: ScoreOptions | None = None) -> Queries:
        """What scores frames by a query as a search does, or by other options."""
        if not isinstance(query, CombinedQuery):
            return Queries([(query.features, options or query.options or self.options)])
        with self._lock:
            self.source.refresh(with_frames=False)
            return self._queries_of(query)

    def _queries_of(self, query: CombinedQuery) -> Queries:
        parts = [(part.features, part.options or self.options) for part in query.parts]
        sample = self.source.sample()
        return Queries(parts, Combination.of(query, self.options, None if sample is None else sample.frames))

    def _search(
        self,
        make_queries: Callable[[], Queries],
        k: int,
        *,
        confident: bool,
        offset=0,
        where=None,
        min_score=None,
        min_confidence=None,
        per_video=True,
        distinct=None,
        with_pooled=False,
    ) -> list[list[SearchHit]]:
        for name, value, least in (("k", k, 1), ("offset", offset, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise VideoIndexError(f"{name} must be a whole number, at least {least}, got {value!r}")
        check_number("min_score", min_score)
        check_confidence("min_confidence", min_confidence)
        if min_confidence is not None and (self._bank is None or not confident):
            reason = "the index was opened without a model" if self._bank is None else "the query is no text"
            raise VideoIndexError(f"min_confidence cannot be told, because {reason}: use min_score")
        if distinct is not None:
            distinct = check_cosine("distinct", distinct)
        where = make_where(where)
        wanted = int(k) + int(offset)
        with self._lock:
            self.source.refresh(with_frames=self._searched)
            self._searched = True
            queries = make_queries()
            chosen = self._spans(queries, slice(int(offset), wanted), where, per_video, distinct)
        if min_score is not None:
            chosen = [
                [_without_weak(spans, float(min_score)) for spans in hits if spans[0].moment.score >= min_score]
                for hits in chosen
            ]
        hits = self._hits(chosen, queries if confident else None, with_pooled)
        if min_confidence is None:
            return hits
        return [[hit for hit in own if (hit.confidence or 0) >= min_confidence] for own in hits]

    def _spans(
        self, queries: Queries, part: slice, where: str | None, per_video: bool, distinct: float | None
    ) -> list[list[list[Span]]]:
        """For each query that part of its hits: what becomes one is the spans of a video, or a span alone."""
        wanted = part.stop
        without_copies = None if distinct is None else DistinctHits(self.source, distinct)
        rows = max(2 * wanted, FEW_SEGMENTS) if self.source.have_parts or without_copies else wanted
        count = self.limits.candidates
        finder = SpanFinder(self.source, queries, where)
        found: dict[int, list[list[Span]]] = {}
        pending = list(range(len(queries)))
        while pending:
            count = max(count, 4 * rows)
            groups = self.source(queries[pending], count, where)
            ranked = [hits for candidates in groups for hits in rank(candidates, rows)]
            again = []
            for a, hits, segments in zip(pending, ranked, self._placed(ranked)):
                there_are_more = len(hits) == rows
                if there_are_more and per_video and len({segment.place.video for segment in segments}) < wanted:
                    again.append(a)  # a few videos took all the places
                    continue
                if per_video and without_copies is None:
                    found[a] = finder.spans(a, segments, part)
                    continue
                own = finder.spans(a, segments)
                if not per_video:
                    own = sorted(([span] for spans in own for span in spans), key=lambda spans: -spans[0].moment.score)
                if without_copies is not None:
                    own = without_copies(own, wanted)
                if there_are_more and len(own) < wanted:
                    again.append(a)  # neighbours became one span, or copies took the places
                else:
                    found[a] = own[part]
            pending, rows, count = again, 4 * rows, 4 * count
        return [found[a] for a in range(len(found))]

    def _placed(self, ranked: list[list[RankedRow]]) -> list[list[ScoredSegment]]:
        wanted = list(dict.fromkeys(row.row_id for hits in ranked for row in hits))
        places = {place.row_id: place for place in self.source.places(wanted)} if wanted else {}
        return [
            [ScoredSegment(places[row.row_id], row.score, row.frame_scores) for row in hits if row.row_id in places]
            for hits in ranked
        ]

    def prepare(self, tell: Callable[[int, int], None] | None = None) -> None:
        """Loads what searches need now instead of at the first two of them, telling how many rows of how many."""
        if self._bank is not None:
            self._bank.features()
        with self._lock:
            self._searched = True
            self.source.refresh(with_frames=True, tell=tell)

    def stats(self) -> dict:
        """What this process holds in memory, as plain values."""
        resident = self.source.resident
        return {
            "resident_bytes": resident.nbytes if resident is not None else 0,
            "coherence": round(resident.coherence, 3) if resident is not None else None,
        }

    def sample(self) -> tuple[int | None, Sample | None]:
        """The version of the table, and the sample by which its scores are judged (None where it is empty)."""
        with self._lock:
            self.source.refresh(with_frames=self._searched)
            return self.source.version, self.source.sample()

    def _hits(
        self, chosen: list[list[list[Span]]], queries: Queries | None, with_pooled: bool
    ) -> list[list[SearchHit]]:
        """The hits, with confidences where these are the queries that they answer."""
        wanted = list(dict.fromkeys(spans[0].best.place.row_id for hits in chosen for spans in hits))
        with self._lock:
            rows = self.source.fields(wanted) if wanted else {}
            judged = queries if self._bank is not None else None
            pooled = dict(zip(*self.source.pooled(wanted))) if wanted and (judged or with_pooled) else {}
        best = [(a, spans[0]) for a, own in enumerate(chosen) for spans in own]
        confidences = iter(self._confidences(judged, best, pooled) if judged else [None] * len(best))
        hits = [[(rows.get(spans[0].best.place.row_id), spans, next(confidences)) for spans in own] for own in chosen]
        return [
            [
                _hit_of_spans(row, spans, confidence, pooled.get(spans[0].best.place.row_id) if with_pooled else None)
                for row, spans, confidence in own
                if row is not None
            ]
            for own in hits
        ]

    def _confidences(
        self, queries: Queries, best: list[tuple[int, Span]], pooled: Mapping[int, torch.Tensor]
    ) -> list[float | None]:
        """How much the scores of spans are worth, each of the query of this number; None where the video has gone.

        Args:
            pooled: the mean frames of rows, by their id.
        """
        assert self._bank is not None
        found: list[float | None] = [None] * len(best)
        known = [n for n, (_, span) in enumerate(best) if span.best.place.row_id in pooled]
        if not known:
            return found
        bank = self._bank.features()
        with self._lock:
            sample = self.source.sample()
            if sample is None:
                return found
            if self._judge is None or self._judge[0] is not sample:
                self._judge = sample, Judge(bank, sample.frames, self.options)
            judge = self._judge[1]
        scores = torch.tensor([best[n][1].moment.score for n in known])
        videos = torch.stack([pooled[best[n][1].best.place.row_id] for n in known])
        confidences = judge(scores, videos, judge.demands(queries)[[best[n][0] for n in known]])
        for n, confidence in zip(known, confidences.tolist()):
            found[n] = confidence
        return found


def _number(value) -> float | None:
    return None if value is None else float(value)


def _moment(values: Mapping) -> Moment:
    start, end, best_time = (_number(values[name]) for name in ("start", "end", "best_time"))
    return Moment(start, end, best_time, float(values["score"]))


def _without_weak(spans: list[Span], min_score: float) -> list[Span]:
    return [span for span in spans if span.moment.score >= min_score]


def _hit_of_spans(row: dict, spans: list[Span], confidence: float | None, pooled: torch.Tensor | None) -> SearchHit:
    """The hit of the row of the first span's best segment."""
    span, *others = spans
    return SearchHit(
        id=row["id"],
        path=row["path"],
        score=span.moment.score,
        best_time=span.moment.best_time,
        frame_scores=np.concatenate([segment.frame_scores for segment in span.segments]),
        frame_times=np.concatenate([segment.place.times for segment in span.segments]),
        duration=row["duration"],
        metadata=json.loads(row["metadata"] or "{}"),
        start=span.moment.start,
        end=span.moment.end,
        moments=tuple(other.moment for other in others),
        segment=span.best.place.number,
        confidence=confidence,
        pooled=None if pooled is None else pooled.numpy(),
    )


def hit_columns(settings: IndexSettings) -> tuple[str, ...]:
    """What `hit_of` reads of a row."""
    return tuple(dict.fromkeys([*HIT_COLUMNS, *place_columns(settings)])) if settings.format > 1 else HIT_COLUMNS


def hit_of(row: dict, score: float, frame_scores: np.ndarray) -> SearchHit:
    """One segment as a hit: its row with `hit_columns`, its score and the `(F,)` scores of its frames."""
    times = np.asarray(row["frame_times"], dtype=np.float64)
    return SearchHit(
        id=row["id"],
        path=row["path"],
        score=score,
        best_time=float(times[frame_scores.argmax()]) if len(times) else None,
        frame_scores=frame_scores,
        frame_times=times,
        duration=row["duration"],
        metadata=json.loads(row["metadata"] or "{}"),
        start=row.get("segment_start", 0.0),
        end=row.get("segment_end", row["duration"]),
        segment=row.get("segment_number", 0),
    )
