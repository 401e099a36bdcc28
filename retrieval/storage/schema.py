"""What a row of the index is, and what the index remembers about how it was made."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from dmae.modeling.remote_videos import short_digest

from ..errors import VideoIndexError

TABLE_NAME = "videos"
FORMAT_VERSION = 2  # 1: a row per video; 2: a row per segment of a video
_SETTINGS_KEY = b"dmae.index"
KEYFRAMES = "keyframes"
MAX_RATE = 60
NEWER_SETTINGS = ("frames_per_second", "segment_frames", "precision")  # that readers of format 1 do not know

# Makes two writers that insert the same new key conflict, so that one of them retries and updates instead.
PRIMARY_KEY = {"lance-schema:unenforced-primary-key:position": "1"}

DTYPES = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}


@dataclass(frozen=True)
class Encoder:
    """Who made the embeddings: a name for people, a fingerprint to compare (both empty: given by hand)."""

    name: str = ""
    fingerprint: str = ""

    def __str__(self) -> str:
        return f"{self.name or 'unnamed'} ({self.fingerprint[:12] or 'no fingerprint'})"


@dataclass(frozen=True)
class IndexSettings:
    """Fixed when an index is created, stored in the table's schema metadata.

    Attributes:
        dim: embedding dimension D.
        dtype: storage of the frame embeddings, "float32", "float16" or "int8" (one scale per frame).
        merge_above: neighbouring frames whose cosine is above this are merged into one (None: frames are kept as they
            are).
        model: the model that made the embeddings.
        preprocessing: the video processor that fed it.
        frames_per_second: at which a video longer than one segment is read, a number or "keyframes"; None: every video
            is one segment, of the frames that its processor samples.
        segment_frames: the most frames in a segment of such a video.
        precision: in which the model computed the embeddings, "fp32", "bf16", …; None: not known.
        format: version of this layout.
    """

    dim: int
    dtype: str = "float16"
    merge_above: float | None = None
    model: Encoder = field(default_factory=Encoder)
    preprocessing: Encoder = field(default_factory=Encoder)
    frames_per_second: float | str | None = None
    segment_frames: int | None = None
    precision: str | None = None
    format: int = FORMAT_VERSION

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise VideoIndexError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if not isinstance(self.dim, int) or self.dim < 1:
            raise VideoIndexError(f"dim must be a whole number, at least 1, got {self.dim}")
        if self.merge_above is not None and not 0 < self.merge_above <= 1:
            raise VideoIndexError(f"merge_above must be a cosine in (0, 1], got {self.merge_above}")
        rate: Any = self.frames_per_second
        if rate is not None and rate != KEYFRAMES and not (_is_number(rate) and 0 < rate <= MAX_RATE):
            raise VideoIndexError(
                f"frames_per_second must be above 0 and at most {MAX_RATE}, {KEYFRAMES!r} or None, got {rate!r}"
            )
        if rate is not None and not (isinstance(self.segment_frames, int) and self.segment_frames >= 1):
            raise VideoIndexError(f"segment_frames must be a whole number, at least 1, got {self.segment_frames}")

    @property
    def longest_segment(self) -> float:
        """Seconds up to which a video is one segment."""
        if self.frames_per_second is None or self.segment_frames is None:
            return math.inf
        return self.segment_frames / (1.0 if isinstance(self.frames_per_second, str) else self.frames_per_second)

    @property
    def key(self) -> str:
        """The column that tells rows apart."""
        return "id" if self.format == 1 else "segment_key"

    @property
    def built_in(self) -> frozenset[str]:
        """The index's own columns."""
        return frozenset(table_schema(self).names)


def table_schema(settings: IndexSettings) -> pa.Schema:
    """The Arrow schema of an index's table. Lists hold one entry per real frame: padding is not stored.

    What is known of a video stands in each of its segments' rows, so that a filter reads one table.
    """
    floats = pa.list_(pa.float32())
    identity = [pa.field("id", pa.string(), nullable=False, metadata=PRIMARY_KEY)]
    if settings.format > 1:
        identity = [
            pa.field("segment_key", pa.string(), nullable=False, metadata=PRIMARY_KEY),
            pa.field("id", pa.string(), nullable=False),  # of the video
            pa.field("video_hash", pa.int64(), nullable=False),  # of the id, to group by
            pa.field("segment_number", pa.int32(), nullable=False),  # from 0, in the order of time
            pa.field("segment_start", pa.float64()),  # s
            pa.field("segment_end", pa.float64()),  # s
        ]
    fields = [
        *identity,
        pa.field("revision", pa.int64()),  # random at each write of the row, so that a reader sees what changed
        pa.field("path", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("file_size", pa.int64()),
        pa.field("modified", pa.int64()),  # ns, with file_size the cheap test for "unchanged"
        pa.field("duration", pa.float64()),  # s
        pa.field("pooled", pa.list_(pa.float16(), settings.dim)),
        pa.field("frames", pa.list_(DTYPES[settings.dtype])),  # F * D values
        pa.field("frame_scales", floats),  # F values for int8, else empty
        pa.field("frame_weights", floats),
        pa.field("frame_times", floats),  # s
        pa.field("nearest", pa.list_(pa.int16())),  # n(v) and g(v) of the visual attention
        pa.field("gains", floats),
        pa.field("thumbnail", pa.binary()),  # JPEG
        pa.field("metadata", pa.string()),  # JSON object, as the user gave it
    ]
    stored = asdict(settings)
    if settings.format == 1:  # as older versions read it
        stored = {name: value for name, value in stored.items() if name not in NEWER_SETTINGS}
    return pa.schema(fields, metadata={_SETTINGS_KEY: json.dumps(stored).encode()})


def with_column(rows: pa.Table, name: str, value) -> pa.Table:
    """Rows with other values of a column: a list with one for each, or one for all."""
    field = rows.schema.field(name)
    values = value if isinstance(value, list) else [value] * rows.num_rows
    return rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))


# Of the built-in columns, those that say something to a user.
FILTERABLE = ("id", "path", "duration", "segment_start", "segment_end")


def segment_keys(ids: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """What tells the rows of segments apart."""
    return [f"{number}:{i}" for i, number in zip(ids, numbers)]


def video_hash(video_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(video_id.encode(), digest_size=8).digest(), "big", signed=True)


def share_of(video_id: str, shares: int) -> int:
    """The share of a video among `shares`, from 0; it depends on the id alone, so that it never moves. (A checksum
    would put names that differ in one letter into one share of two.)
    """
    return short_digest(video_id) % shares


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_settings(schema: pa.Schema, uri: str) -> IndexSettings:
    """The settings stored in a table's schema.

    Raises:
        VideoIndexError: a table of another kind, or one written by a newer version.
    """
    raw = (schema.metadata or {}).get(_SETTINGS_KEY)
    try:
        stored = json.loads(raw or b"")
        version = int(stored["format"])
    except (ValueError, KeyError, TypeError):
        raise _foreign(uri) from None
    if version > FORMAT_VERSION:
        raise VideoIndexError(
            f"the index at {uri} has format {version}, this version reads up to {FORMAT_VERSION}: upgrade dmae"
        )
    try:
        for name in ("model", "preprocessing"):
            stored[name] = Encoder(**stored[name])
        return IndexSettings(**stored)
    except (KeyError, TypeError):
        raise _foreign(uri) from None


def _foreign(uri: str) -> VideoIndexError:
    return VideoIndexError(f"{uri} holds a table that is not a video index; create one with `dmae index`")
