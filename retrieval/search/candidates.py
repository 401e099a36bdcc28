"""Where stage one looks (memory, or the table's vector index) and where the candidates' frames come from."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..storage.table import VideoTable
from .combination import Queries
from .likeness import Frames
from .limits import SearchLimits
from .resident import (
    FIELD_COLUMNS,
    FRAME_COLUMNS,
    Place,
    ResidentIndex,
    frames_of,
    identities,
    identity_columns,
    place_columns,
    places_of,
)
from .sample import Sample, lowest, sample_keys
from .scoring import CandidateFrames
from .stages import COHERENT, best_by_frames, best_by_pooled

QUERY_GROUP = 32  # queries that stage one takes at once: each needs a score of every video
FILTERS_KEPT = 16
FEW = 12  # segments from all over the index that stand for what is unrelated to a query
INCOHERENT_FACTOR = 8  # more candidates where the pooled vectors say little and the frames are not in memory


@dataclass(frozen=True, eq=False)
class Candidates:
    """The C videos worth the full similarity for each of A queries, best first.

    Attributes:
        queries: of a batch of A. scores: `(A, C)` stage one's. row_ids: `(A, C)`.
        read: the frames at an index into `(A, C)` (None: no video is left), and whether each video is still there.
    """

    queries: Queries
    scores: torch.Tensor
    row_ids: torch.Tensor
    read: Callable[[tuple], tuple[CandidateFrames | None, torch.Tensor]]


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
        self._fits = False  # whether the frames would fit the memory that they may take
        self._version: int | None = None
        self._passing: dict[str, torch.Tensor] = {}  # `(N,)` bool by filter, at one version of the table
        self._passed_at: int | None = None
        self._sample: tuple[object, Sample | None] = (None, None)
        self._few: tuple[Sample | None, CandidateFrames | None] = (None, None)

    @property
    def _memory(self) -> ResidentIndex:
        """What is in memory, where stage one looks there."""
        assert self.resident is not None
        return self.resident

    def refresh(self, *, with_frames: bool, tell: Callable[[int, int], None] | None = None) -> None:
        """Brings what is in memory in step with the table; `with_frames` also loads the frames if they fit. `tell`: as
        for `VideoIndex.prepare`.
        """
        version = self.table.version
        loaded = self.resident is not None and (self.resident.frames is not None or not with_frames)
        if version == self._version and (loaded or not self._in_memory or not self._fits):
            return
        count = self.table.num_segments()
        self._in_memory = self.limits.narrows_in_memory(self.table, count)
        self._fits = count * self._frame_bytes() <= self.limits.memory_limit
        if not self._in_memory:
            self.resident = None
        else:
            keep = self.resident is not None and (self.resident.frames is not None or not (with_frames and self._fits))
            if not keep:
                self.resident = ResidentIndex(self.table, with_frames=with_frames and self._fits)
            self._memory.sync(tell)
        self._version = version

    def __call__(self, queries: Queries, count: int, where: str | None) -> Iterator[Candidates]:
        """The candidates, a few of the queries at a time."""
        size = QUERY_GROUP if self._in_memory else 1
        narrow = self._narrow_in_memory if self._in_memory else self._narrow_in_table
        for start in range(0, len(queries), size):
            yield narrow(queries[start : start + size], count, where)

    @property
    def version(self) -> int | None:
        """Of the table, as it was at the last `refresh`."""
        return self._version

    def sample(self) -> Sample | None:
        """The segments by which scores are judged; None where the index is empty."""
        made_at: object = self._version
        if self.resident is None:  # all keys must be read: only where the table has grown by about a tenth
            made_at = "size", round(10 * math.log(max(1, self.table.num_segments())))
        if self._sample[0] != made_at:
            self._sample = made_at, self._read_sample()
        return self._sample[1]

    def few(self) -> CandidateFrames | None:
        """About `FEW` of the sample's segments, for what every query is compared with."""
        sample = self.sample()
        if sample is not None and self._few[0] is not sample:
            step = max(1, len(sample.keys) // FEW)
            self._few = sample, CandidateFrames(*(part[::step].contiguous() for part in sample.frames))
        return None if sample is None else self._few[1]

    def _read_sample(self) -> Sample | None:
        resident, settings = self.resident, self.table.settings
        if resident is not None:
            slots = resident.alive.numpy().nonzero()[0]
            row_ids, keys = resident.row_ids[slots], resident.places.keys()[slots]
        else:
            rows = self.table.scan(identity_columns(settings))
            row_ids, keys = rows["_rowid"].to_numpy(), sample_keys(*identities(rows, settings))
        chosen = lowest(keys)
        row_ids, keys = row_ids[chosen].astype(np.int64), keys[chosen]
        if resident is not None and resident.frames is not None and len(row_ids):
            return Sample(keys, resident.frames.gather(resident.slots_of(row_ids)))
        rows = self.table.take(row_ids, FRAME_COLUMNS)
        there = np.isin(row_ids, rows["_rowid"].to_numpy().astype(np.int64))  # others were deleted meanwhile
        return Sample(keys[there], frames_of(rows, settings.dim, settings.dtype)) if rows.num_rows else None

    def _narrow_in_memory(self, queries: Queries, count: int, where: str | None) -> Candidates:
        resident = self._memory
        scores, slots = self._best(queries, count, self._allowed(where))
        row_ids = torch.from_numpy(resident.row_ids)[slots]
        held = resident.frames
        if held is None:
            return self._in_table(queries, scores, row_ids)

        def read(part):
            frames = held.gather(slots[part])
            return frames, torch.ones(frames.weights.shape[:-1], dtype=torch.bool)

        return Candidates(queries, scores, row_ids, read)

    def _narrow_in_table(self, query: Queries, count: int, where: str | None) -> Candidates:
        vectors = query.vectors
        found = [self.table.nearest(vector.numpy(), count, where) for vector in query.wanted(vectors)]
        row_ids = np.unique(np.concatenate([rows["_rowid"].to_numpy() for rows in found]).astype(np.int64))
        rows = self.table.take(row_ids, ["pooled"])
        if not rows.num_rows:
            return self._in_table(query, torch.empty(1, 0), torch.empty(1, 0, dtype=torch.int64))
        pooled = torch.from_numpy(np.stack(rows["pooled"].to_numpy())).float()
        scores, order = query.combine(vectors @ pooled.t()).sort(dim=1, descending=True)
        row_ids = torch.from_numpy(rows["_rowid"].to_numpy().astype(np.int64))
        return self._in_table(query, scores[:, :count], row_ids[order][:, :count])

    def _best(self, queries: Queries, count: int, allowed: torch.Tensor):
        """Stage one in memory: the candidates' scores and slots, `(A, C)` each."""
        resident = self._memory
        if resident.coherence >= COHERENT:
            return best_by_pooled(queries, resident.pooled, allowed, count)
        if resident.frames is not None:
            return best_by_frames(queries, resident.pooled, resident.frames, allowed, count)
        return best_by_pooled(queries, resident.pooled, allowed, count * INCOHERENT_FACTOR)

    def _in_table(self, queries, scores: torch.Tensor, row_ids: torch.Tensor) -> Candidates:
        settings = self.table.settings

        def read(part):
            asked, places = row_ids[part].unique(return_inverse=True)
            rows = self.table.take(asked.numpy(), FRAME_COLUMNS)
            there = torch.isin(asked, torch.from_numpy(rows["_rowid"].to_numpy().astype(np.int64)))
            slots = (there.cumsum(0) - 1).clamp(min=0)[places]
            frames = frames_of(rows, settings.dim, settings.dtype, slots) if rows.num_rows else None
            return frames, there[places]

        return Candidates(queries, scores, row_ids, read)

    def frames(self, row_ids: Sequence[int]) -> CandidateFrames:
        """The frames of rows, which must be there."""
        if self.resident is not None and self.resident.frames is not None:
            return self.resident.frames.gather(self.resident.slots_of(np.asarray(row_ids, np.int64)))
        settings = self.table.settings
        return frames_of(self.table.take(np.asarray(row_ids), FRAME_COLUMNS), settings.dim, settings.dtype)

    def frames_of_each(self, row_ids: Sequence[int]) -> dict[int, Frames]:
        """The frames of rows by their id, of those that are still there."""
        wanted = np.asarray(row_ids, np.int64)
        if self.resident is not None and self.resident.frames is not None:
            slots = self.resident.slots_of(wanted)
            there = self.resident.row_ids[slots.numpy()].tolist()
            frames = self.resident.frames.gather(slots) if there else None
        else:
            rows = self.table.take(wanted, FRAME_COLUMNS)
            there = rows["_rowid"].to_pylist()
            frames = frames_of(rows, self.table.settings.dim, self.table.settings.dtype) if there else None
        if frames is None:
            return {}
        parts = zip(there, frames.embeds.numpy(), frames.weights.numpy())
        return {row_id: Frames.of(embeds[weights > 0], weights[weights > 0]) for row_id, embeds, weights in parts}

    def fields(self, row_ids: Sequence[int]) -> dict[int, dict]:
        """`FIELD_COLUMNS` of rows by their id, of those that are still there."""
        wanted = np.asarray(row_ids, np.int64)
        if self.resident is not None and self.resident.fields is not None and self.resident.fields.fits:
            slots = self.resident.slots_of(wanted).numpy()
            return dict(zip(self.resident.row_ids[slots].tolist(), self.resident.fields.at(slots.tolist())))
        return {row["_rowid"]: row for row in self.table.take(wanted, FIELD_COLUMNS).to_pylist()}

    def pooled(self, row_ids: Sequence[int]) -> tuple[list[int], torch.Tensor]:
        """The ids of rows, of those that are still there, and their `(N, D)` mean frames."""
        wanted = np.unique(np.asarray(row_ids, np.int64))
        if self.resident is not None:
            slots = self.resident.slots_of(wanted)
            return self.resident.row_ids[slots.numpy()].tolist(), self.resident.pooled[slots]
        rows = self.table.take(wanted, ["pooled"])
        vectors = np.stack(rows["pooled"].to_numpy()) if rows.num_rows else np.empty((0, self.table.settings.dim))
        return rows["_rowid"].to_pylist(), torch.from_numpy(vectors).float()

    @property
    def have_parts(self) -> bool:
        """Whether there may be videos of several segments."""
        return self.resident.places.have_parts if self.resident is not None else self.table.settings.format > 1

    def places(self, row_ids: Sequence[int]) -> list[Place]:
        """Where rows lie, of those that are still there."""
        if self.resident is not None:
            slots = self.resident.slots_of(np.asarray(row_ids, np.int64)).numpy()
            return self.resident.places.at(self.resident.row_ids[slots].tolist(), slots.tolist())
        columns = place_columns(self.table.settings)
        return places_of(self.table.take(np.asarray(row_ids), columns), self.table.settings)

    def segments(self, wanted: Sequence[tuple[int, int]], where: str | None) -> list[Place]:
        """The places of segments, given as video and number, of those that are there and pass a filter."""
        videos, numbers = (np.asarray(part, np.int64) for part in zip(*wanted))
        if self.resident is not None:
            slots = self.resident.places.slots_of(videos, numbers)
            slots = slots[self._allowed(where)[torch.from_numpy(slots)].numpy()]
            return self.resident.places.at(self.resident.row_ids[slots].tolist(), slots.tolist())
        ours = (
            f"video_hash IN ({', '.join(map(str, np.unique(videos)))}) "
            f"AND segment_number IN ({', '.join(map(str, np.unique(numbers)))})"
        )
        rows = self.table.scan(place_columns(self.table.settings), ours if where is None else f"({where}) AND {ours}")
        asked = set(wanted)
        return [place for place in places_of(rows, self.table.settings) if (place.video, place.number) in asked]

    def _allowed(self, where: str | None) -> torch.Tensor:
        """`(N,)` bool: slots that are alive and pass the filter; the answers to the last filters are kept."""
        if where is None:
            return self._memory.alive
        if self._passed_at != self._version:
            self._passing, self._passed_at = {}, self._version
        if where not in self._passing:
            slots = torch.zeros_like(self._memory.alive)
            slots[self._memory.slots_of(self.table.row_ids(where))] = True
            if len(self._passing) == FILTERS_KEPT:
                del self._passing[next(iter(self._passing))]
            self._passing[where] = slots & self._memory.alive
        return self._passing[where]

    def _frame_bytes(self) -> float:
        """Bytes of a video's frames, from the first rows."""
        settings = self.table.settings
        sample = self.table.head(["frame_weights"])["frame_weights"].to_pylist()
        frames = np.mean([len(weights) for weights in sample]) if sample else 0
        return np.dtype(settings.dtype).itemsize * settings.dim * float(frames)
