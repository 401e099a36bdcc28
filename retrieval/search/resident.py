"""What a searching process keeps in memory, in step with the table: the pooled vectors, where
each row lies, and the frames and the small fields of hits if they fit."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from ..storage.principal import PrincipalVectors
from ..storage.schema import IndexSettings, video_hash
from ..storage.table import VideoTable
from ..storage.vectors import GrowingArray, VectorArray, int8_is_fast
from .sample import sample_keys
from .scoring import CandidateFrames

LOAD_BATCH = 4096
FRAME_COLUMNS = ("frames", "frame_scales", "frame_weights", "nearest", "gains")
COHERENCE_SAMPLE = 2000
REBUILD_ABOVE = 0.3  # share of dead slots at which the arrays are read anew
FIELD_COLUMNS = ("id", "path", "duration", "metadata")
FIELD_BYTES = 1024  # per row on average; richer metadata stays in the table


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


def identity_columns(settings: IndexSettings) -> tuple[str, ...]:
    return ("id",) if settings.format == 1 else ("video_hash", "segment_number")


def place_columns(settings: IndexSettings) -> tuple[str, ...]:
    spans = ("duration",) if settings.format == 1 else ("segment_start", "segment_end")
    return (*identity_columns(settings), *spans, "frame_times")


def identities(rows: pa.Table | pa.RecordBatch, settings: IndexSettings) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of the ids of rows' videos and the rows' numbers in them, `(N,)` int64, from `identity_columns`."""
    if settings.format == 1:
        hashes = np.array([video_hash(video_id) for video_id in rows["id"].to_pylist()], np.int64)
        return hashes, np.zeros(len(hashes), np.int64)
    hashes, numbers = (rows[name].to_numpy().astype(np.int64) for name in identity_columns(settings))
    return hashes, numbers


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
        videos, numbers = identities(rows, self._settings)
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

    def keys(self) -> np.ndarray:
        """`(N,)` of all slots, by which the sample of the index is chosen."""
        return sample_keys(self._videos.rows.numpy(), self._numbers.rows.numpy())

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (self._videos, self._numbers, self._spans, self._stops, self._times))


def _floats(column) -> np.ndarray:
    """A column of floats, NaN where it is null."""
    return np.array(column.to_numpy(zero_copy_only=False), dtype=np.float64)


class FieldStore:
    """`FIELD_COLUMNS` of rows, in slots, as Arrow holds them, so that ten hits cost no reading of the table.

    Attributes:
        fits: whether they are within their budget of memory; where not, they are let go.
    """

    def __init__(self):
        self._batches: list[list[pa.Array]] = []  # of each its columns
        self._starts: list[int] = []
        self._length = 0
        self.fits = True

    def append(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Adds rows that have `FIELD_COLUMNS`."""
        if not self.fits:
            return
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        for batch in table.select(FIELD_COLUMNS).combine_chunks().to_batches():
            self._starts.append(self._length)
            self._length += batch.num_rows
            self._batches.append(_copied(batch).columns)
        if self.nbytes > FIELD_BYTES * self._length:
            self.fits, self._batches = False, []

    def at(self, slots: Iterable[int]) -> list[dict]:
        """The fields in some slots."""
        found = []
        for slot in slots:  # value by value: for ten rows that is faster than a call of Arrow's for each batch
            batch = bisect_right(self._starts, slot) - 1
            row = slot - self._starts[batch]
            found.append({name: column[row].as_py() for name, column in zip(FIELD_COLUMNS, self._batches[batch])})
        return found

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for columns in self._batches for column in columns)


def _copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in memory of their own: the engine's buffer holds every column that was read with them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()


class FrameStore:
    """Frames of many videos end to end, gathered for a few of them at a time."""

    def __init__(self, dim: int, dtype: str):
        self._starts = GrowingArray((), torch.int64)
        self._counts = GrowingArray((), torch.int64)
        self._frames = VectorArray(dim, getattr(torch, dtype))
        self._weights = GrowingArray((), torch.float32)
        self._nearest = GrowingArray((), torch.int16)
        self._gains = GrowingArray((), torch.float32)

    def reserve(self, videos: int, frames: int) -> None:
        for array in (self._starts, self._counts):
            array.reserve(videos)
        for array in (self._frames, self._weights, self._nearest, self._gains):
            array.reserve(frames)

    def append(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Adds the videos of a batch that has `FRAME_COLUMNS`."""
        columns = {name: _flat(batch[name]) for name in FRAME_COLUMNS}
        counts = columns["frame_weights"][1]
        starts = counts.cumsum(0) - counts + len(self._frames)
        self._starts.append(starts)
        self._counts.append(counts)
        self._frames.append(
            columns["frames"][0].view(len(columns["frame_weights"][0]), -1), columns["frame_scales"][0]
        )
        self._weights.append(columns["frame_weights"][0])
        self._nearest.append(columns["nearest"][0])
        self._gains.append(columns["gains"][0])

    def gather(self, slots: torch.Tensor) -> CandidateFrames:
        """Frames of the videos at these positions (of any shape), padded to the longest of them."""
        counts = self._counts.rows[slots][..., None]
        positions = torch.arange(int(counts.max()))
        real = positions < counts
        flat = self._starts.rows[slots][..., None] + positions * real
        shape, flat = flat.shape, flat.view(-1)
        weights, nearest, gains = (
            array.rows.index_select(0, flat).view(shape) for array in (self._weights, self._nearest, self._gains)
        )
        return CandidateFrames(self._frames[flat].view(*shape, -1), weights * real, nearest.long(), gains)

    def sentence_scores(self, sentences: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(A, N)` maxima and means over each video's frames of their dot products with `(A, D)` sentences."""
        counts = self._counts.rows
        scores = self._frames.multiply(sentences)
        if int(counts.min()) == int(counts.max()):
            scores = scores.view(len(scores), len(counts), -1)
            return scores.amax(dim=2), scores.mean(dim=2)
        lengths = counts.expand(len(scores), -1).contiguous()
        best, mean = (torch.segment_reduce(scores, how, lengths=lengths, axis=1) for how in ("max", "mean"))
        return best, mean

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in vars(self).values())


class ResidentIndex:
    """Row ids and pooled vectors of every video, in slots; `frames` too when asked for.

    Attributes:
        row_ids: `(N,)` int64 numpy. alive: `(N,)` bool tensor, False where the row is gone.
        pooled: `PrincipalVectors`, N of them: int8 where its products are fast, else float16.
        places: where each row lies. frames: `FrameStore` or None. fields: `FieldStore` or None.
        coherence: how alike a video's frames are, see `stages`.
    """

    def __init__(self, table: VideoTable, *, with_frames: bool):
        self._table = table
        self._reset(with_frames)

    def _reset(self, with_frames: bool) -> None:
        settings = self._table.settings
        self._row_ids = GrowingArray((), torch.int64)
        self._revisions = GrowingArray((), torch.int64)
        self.pooled = PrincipalVectors(settings.dim, torch.int8 if int8_is_fast() else torch.float16)
        self.places = ResidentPlaces(settings)
        self.frames = FrameStore(settings.dim, settings.dtype) if with_frames else None
        self.fields = FieldStore() if with_frames else None
        self._order: np.ndarray | None = None
        self.alive = torch.empty(0, dtype=torch.bool)

    @property
    def row_ids(self) -> np.ndarray:
        return self._row_ids.rows.numpy()

    def _measure_coherence(self) -> float:
        """Mean norm of the pooled vectors of at most `COHERENCE_SAMPLE` videos spread over the index."""
        sample = torch.arange(0, len(self.pooled), max(1, len(self.pooled) // COHERENCE_SAMPLE))
        return float(self.pooled[sample].norm(dim=1).mean()) if len(sample) else 1.0

    @property
    def nbytes(self) -> int:
        stores = (self.pooled, self.places, self.frames, self.fields)
        return sum(store.nbytes for store in stores if store is not None)

    def sync(self, tell: Callable[[int, int], None] | None = None) -> None:
        """Brings the arrays in step with the table's latest version, reading only rows written since.

        Args:
            tell: called while all are read, with the number of those that are, and of all.
        """
        if not len(self._row_ids):
            self._load(tell)
        else:
            self._follow()
        self.coherence = self._measure_coherence()

    def slots_of(self, row_ids: np.ndarray) -> torch.Tensor:
        """Positions of the row ids that are resident."""
        if self._order is None:
            self._order = np.argsort(self.row_ids, kind="stable")
        order = self._order
        # The last slot of a row id is the live one: a changed row gets a new slot.
        found = np.searchsorted(self.row_ids, row_ids, side="right", sorter=order) - 1
        slots = order[np.maximum(found, 0)]
        return torch.from_numpy(slots[self.row_ids[slots] == row_ids])

    def _columns(self) -> list[str]:
        more = (*FIELD_COLUMNS, *FRAME_COLUMNS) if self.frames is not None else ()
        return list(dict.fromkeys(["revision", "pooled", *place_columns(self._table.settings), *more]))

    def _load(self, tell: Callable[[int, int], None] | None = None) -> None:
        count = self._table.num_segments()
        for array in (self._row_ids, self._revisions, self.pooled):
            array.reserve(count)
        for number, batch in enumerate(self._table.scan_batches(self._columns(), LOAD_BATCH)):
            if number == 0 and self.frames is not None and batch.num_rows:
                self.frames.reserve(count, int(_flat(batch["frame_weights"])[1].float().mean() * count * 1.05))
            self._append(batch)
            if tell is not None and batch.num_rows:
                tell(len(self._row_ids), max(count, len(self._row_ids)))  # there may be more by now
        self.alive = torch.ones(len(self._row_ids), dtype=torch.bool)

    def _follow(self) -> None:
        now = self._table.scan(["revision"])
        current, row_ids = now["revision"].to_numpy(), now["_rowid"].to_numpy().astype(np.int64)
        known = self._revisions.rows.numpy()
        self.alive = torch.from_numpy(np.isin(known, current))
        new = row_ids[~np.isin(current, known)]
        dead = len(known) - int(self.alive.sum())
        if dead > REBUILD_ABOVE * len(known) + LOAD_BATCH:
            self._reset(self.frames is not None)
            return self._load()
        for start in range(0, len(new), LOAD_BATCH):
            self._append(self._table.take(new[start : start + LOAD_BATCH], self._columns()))
        added = torch.ones(len(self._row_ids) - len(self.alive), dtype=torch.bool)
        self.alive = torch.cat([self.alive, added])

    def _append(self, batch: pa.RecordBatch | pa.Table) -> None:
        if not batch.num_rows:
            return
        self._row_ids.append(torch.from_numpy(batch["_rowid"].to_numpy().astype(np.int64)))
        self._order = None
        self._revisions.append(torch.from_numpy(batch["revision"].to_numpy().copy()))
        self.places.append(batch)
        self.pooled.append(_flat(batch["pooled"])[0].view(batch.num_rows, -1))
        if self.frames is not None:
            self.frames.append(batch)
        if self.fields is not None:
            self.fields.append(batch)


def frames_of(batch: pa.Table, dim: int, dtype: str, slots: torch.Tensor | None = None) -> CandidateFrames:
    """The frames of rows just read from the table, of all or of those at `slots`."""
    store = FrameStore(dim, dtype)
    store.append(batch)
    return store.gather(torch.arange(batch.num_rows) if slots is None else slots)


def _flat(column) -> tuple[torch.Tensor, torch.Tensor]:
    """A list column as its values end to end and the length of each list."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_fixed_size_list(array.type):
        return torch.from_numpy(array.flatten().to_numpy().copy()), torch.full((len(array),), array.type.list_size)
    counts = torch.from_numpy(array.value_lengths().to_numpy().astype(np.int64))
    return torch.from_numpy(array.flatten().to_numpy().copy()), counts
