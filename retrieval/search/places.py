"""Where rows lie: of which video each is a segment, and which part of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from ..storage.schema import IndexSettings
from ..storage.vectors import GrowingArray


class Place(NamedTuple):
    """Where a row lies.

    Attributes:
        row_id: of the row. video: what tells its video from others. number: of the segment, from 0.
        start, end: in seconds, None where unknown.
        times: `(F,)` seconds of its frames, empty where unknown.
    """

    row_id: int
    video: int
    number: int
    start: float | None
    end: float | None
    times: np.ndarray


def place_columns(settings: IndexSettings) -> tuple[str, ...]:
    if settings.format == 1:
        return ("duration", "frame_times")
    return ("video_hash", "segment_number", "segment_start", "segment_end", "frame_times")


def places_of(rows: pa.Table | pa.RecordBatch, settings: IndexSettings) -> list[Place]:
    """The places of rows that have `place_columns` and `_rowid`."""
    found = ResidentPlaces(settings)
    found.append(rows)
    return found.at(rows["_rowid"].to_pylist(), range(rows.num_rows))


class ResidentPlaces:
    """The places of many rows, in slots."""

    def __init__(self, settings: IndexSettings):
        self._settings = settings
        self._videos, self._numbers = GrowingArray((), torch.int64), GrowingArray((), torch.int64)
        self._spans = GrowingArray((2,), torch.float64)
        self._stops, self._times = GrowingArray((), torch.int64), GrowingArray((), torch.float32)
        self._order: np.ndarray | None = None
        self.have_parts = False  # whether any video has more than one segment

    def append(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Adds the places of rows that have `place_columns` and `_rowid`."""
        self._order = None
        whole = self._settings.format == 1
        names = ("duration",) if whole else ("segment_start", "segment_end")
        ends = [torch.from_numpy(_floats(rows[name])) for name in names]
        spans = torch.stack([torch.zeros(rows.num_rows, dtype=torch.float64), ends[0]] if whole else ends, dim=1)
        videos = rows["_rowid" if whole else "video_hash"].to_numpy().astype(np.int64)
        numbers = np.zeros(rows.num_rows, np.int64) if whole else rows["segment_number"].to_numpy().astype(np.int64)
        times = rows["frame_times"]
        times = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
        counts = np.cumsum(times.value_lengths().to_numpy().astype(np.int64)) + len(self._times)
        for array, values in ((self._videos, videos), (self._numbers, numbers), (self._stops, counts)):
            array.append(torch.from_numpy(values))
        self._spans.append(spans)
        self.have_parts = self.have_parts or bool(numbers.any())
        self._times.append(torch.from_numpy(times.flatten().to_numpy().astype(np.float32)))

    def at(self, row_ids: Sequence[int] | np.ndarray, slots: Sequence[int] | np.ndarray) -> list[Place]:
        """The places in some slots, whose row ids the caller knows."""
        chosen = np.asarray(slots, np.int64)
        arrays = (self._videos, self._numbers, self._spans)
        videos, numbers, spans = (array.rows.numpy()[chosen].tolist() for array in arrays)
        stops, times = self._stops.rows.numpy(), self._times.rows.numpy()
        starts, ends = np.where(chosen > 0, stops[chosen - 1], 0).tolist(), stops[chosen].tolist()
        found = []
        for row_id, video, number, span, first, last in zip(row_ids, videos, numbers, spans, starts, ends):
            start, end = (None if value != value else value for value in span)
            found.append(Place(int(row_id), video, number, start, end, times[first:last].astype(np.float64)))
        return found

    def slots_of(self, videos: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """All slots of these segments, `(P,)` each; a changed video may have some that are not alive."""
        mine, parts = self._videos.rows.numpy(), self._numbers.rows.numpy()
        if self._order is None:
            self._order = np.argsort(mine, kind="stable")
        ordered = mine[self._order]
        first, last = np.searchsorted(ordered, videos, "left"), np.searchsorted(ordered, videos, "right")
        slots = [self._order[a:b][parts[self._order[a:b]] == number] for a, b, number in zip(first, last, numbers)]
        return np.concatenate(slots) if slots else np.empty(0, np.int64)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (self._videos, self._numbers, self._spans, self._stops, self._times))


def _floats(column) -> np.ndarray:
    """A column of floats, NaN where it is null."""
    return np.array(column.to_numpy(zero_copy_only=False), dtype=np.float64)
