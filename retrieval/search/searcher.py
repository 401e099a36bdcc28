"""Two-stage search: pooled vectors narrow the corpus down, the full DMAE similarity ranks what is left."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dmae.modeling.features import TextFeatures

from ..errors import VideoIndexError
from ..storage.filters import make_where
from ..storage.table import VideoTable
from .candidates import CandidateSource
from .combination import Combination, CombinedQuery, Queries
from .limits import SearchLimits
from .moments import Moment, rounded
from .query import EncodedQuery
from .scoring import ScoreOptions
from .stage_two import RankedRow, rank

HIT_COLUMNS = ("id", "path", "duration", "frame_times", "metadata")


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

    def to_dict(self) -> dict:
        """The hit as JSON values."""
        return {
            "id": self.id,
            "path": self.path,
            "score": round(self.score, 6),
            "start": rounded(self.start),
            "end": rounded(self.end),
            "best_time": rounded(self.best_time),
            "moments": [moment.to_dict() for moment in self.moments],
            "duration": self.duration,
            "frame_times": [round(float(t), 3) for t in self.frame_times],
            "frame_scores": [round(float(s), 6) for s in self.frame_scores],
            "metadata": self.metadata,
        }


class Searcher:
    """Searches one table from one process.

    Safe to call from several threads: one of them at a time brings the memory in step with the table and ranks, the
    others wait for it.
    """

    def __init__(self, table: VideoTable, options: ScoreOptions, limits: SearchLimits):
        self.table = table
        self.options = options
        self.limits = limits
        self.source = CandidateSource(table, limits)
        self._searched = False
        self._lock = threading.RLock()

    def search(
        self, queries: TextFeatures, k: int, *, options: ScoreOptions | None = None, **limits
    ) -> list[list[SearchHit]]:
        """Hits of each of A queries, best first, from the `offset`-th on; `options` in place of the model's."""
        return self._search(lambda: Queries([(queries, options or self.options)]), k, **limits)

    def search_combined(self, query: CombinedQuery, k: int, **limits) -> list[SearchHit]:
        """As `search`, for one query of several parts."""
        return self._search(lambda: self._queries_of(query), k, **limits)[0]

    def queries_of(self, query: EncodedQuery, options: ScoreOptions | None = None) -> Queries:
        """What scores frames by a query as a search does, or by other options."""
        if not isinstance(query, CombinedQuery):
            return Queries([(query.features, options or query.options or self.options)])
        with self._lock:
            self.source.refresh(with_frames=False)
            return self._queries_of(query)

    def _queries_of(self, query: CombinedQuery) -> Queries:
        parts = [(part.features, part.options or self.options) for part in query.parts]
        return Queries(parts, Combination.of(query, self.options, self.source.sample()))

    def _search(
        self, make_queries: Callable[[], Queries], k: int, *, offset=0, where=None, min_score=None
    ) -> list[list[SearchHit]]:
        for name, value, least in (("k", k, 1), ("offset", offset, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise VideoIndexError(f"{name} must be a whole number, at least {least}, got {value!r}")
        if min_score is not None and not isinstance(min_score, (int, float, np.number)):
            raise VideoIndexError(f"min_score must be a number, got {min_score!r}")
        where = make_where(where)
        wanted = int(k) + int(offset)
        count = max(self.limits.candidates, 4 * wanted)
        with self._lock:
            self.source.refresh(with_frames=self._searched)
            self._searched = True
            groups = self.source(make_queries(), count, where)
            ranked = [hits[offset:] for candidates in groups for hits in rank(candidates, wanted)]
        if min_score is not None:
            ranked = [[hit for hit in hits if hit.score >= min_score] for hits in ranked]
        return self._hits(ranked)

    def prepare(self) -> None:
        """Loads what searches need now instead of at the first two of them."""
        with self._lock:
            self._searched = True
            self.source.refresh(with_frames=True)

    def stats(self) -> dict:
        """What this process holds in memory, as plain values."""
        resident = self.source.resident
        return {
            "resident_bytes": resident.nbytes if resident is not None else 0,
            "coherence": round(resident.coherence, 3) if resident is not None else None,
        }

    def _hits(self, ranked: list[list[RankedRow]]) -> list[list[SearchHit]]:
        wanted = list(dict.fromkeys(hit.row_id for hits in ranked for hit in hits))
        rows = {
            row["_rowid"]: row for row in self.table.take(np.array(wanted, dtype=np.int64), HIT_COLUMNS).to_pylist()
        }
        return [
            [hit_of(rows[hit.row_id], hit.score, hit.frame_scores) for hit in hits if hit.row_id in rows]
            for hits in ranked
        ]


def hit_of(row: dict, score: float, frame_scores: np.ndarray) -> SearchHit:
    """The hit of a row that has `HIT_COLUMNS`, with its score and the `(F,)` scores of its frames."""
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
    )
