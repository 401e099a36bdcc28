"""An index of format 1, a row per video, made one of format 2, a row per segment."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import VideoIndexError
from .schema import FORMAT_VERSION, IndexSettings, segment_keys, table_schema, video_hash
from .table import VideoTable


def migrate(
    table: VideoTable, *, frames_per_second: float | str | None = None, segment_frames: int | None = None
) -> int:
    """Brings a table to the newest format, in one commit, and returns how many videos are to be encoded again.

    Args:
        frames_per_second, segment_frames: as in `IndexSettings`. Videos longer than one segment are then marked as
            changed, so that the next `add` cuts them; until then they are found as before.

    Raises:
        VideoIndexError: the index has the newest format already, or a column of the user's has a name that is now the
            index's own.
    """
    old = table.settings
    if old.format >= FORMAT_VERSION:
        raise VideoIndexError(f"the index at {table.uri} has format {old.format} already: there is nothing to migrate")
    new = replace(old, format=FORMAT_VERSION, frames_per_second=frames_per_second, segment_frames=segment_frames)
    schema = table_schema(new)
    users = [name for name in table.columns if name not in old.built_in]
    taken = [name for name in users if name in new.built_in]
    if taken:
        raise VideoIndexError(
            f"the metadata {taken[0]!r} has the name of a column of the newer format: rename it first"
        )
    table.migrate(new, lambda rows: _as_segments(rows, new, schema))
    return sum(
        (duration or 0) > new.longest_segment for duration in table.videos(["duration"])["duration"].to_pylist()
    )


def _as_segments(rows: pa.Table, settings: IndexSettings, schema: pa.Schema) -> pa.Table:
    """Whole videos as videos of one segment."""
    count, ids = rows.num_rows, rows["id"].to_pylist()
    columns = {
        "segment_key": pa.array(segment_keys(ids, [0] * count), pa.string()),
        "video_hash": pa.array([video_hash(i) for i in ids], pa.int64()),
        "segment_number": pa.array([0] * count, pa.int32()),
        "segment_start": pa.array([0.0] * count, pa.float64()),
        "segment_end": rows["duration"],
    }
    compute: Any = pc  # its functions are made on import, unseen by type checkers
    long = compute.fill_null(compute.greater(rows["duration"], settings.longest_segment), False)
    for name in ("content_hash", "file_size", "modified"):
        columns[name] = compute.if_else(long, pa.scalar(None, schema.field(name).type), rows[name])
    fields = list(schema) + [field for field in rows.schema if field.name not in schema.names]
    arrays = [columns.get(field.name) if field.name in columns else rows[field.name] for field in fields]
    return pa.table(arrays, schema=pa.schema(fields, metadata=schema.metadata))
