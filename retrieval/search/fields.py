"""The small fields of hits (id, path, duration, metadata) in memory, so that ten hits cost no reading of the table."""

from bisect import bisect_right
from collections.abc import Iterable

import pyarrow as pa

FIELD_COLUMNS = ("id", "path", "duration", "metadata")
FIELD_BYTES = 1024  # per row on average; richer metadata stays in the table


class FieldStore:
    """`FIELD_COLUMNS` of rows, in slots, as Arrow holds them.

    Attributes:
        fits: whether they are within their budget of memory; where not, they are let go.
    """

    def __init__(self):
        self._batches: list[pa.RecordBatch] = []
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
            self._batches.append(_copied(batch))
        if self.nbytes > FIELD_BYTES * self._length:
            self.fits, self._batches = False, []

    def at(self, slots: Iterable[int]) -> list[dict]:
        """The fields in some slots."""
        wanted = list(slots)
        rows: dict[int, list[int]] = {}  # of each batch
        for slot in wanted:
            rows.setdefault(bisect_right(self._starts, slot) - 1, []).append(slot)
        found = {}
        for batch, own in rows.items():
            places = pa.array([slot - self._starts[batch] for slot in own])
            found |= zip(own, self._batches[batch].take(places).to_pylist())
        return [found[slot] for slot in wanted]

    @property
    def nbytes(self) -> int:
        return sum(batch.nbytes for batch in self._batches)


def _copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in memory of their own: the engine's buffer holds every column that was read with them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()
