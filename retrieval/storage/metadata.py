"""A user's metadata: kept whole as JSON, and its plain values also as typed columns that a filter can name."""

import json
import math
import os
import re
from collections.abc import Sequence, Set

import numpy as np
import pyarrow as pa

from ..errors import VideoIndexError
from .schema import IndexSettings

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_TYPES = {bool: pa.bool_(), str: pa.string(), int: pa.float64(), float: pa.float64()}
_FILLS = ("path", "duration")  # metadata keys that fill a built-in column rather than make their own


class Metadata:
    """Checked metadata of a batch.

    Attributes:
        json: one JSON object per video, or None.
        columns: a typed Arrow array for each plain key (numbers are float64), null where a video lacks it.
        paths, durations: the values of the keys `path` and `duration`, which fill the columns of those names.
    """

    def __init__(self, settings: IndexSettings, ids: Sequence[str], metadata: Sequence[dict | None] | None):
        rows = [None] * len(ids) if metadata is None else list(metadata)
        if len(rows) != len(ids):
            raise VideoIndexError(
                f"metadata has {len(rows)} entries for {len(ids)} ids: give one dictionary per video"
            )
        rows = [None if row is None else _as_plain(i, row) for i, row in zip(ids, rows)]
        self.json = [None if row is None else _to_json(i, row) for i, row in zip(ids, rows)]
        rows = [row or {} for row in rows]
        self.paths = [_expect(i, row, "path", str) for i, row in zip(ids, rows)]
        self.durations = [_expect(i, row, "duration", (int, float)) for i, row in zip(ids, rows)]
        names = dict.fromkeys(
            key
            for row in rows
            for key, value in row.items()
            if key not in _FILLS and _is_plain(key, value, settings.built_in)
        )
        self.columns = {name: _column(name, ids, [row.get(name) for row in rows]) for name in names}


def _as_plain(i: str, row: dict) -> dict:
    """The row with numpy's scalars and paths as plain numbers and strings."""
    if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
        raise VideoIndexError(f"metadata of video {i!r} must be a dictionary with string keys, got {row!r:.80}")
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()}
    return {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in plain.items()}


def _to_json(i: str, row: dict) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise VideoIndexError(f"metadata of video {i!r} must be JSON: {error}") from None


def _is_plain(key: str, value, built_in: Set[str]) -> bool:
    if not _NAME.match(key) or type(value) not in _TYPES:
        return False
    if key in built_in:
        raise VideoIndexError(f"metadata key {key!r} is a column of the index itself: choose another name")
    return True


def _expect(i: str, row: dict, key: str, kind):
    value = row.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise VideoIndexError(f"metadata {key!r} of video {i!r} fills the column {key}, so it cannot be {value!r:.80}")
    return float(value) if key == "duration" and value is not None and math.isfinite(value) else value


def _column(name: str, ids: Sequence[str], values: list) -> pa.Array:
    kinds = {_TYPES.get(type(value)) for value in values} - {None}
    if len(kinds) > 1:
        raise VideoIndexError(f"metadata {name!r} holds {' and '.join(sorted(map(str, kinds)))} values: use one type")
    kind = kinds.pop()
    values = [value if _TYPES.get(type(value)) == kind else None for value in values]
    if kind == pa.float64():  # Arrow takes no whole number beyond 64 bits, as a float it does
        values = [None if value is None else _to_float(name, value) for value in values]
    return pa.array(values, kind)


def _to_float(name: str, value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise VideoIndexError(f"metadata {name!r} holds a number that is too large: give it as text") from None
