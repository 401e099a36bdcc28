"""Where stage one looks (memory, or the table's vector index) and where the candidates' frames come from."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dmae.modeling.features import TextFeatures

from .resident import FRAME_COLUMNS, ResidentIndex, frames_of
from .scoring import CandidateFrames, ScoreOptions
from .stage_one import COHERENT, best_by_frames, best_by_pooled, query_vectors
from .table import VideoTable

INCOHERENT_FACTOR = 8  # more candidates where the pooled vectors say little and the frames are not in memory


@dataclass(frozen=True)
class SearchLimits:
    """How a process searches.

    Attributes:
        candidates: videos that stage two scores for each query (at least four for each hit asked for).
        exact_limit: videos up to which stage one is exact in memory; beyond, a Lance vector index narrows.
        memory_limit: bytes of frames that may be kept in memory; a larger index reads candidates from the table.
    """

    candidates: int = 400
    exact_limit: int = 1_500_000
    memory_limit: int = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class CandidateSource:
    """Narrows a table down to candidates, following its latest version.

    The first search reads only the candidates' frames from the table, so that a process that asks once does not load
    them all; from the second on they are in memory where they fit.
    """

    def __init__(self, table: VideoTable, limits: SearchLimits):
        self.table = table
        self.limits = limits
        self.resident: ResidentIndex | None = None
        self._in_memory = True
        self._version = None
        self._filter = (None, None, None)

    def refresh(self, *, with_frames: bool) -> None:
        """Brings what is in memory in step with the table; `with_frames` also loads the frames if they fit."""
        version = self.table.version
        loaded = self.resident is not None and (self.resident.frames is not None or not with_frames)
        if version == self._version and (loaded or not self._in_memory or not self._fits):
            return
        count = self.table.count()
        self._in_memory = self.narrows_in_memory(count)
        self._fits = count * self._frame_bytes() <= self.limits.memory_limit
        if not self._in_memory:
            self.resident = None
        else:
            keep = self.resident is not None and (self.resident.frames is not None or not (with_frames and self._fits))
            if not keep:
                self.resident = ResidentIndex(self.table, with_frames=with_frames and self._fits)
            self.resident.sync()
        self._version = version

    def narrows_in_memory(self, count: int) -> bool:
        return count <= self.limits.exact_limit or not self.table.has_vector_index()

    def __call__(
        self, queries: TextFeatures, count: int, where: str | None, options: ScoreOptions
    ) -> Iterator[tuple[np.ndarray, CandidateFrames | None]]:
        """Row ids and frames (None where there is no candidate) of each query's candidates."""
        if self._in_memory:
            for slots in self._slots(queries, count, self._allowed(where), options):
                row_ids = self.resident.row_ids[slots.numpy()]
                if self.resident.frames is None:
                    yield self._read(row_ids)
                else:
                    yield row_ids, self.resident.frames.gather(slots) if len(slots) else None
        else:
            for vector in query_vectors(queries, options):
                found = self.table.nearest(vector.numpy(), count, where)
                yield self._read(found["_rowid"].to_numpy())

    def _slots(self, queries: TextFeatures, count: int, allowed: torch.Tensor, options: ScoreOptions):
        """Stage one in memory: the candidates' positions for each query."""
        resident, available = self.resident, int(allowed.sum())
        if available <= count:
            return [allowed.nonzero()[:, 0]] * len(queries.sentence_embeds)
        if resident.coherence >= COHERENT:
            return best_by_pooled(queries, resident.pooled, allowed, count, options)
        if resident.frames is not None:
            return best_by_frames(queries, resident.pooled, resident.frames, allowed, count, options)
        return best_by_pooled(queries, resident.pooled, allowed, min(count * INCOHERENT_FACTOR, available), options)

    def _read(self, row_ids: np.ndarray) -> tuple[np.ndarray, CandidateFrames | None]:
        rows = self.table.take(row_ids, FRAME_COLUMNS)
        settings = self.table.settings
        frames = frames_of(rows, settings.dim, settings.dtype) if rows.num_rows else None
        return rows["_rowid"].to_numpy(), frames

    def _allowed(self, where: str | None) -> torch.Tensor:
        """`(N,)` bool: slots that are alive and pass the filter; the last filter's answer is kept."""
        if where is None:
            return self.resident.alive
        if self._filter[:2] != (self._version, where):
            row_ids = self.table.scan(["id"], where)["_rowid"].to_numpy().astype(np.int64)
            allowed = torch.zeros_like(self.resident.alive)
            allowed[self.resident.slots_of(row_ids)] = True
            self._filter = (self._version, where, allowed & self.resident.alive)
        return self._filter[2]

    def _frame_bytes(self) -> float:
        """Bytes of a video's frames, from the first rows."""
        settings = self.table.settings
        sample = self.table.head(["frame_weights"])["frame_weights"].to_pylist()
        frames = np.mean([len(weights) for weights in sample]) if sample else 0
        return np.dtype(settings.dtype).itemsize * settings.dim * float(frames)
