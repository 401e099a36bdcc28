"""Embeddings and metadata to table rows: checks, merged frames, quantisation, the nearest-frame table.

A user's metadata is kept whole as JSON, and its plain values also as typed columns that a filter can name.
"""

import json
import math
import os
import re
import secrets
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from dmae.modeling.similarity import nearest_frames

from ..errors import VideoIndexError
from ..inputs import as_tensor, check_ids
from .schema import DTYPES, IndexSettings, segment_keys, table_schema, video_hash
from .vectors import quantise

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_TYPES = {bool: pa.bool_(), str: pa.string(), int: pa.float64(), float: pa.float64()}
_FILLS = ("path", "duration")  # metadata keys that fill a built-in column rather than make their own


@dataclass(frozen=True)
class VideoFile:
    """What the index keeps of a file beside its embeddings; every field may be unknown."""

    path: str | None = None
    content_hash: str | None = None
    file_size: int | None = None
    modified: int | None = None
    duration: float | None = None
    thumbnail: bytes | None = None


def make_rows(
    settings: IndexSettings,
    ids: Sequence[str],
    frame_embeds,
    frame_mask,
    *,
    frame_times=None,
    files: Sequence[VideoFile] | None = None,
    metadata: Sequence[dict | None] | None = None,
    segments: Sequence[tuple[float, float]] | None = None,
    first_number: int = 0,
) -> pa.Table:
    """Checked rows in the columns of `table_schema`, followed by one column for each plain metadata key.

    Args:
        ids: B non-empty strings: of videos, distinct unless there are `segments`.
        frame_embeds: `(B, F, D)` floats, unit norm.
        frame_mask: `(B, F)` non-negative weights, 0 for padding.
        frame_times: `(B, F)` seconds, or None.
        files, metadata: B entries each, or None.
        segments: start and end of each row in its video, in seconds; the rows of a video in the order of time. None:
            every row is a whole video.
        first_number: of the first segment of each video, where its earlier ones are elsewhere.

    Raises:
        VideoIndexError: naming the first video at fault.
    """
    ids = check_ids(ids) if segments is None else _check_segments(settings, ids, segments)
    embeds, weights = _check_embeddings(settings, ids, frame_embeds, frame_mask)
    times = _check_times(frame_times, weights)
    files = [VideoFile()] * len(ids) if files is None else list(files)
    user = Metadata(settings, ids, metadata)
    if settings.merge_above is None:
        attention = nearest_frames(embeds, weights)
    else:
        embeds, weights, times, *attention = merge_frames(embeds, weights, times, settings.merge_above)
    columns = _frame_columns(settings, embeds, weights, times, *attention)
    columns |= {
        key: [getattr(file, key) for file in files] for key in ("content_hash", "file_size", "modified", "thumbnail")
    }
    columns |= {
        "id": ids,
        "revision": [secrets.randbits(62) for _ in ids],
        "path": [file.path or path for file, path in zip(files, user.paths)],
        "duration": [known if file.duration is None else file.duration for file, known in zip(files, user.durations)],
        "metadata": user.json,
    }
    columns |= _segment_columns(ids, segments, columns["duration"], first_number)
    schema = table_schema(settings)
    table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    for name, values in user.columns.items():
        table = table.append_column(name, values)
    return table


def _check_segments(settings: IndexSettings, ids: Sequence[str], segments) -> list[str]:
    check_ids(ids, distinct=False)
    if settings.format == 1:
        raise VideoIndexError(
            "this index holds whole videos (format 1): `dmae migrate` makes one of segments out of it"
        )
    if len(segments) != len(ids):
        raise VideoIndexError(
            f"segments has {len(segments)} entries for {len(ids)} ids: give a start and end for each"
        )
    last: dict[str, float] = {}
    for i, (start, end) in zip(ids, segments):
        if not last.get(i, -math.inf) <= start <= end < math.inf:
            raise VideoIndexError(
                f"a segment of video {i!r} from {start} to {end} s must not end before it starts, nor start "
                f"before the one before it"
            )
        last[i] = start
    return list(ids)


def _segment_columns(ids: list[str], segments, durations: Sequence[float | None], first: int) -> dict[str, list]:
    counts: dict[str, int] = {}
    numbers = []
    for i in ids:
        numbers.append(counts.get(i, first))
        counts[i] = numbers[-1] + 1
    spans = segments if segments is not None else [(0.0, duration) for duration in durations]
    return {
        "segment_key": segment_keys(ids, numbers),
        "video_hash": [video_hash(i) for i in ids],
        "segment_number": numbers,
        "segment_start": [start for start, _ in spans],
        "segment_end": [end for _, end in spans],
    }


def _check_embeddings(settings, ids, frame_embeds, frame_mask):
    embeds = as_tensor(frame_embeds, "frame_embeds")
    if embeds.ndim != 3 or len(embeds) != len(ids) or not embeds.is_floating_point():
        raise VideoIndexError(
            f"frame_embeds must be floats of shape ({len(ids)}, F, {settings.dim}), "
            f"got {embeds.dtype} {tuple(embeds.shape)}"
        )
    if embeds.shape[2] != settings.dim:
        raise VideoIndexError(
            f"frame_embeds has dimension {embeds.shape[2]}, the index has {settings.dim}: "
            f"use the model it was made with"
        )
    embeds = embeds.float()
    weights = torch.ones(embeds.shape[:2]) if frame_mask is None else as_tensor(frame_mask, "frame_mask").float()
    if weights.shape != embeds.shape[:2]:
        raise VideoIndexError(f"frame_mask has shape {tuple(weights.shape)}, frame_embeds {tuple(embeds.shape)}")
    if not (torch.isfinite(weights) & (weights >= 0)).all():
        raise VideoIndexError("frame_mask must hold 0 for padding and positive numbers for frames")
    real = weights > 0
    bad = (~torch.isfinite(embeds) | (embeds.abs() > torch.finfo(torch.float16).max)).any(dim=2) & real
    for fault, rows in (("NaN or infinity in its frame embeddings", bad.any(1)), ("no real frame", ~real.any(1))):
        if rows.any():
            raise VideoIndexError(f"video {ids[int(rows.int().argmax())]!r} has {fault}; nothing was added")
    return embeds, weights


def _check_times(frame_times, weights):
    if frame_times is None:
        return None
    times = as_tensor(frame_times, "frame_times").float()
    if times.shape != weights.shape:
        raise VideoIndexError(
            f"frame_times has shape {tuple(times.shape)}, frame_mask {tuple(weights.shape)}: one time per frame"
        )
    return times


def pool_frames(embeds: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`(B, F, D)` frames to the `(B, D)` vectors of stage one: their weighted mean."""
    return torch.einsum("bf,bfd->bd", weights / weights.sum(1, keepdim=True), embeds * (weights > 0)[..., None])


def _frame_columns(settings: IndexSettings, embeds, weights, times, nearest, gains) -> dict:
    """Columns with one entry a real frame, as Arrow lists."""
    real = weights > 0
    counts = real.sum(1)
    position = real.cumsum(1) - 1  # of a padded position among the real ones
    dtype = getattr(torch, settings.dtype)
    frames, scales = quantise(embeds[real]) if dtype == torch.int8 else (embeds[real].to(dtype), torch.empty(0))
    return {
        "pooled": pa.FixedSizeListArray.from_arrays(pool_frames(embeds, weights).half().numpy().ravel(), settings.dim),
        "frames": _lists(frames.numpy().ravel(), counts * settings.dim, DTYPES[settings.dtype]),
        "frame_scales": _lists(scales.numpy(), counts if dtype == torch.int8 else counts * 0, pa.float32()),
        "frame_weights": _lists(weights[real].numpy(), counts, pa.float32()),
        "frame_times": _lists(
            (weights[:0] if times is None else times[real]).numpy().ravel(),
            counts if times is not None else counts * 0,
            pa.float32(),
        ),
        "nearest": _lists(position.gather(1, nearest)[real].to(torch.int16).numpy(), counts, pa.int16()),
        "gains": _lists(gains[real].numpy(), counts, pa.float32()),
    }


def _lists(values: np.ndarray, counts: torch.Tensor, dtype: pa.DataType) -> pa.ListArray:
    offsets = np.concatenate([[0], counts.cumsum(0).numpy()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, dtype))


def merge_frames(embeds: torch.Tensor, weights: torch.Tensor, times: torch.Tensor | None, above: float):
    """Replaces each run of neighbouring frames whose cosine with the run's mean is over `above` by that mean.

    A run's weight is the sum of its frames' weights, so averages over frames stay what they were; its time is that of
    its middle frame. The nearest frame of one in a run is almost always in the run as well: a run is its own nearest
    frame, with the mean gain of its frames, and so the visual attention adds about what it added before.

    Args:
        embeds: `(B, F, D)` unit-norm frames; weights: `(B, F)`, 0 for padding; times: `(B, F)` or None.
        above: cosine in (0, 1].

    Returns:
        embeds `(B, F', D)`, weights `(B, F')`, times `(B, F')` or None, padded with zeros, F' at most F; and the runs'
        nearest runs `(B, F')` and gains `(B, F')`, n(v) and g(v) of method.md.
    """
    runs = [_runs(e[w > 0], w[w > 0], above) for e, w in zip(embeds, weights)]
    longest = max(map(len, runs), default=1)
    out_embeds = embeds.new_zeros(len(runs), longest, embeds.shape[2])
    out_weights, own_gains = weights.new_zeros(2, len(runs), longest)
    out_times = None if times is None else times.new_zeros(len(runs), longest)
    _, frame_gains = nearest_frames(embeds, weights)
    for row, bounds in enumerate(runs):
        real = (weights[row] > 0).nonzero()[:, 0]
        for place, (start, stop) in enumerate(bounds):
            run = real[start:stop]
            out_embeds[row, place] = weights[row, run] @ embeds[row, run]
            out_weights[row, place] = weights[row, run].sum()
            if len(run) > 1:
                own_gains[row, place] = frame_gains[row, run].mean()
            if times is not None and out_times is not None:
                out_times[row, place] = times[row, real[(start + stop - 1) // 2]]
    out_embeds = torch.nn.functional.normalize(out_embeds, dim=-1)
    nearest, gains = nearest_frames(out_embeds, out_weights)
    own = own_gains > 0
    nearest, gains = torch.where(own, torch.arange(longest), nearest), torch.where(own, own_gains, gains)
    return out_embeds, out_weights, out_times, nearest, gains


def _runs(frames: torch.Tensor, weights: torch.Tensor, above: float) -> list[tuple[int, int]]:
    """Bounds of a video's runs among its `(F, D)` real frames."""
    starts = [0]
    total = frames[0] * weights[0]
    for position in range(1, len(frames)):
        if torch.dot(frames[position], total) / total.norm().clamp(min=1e-12) > above:
            total = total + frames[position] * weights[position]
        else:
            starts.append(position)
            total = frames[position] * weights[position]
    return list(zip(starts, [*starts[1:], len(frames)]))


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
        self.columns = {name: _column(name, [row.get(name) for row in rows]) for name in names}


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


def _column(name: str, values: list) -> pa.Array:
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
