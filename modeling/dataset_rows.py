"""Videos in the rows of a `datasets.Dataset` whose video column is not decoded: inside a row, or only named there.

A file of its own because pyarrow, which is there wherever such a dataset is, need not be where a model is loaded.
"""

from typing import Any


class RowVideo(dict):
    """`{"path", "bytes"}` of one row; the bytes are read from the dataset on disk whenever they are asked for, so that
    the videos of a corpus of any size fit in memory, and in what is sent to decoding processes. `read_frames` takes it
    as it takes a path."""

    def __init__(self, dataset, column: str, row: int, path: str | None):
        super().__init__(path=path)
        self._dataset, self._column, self._row = dataset, column, row

    @property
    def version(self) -> str:
        """A text that another row, or another version of the dataset, would not have."""
        return f"{self._dataset._fingerprint} {self._row}"

    def __missing__(self, key):
        if key != "bytes":
            raise KeyError(key)
        return self._dataset[self._row][self._column]["bytes"]

    def get(self, key, default=None):
        return self[key] if key in ("path", "bytes") else default


def names_and_sizes(dataset, column: str) -> tuple[list[str | None], list[int | None]]:
    """The names of the rows' videos and their byte counts, without reading a byte of them; no count where a row has
    no bytes, no name where it has none."""
    import pyarrow.compute

    pc: Any = pyarrow.compute  # its functions are made on import, unseen by type checkers
    values = dataset.data.column(column)
    is_struct = pyarrow.types.is_struct(values.type)
    names = pc.struct_field(values, "path") if is_struct else values
    sizes = pc.binary_length(pc.struct_field(values, "bytes")) if is_struct else pyarrow.nulls(len(values))
    if dataset._indices is not None:  # rows were chosen or shuffled: these are their numbers in the table
        rows = dataset._indices.column(0)
        names, sizes = names.take(rows), sizes.take(rows)
    return names.to_pylist(), sizes.to_pylist()
