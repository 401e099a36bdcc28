"""Two-stage search: pooled vectors narrow the corpus down, the full DMAE similarity ranks what is left."""

import json
import os
from dataclasses import dataclass, field

import numpy as np
import torch

from dmae.modeling.features import TextFeatures

from .errors import VideoIndexError
from .filters import make_where
from .resident import FRAME_COLUMNS, CandidateFrames, ResidentIndex, frames_of
from .scoring import ScoreOptions, score_candidates
from .stage_one import COHERENT, best_by_frames, best_by_pooled, query_vectors
from .table import VideoTable

DEFAULT_CANDIDATES = 500
INCOHERENT_FACTOR = 8  # more candidates where the pooled vectors say little and the frames are not in memory
EXACT_LIMIT = 1_500_000  # videos; beyond, stage one reads the table's vector index instead of memory
HIT_COLUMNS = ("id", "path", "duration", "frame_times", "metadata")


@dataclass(frozen=True, eq=False)
class SearchHit:
    """One result.

    Attributes:
        id: the video's id. path: its file, None where the embeddings were added by hand.
        score: the DMAE similarity of query and video, exactly the model's.
        best_time: time in seconds of the frame with the highest score, None where frame times are unknown.
        frame_scores: `(F,)` one score a real frame: half the sentence's similarity to it, half that of its best word.
        frame_times: `(F,)` seconds, empty where unknown.
        duration: seconds, None where unknown.
        metadata: the user's metadata.
    """

    id: str
    path: str | None
    score: float
    best_time: float | None
    frame_scores: np.ndarray
    frame_times: np.ndarray
    duration: float | None = None
    metadata: dict = field(default_factory=dict)

    def to_dict(self) -> dict:
        """The hit as JSON values."""
        return {
            "id": self.id,
            "path": self.path,
            "score": round(self.score, 6),
            "best_time": None if self.best_time is None else round(self.best_time, 3),
            "duration": self.duration,
            "frame_times": [round(float(t), 3) for t in self.frame_times],
            "frame_scores": [round(float(s), 6) for s in self.frame_scores],
            "metadata": self.metadata,
        }


@dataclass(frozen=True)
class SearchLimits:
    """How a process searches.

    Attributes:
        candidates: videos that stage two scores for each query (at least four for each hit asked for).
        exact_limit: videos up to which stage one is exact in memory; beyond, a Lance vector index narrows.
        memory_limit: bytes of frames that may be kept in memory; a larger index reads candidates from the table.
    """

    candidates: int = DEFAULT_CANDIDATES
    exact_limit: int = EXACT_LIMIT
    memory_limit: int = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Searcher:
    """Searches one table from one process. The first search reads only candidates' frames; the second loads them all if they fit."""

    def __init__(self, table: VideoTable, options: ScoreOptions, limits: SearchLimits):
        self.table = table
        self.options = options
        self.limits = limits
        self._resident: ResidentIndex | None = None
        self._filter = (None, None, None)
        self._warm = False

    def search(self, queries: TextFeatures, k: int, *, offset=0, where=None, min_score=None) -> list[list[SearchHit]]:
        """Hits of each of A queries, best first, from the `offset`-th on."""
        for name, value, least in (("k", k, 1), ("offset", offset, 0)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise VideoIndexError(f"{name} must be a whole number, at least {least}, got {value!r}")
        where = make_where(where)
        wanted = int(k) + int(offset)
        count = max(self.limits.candidates, 4 * wanted)
        ranked = []
        for query, (row_ids, frames) in zip(_singles(queries), self._candidates(queries, count, where)):
            ranked.append(self._rank(query, row_ids, frames, wanted, min_score)[offset:])
        return self._hits(ranked)

    def prepare(self, *, with_frames: bool = True) -> None:
        """Loads what searches need now instead of at the first two of them."""
        self._warm = self._warm or with_frames
        if self.narrows_in_memory:
            self._sync()

    @property
    def narrows_in_memory(self) -> bool:
        return self.table.count() <= self.limits.exact_limit or not self.table.has_vector_index()

    @property
    def resident_bytes(self) -> int:
        if self._resident is None:
            return 0
        frames = self._resident.frames
        return self._resident.pooled.numel() * 2 + (frames.nbytes if frames else 0)

    def _sync(self) -> ResidentIndex:
        with_frames = self._warm and self._frames_fit()
        if self._resident is None or with_frames != (self._resident.frames is not None):
            self._resident = ResidentIndex(self.table, with_frames=with_frames)
        self._resident.sync()
        return self._resident

    def _frames_fit(self) -> bool:
        settings = self.table.settings
        sample = self.table.head(["frame_weights"])["frame_weights"].to_pylist()
        frames = np.mean([len(weights) for weights in sample]) if sample else 0
        bytes_each = np.dtype(settings.dtype).itemsize * settings.dim * frames
        return self.table.count() * bytes_each <= self.limits.memory_limit

    def _candidates(self, queries: TextFeatures, count: int, where: str | None):
        """Row ids and frames of each query's candidates."""
        if not self.narrows_in_memory:
            for vector in query_vectors(queries, self.options):
                found = self.table.nearest(vector.numpy(), count, where)
                yield self._read(found["_rowid"].to_numpy())
            return
        resident = self._sync()
        self._warm = True
        for chosen in self._slots(resident, queries, count, self._allowed(resident, where)):
            row_ids = resident.row_ids[chosen.numpy()]
            if resident.frames is None:
                yield self._read(row_ids)
            else:
                yield row_ids, resident.frames.gather(chosen) if len(chosen) else None

    def _slots(self, resident: ResidentIndex, queries: TextFeatures, count: int, allowed: torch.Tensor):
        """Stage one: the candidates' positions for each query."""
        if int(allowed.sum()) <= count:
            return [allowed.nonzero()[:, 0]] * len(queries.sentence_embeds)
        if resident.coherence >= COHERENT:
            return best_by_pooled(queries, resident.pooled, allowed, count, self.options)
        if resident.frames is not None:
            return best_by_frames(queries, resident.pooled, resident.frames, allowed, count, self.options)
        count = min(count * INCOHERENT_FACTOR, int(allowed.sum()))
        return best_by_pooled(queries, resident.pooled, allowed, count, self.options)

    def _read(self, row_ids: np.ndarray) -> tuple[np.ndarray, CandidateFrames | None]:
        rows = self.table.take(row_ids, FRAME_COLUMNS)
        settings = self.table.settings
        frames = frames_of(rows, settings.dim, settings.dtype) if rows.num_rows else None
        return rows["_rowid"].to_numpy(), frames

    def _allowed(self, resident: ResidentIndex, where: str | None) -> torch.Tensor:
        """`(N,)` bool: slots that are alive and pass the filter; the last filter's answer is kept."""
        if where is None:
            return resident.alive
        if self._filter[:2] != (resident.version, where):
            row_ids = self.table.scan(["id"], where)["_rowid"].to_numpy().astype(np.int64)
            allowed = torch.zeros(len(resident.alive), dtype=torch.bool)
            allowed[resident.slots_of(row_ids)] = True
            self._filter = (resident.version, where, allowed & resident.alive)
        return self._filter[2]

    def _rank(self, query, row_ids, frames: CandidateFrames | None, wanted: int, min_score):
        """`(row id, score, frame scores)` of the best candidates, best first."""
        if frames is None:
            return []
        scores, per_frame = score_candidates(query, frames, self.options)
        best = scores.topk(min(wanted, len(scores)))
        ranked = []
        for score, at in zip(best.values.tolist(), best.indices.tolist()):
            if min_score is None or score >= min_score:
                ranked.append((int(row_ids[at]), score, per_frame[at, frames.weights[at] > 0].numpy()))
        return ranked

    def _hits(self, ranked) -> list[list[SearchHit]]:
        wanted = list(dict.fromkeys(row_id for hits in ranked for row_id, _, _ in hits))
        rows = {row["_rowid"]: row for row in self.table.take(wanted, HIT_COLUMNS).to_pylist()}
        return [[_hit(rows[r], score, scores) for r, score, scores in hits if r in rows] for hits in ranked]


def _hit(row: dict, score: float, frame_scores: np.ndarray) -> SearchHit:
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


def _singles(queries: TextFeatures):
    return (TextFeatures(*(part[a : a + 1] for part in queries)) for a in range(len(queries.sentence_embeds)))
