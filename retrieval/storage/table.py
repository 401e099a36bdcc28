"""The LanceDB table under an index: opening, transactional writes, reads by row id."""

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq

from ..errors import VideoIndexError, storage_errors
from .filters import as_expression, quote
from .schema import (
    FILTERABLE,
    TABLE_NAME,
    IndexSettings,
    read_settings,
    segment_keys,
    table_schema,
    video_hash,
    with_column,
)

WRITE_ATTEMPTS = 20
NEAR = 0.01  # seconds by which a moment may lie outside of its segment: frame times are kept in single precision
REMOTE_REFRESH = timedelta(seconds=5)  # how stale a reader of object storage may be; a local one never is
MIGRATE_ROWS = 512  # converted at a time
DELETE_BATCH = 1000  # ids named in one filter
SCAN_BATCH = 131_072  # rows read at a time of columns that are small
RENAMED_TOGETHER = 64  # videos whose rows are written again in one commit
SMALL_FRAGMENTS = 32  # more of these and a compaction pays
SETTLED = 2_000_000_000  # ns: no file system's clock is coarser, so a later commit shows as a later time


class VideoTable:
    """One table with a row per segment of a video; a video that fits into one segment is one row.

    Every read sees the latest version. Every write is one commit and of whole videos.
    """

    def __init__(
        self,
        uri: str,
        database,
        table,
        settings: IndexSettings,
        read_only: bool = False,
        storage_options: dict | None = None,
    ):
        self.uri = uri
        self.storage_options = storage_options
        self.database = database
        self.settings = settings
        self.read_only = read_only
        self._table = table
        self._known: tuple[int, int] | None = None  # when the folder of versions changed, and the version then

    @staticmethod
    def exists(uri, storage_options: dict | None = None) -> bool:
        """Whether there is a table at `uri`; makes nothing."""
        uri = _location(uri)
        if not _is_remote(uri):  # connecting would create the folder
            versions = _versions(uri)
            return os.path.isdir(versions) and bool(os.listdir(versions))  # empty where its creator was killed
        with storage_errors(uri, "connecting"):
            return TABLE_NAME in table_names(_connect(uri, storage_options))

    @classmethod
    def create(cls, uri, settings: IndexSettings, *, overwrite: bool = False, storage_options: dict | None = None):
        """A new empty table at `uri`; an existing index is replaced only with `overwrite`."""
        uri = _location(uri)
        if not overwrite and cls.exists(uri, storage_options):
            raise VideoIndexError(
                f"an index exists at {uri}: use VideoIndex.open to add to it, or overwrite=True to replace it"
            )
        if not _is_remote(uri) and os.path.exists(uri) and not os.path.isdir(uri):
            raise VideoIndexError(f"{uri} is a file: give a folder for the index")
        with storage_errors(uri, "creating"):
            database = _connect(uri, storage_options)
            table = database.create_table(
                TABLE_NAME,
                schema=table_schema(settings),
                mode="overwrite" if overwrite else "create",
                storage_options=_with_stable_row_ids(storage_options),
            )
        return cls(uri, database, table, settings, storage_options=storage_options)

    @classmethod
    def open(cls, uri, *, storage_options: dict | None = None, read_only: bool = False):
        """The table at `uri`, checked to be a video index that this version can read."""
        uri = _location(uri)
        if not cls.exists(uri, storage_options):
            raise VideoIndexError(f"no video index at {uri}: create one with `dmae index FOLDER --index {uri}`")
        with storage_errors(uri, "opening"):
            database = _connect(uri, storage_options)
            table = database.open_table(TABLE_NAME)
            schema = table.schema
        return cls(uri, database, table, read_settings(schema, uri), read_only, storage_options)

    @property
    def version(self) -> int:
        """Of the latest commit. Each writes a file into one folder: on a local disk a look at that folder, which takes
        a hundredth of the time, tells that there was none."""
        changed = None if _is_remote(self.uri) else _time_of_change(_versions(self.uri))
        if self._known is not None and self._known[0] == changed:
            return self._known[1]
        asked = time.time_ns()
        with self._reading():
            version = self._table.version
        self._known = None if changed is None or asked - changed < SETTLED else (changed, version)
        return version

    @property
    def columns(self) -> list[str]:
        with self._reading():
            return self._table.schema.names

    @property
    def nbytes(self) -> int:
        with self._reading():
            return self._table.stats()["total_bytes"]

    def count(self) -> int:
        """How many videos there are."""
        return self.num_segments(self._one_per_video)

    def num_segments(self, where: str | None = None) -> int:
        """How many rows there are, or are kept by a filter."""
        with self._reading(where):
            return self._table.count_rows(None if where is None else as_expression(where))

    def write(self, rows: pa.Table) -> None:
        """Inserts whole videos in place of those with their ids, in one commit; retries when another writer was first.

        Args:
            rows: all segments of each video among them.
        """
        ids = dict.fromkeys(rows["id"].to_pylist())
        self.write_batches(list(ids), lambda: iter([rows]))

    def write_batches(self, ids: Sequence[str], batches: Callable[[], Iterator[pa.Table]]) -> None:
        """As `write`, for more rows than memory should hold.

        Args:
            ids: of all the videos. batches: makes the rows, again at each attempt; the columns of all are the same.
        """
        self.check_writable()
        with storage_errors(self.uri, "writing"):
            retry_on_conflict(self._table, lambda: self._merge(ids, batches()))

    def insert(self, video_id: str, batches: Callable[[], Iterator[pa.Table]]) -> None:
        """As `write_batches`, for one video of many rows: to look for each among what is there, the engine would hold
        all of them in memory. So those of a video that is new are appended."""
        self.check_writable()
        if self.videos(["id"], [video_id]).num_rows:
            self.write_batches([video_id], batches)
            return
        own = secrets.randbits(62)
        with storage_errors(self.uri, "writing"):
            rows = map(self._match_columns, (with_column(table, "revision", own) for table in batches()))
            first = next(rows)
            parts = (batch for table in chain([first], rows) for batch in table.to_batches())
            self._table.add(pa.RecordBatchReader.from_batches(first.schema, parts))
            whose = f"{_is_one_of([video_id])} AND segment_number = 0"
            written = self.scan(["revision"], whose)["revision"].to_pylist()
            if len(written) > 1:  # another process inserted it at the same time: the same one of the two goes for both
                goes = "=" if own < max(written) else "<>"
                self._table.delete(f"{_is_one_of([video_id])} AND revision {goes} {own}")

    def _merge(self, ids: Sequence[str], batches: Iterator[pa.Table]) -> None:
        """Inserts rows in place of all that these videos have, in one commit."""
        first = self._match_columns(next(batches))
        tables = chain([first], map(self._match_columns, batches))
        parts = (batch for table in tables for batch in table.to_batches())
        merge = self._table.merge_insert(self.settings.key).when_matched_update_all().when_not_matched_insert_all()
        merge = merge.when_not_matched_by_source_delete(_is_one_of(ids))  # segments that the videos have no more
        merge.execute(pa.RecordBatchReader.from_batches(first.schema, parts))

    def append(self, rows: pa.Table) -> None:
        """Adds rows of which none is there, to a table that nobody else writes."""
        self.check_writable()
        with storage_errors(self.uri, "writing"):
            self._table.add(self._match_columns(rows))

    def update(self, rows: Sequence[dict]) -> None:
        """Changes some columns of videos, which are found by `id`, in one commit; those not there are ignored."""
        self.check_writable()
        key = self.settings.key
        if key != "id":
            changes = {row["id"]: row for row in rows}
            found = (self.scan([key, "id"], _is_one_of(part)).to_pylist() for part in _parts(list(changes)))
            rows = [{**changes[row["id"]], key: row[key]} for row in chain.from_iterable(found)]
        if not rows:
            return
        schema = pa.schema([field for field in self._table.schema if field.name in rows[0] and field.name != "id"])
        if key == "id":
            schema = schema.insert(0, self._table.schema.field("id"))
        table = pa.Table.from_pylist(list(rows), schema=schema)
        with storage_errors(self.uri, "writing"):
            retry_on_conflict(
                self._table, lambda: self._table.merge_insert(key).when_matched_update_all().execute(table)
            )

    def rename(self, moves: Mapping[str, dict]) -> None:
        """Gives videos other ids. Those whose new id is another video's come in one commit, since several may have
        swapped theirs; a video whose id was taken and that got no other is no more.

        Args:
            moves: by the id that a video has, its columns with new values, `id` among them, and its `content_hash`: a
                video of another content, as somebody else may have written meanwhile, is left as it is.
        """
        self.check_writable()
        there = {row["id"] for part in _parts([row["id"] for row in moves.values()]) for row in self._hashes(part)}
        free = [old for old, row in moves.items() if row["id"] not in there]
        bound = [old for old in moves if moves[old]["id"] in there]
        for part in filter(None, [*_parts(free, RENAMED_TOGETHER), bound]):
            chosen = {old: moves[old] for old in part}
            with storage_errors(self.uri, "writing"):
                retry_on_conflict(self._table, lambda chosen=chosen: self._rename(chosen))

    def _rename(self, moves: Mapping[str, dict]) -> None:
        hashes = {row["id"]: row["content_hash"] for row in self._hashes(list(moves))}
        moves = {old: row for old, row in moves.items() if old in hashes and hashes[old] == row["content_hash"]}
        if not moves:
            return
        rows = batches_of(self._table, self._table.schema.names, MIGRATE_ROWS, _is_one_of(list(moves)))
        renamed = (_renamed(pa.Table.from_batches([batch]), moves, self.settings) for batch in rows)
        self._merge([*moves, *(row["id"] for row in moves.values())], renamed)

    def _hashes(self, ids: Sequence[str]) -> list[dict]:
        return self.videos(["id", "content_hash"], ids).to_pylist()

    def delete(self, ids: Sequence[str]) -> int:
        """Deletes videos by id and returns how many were there."""
        self.check_writable()
        deleted = 0
        with storage_errors(self.uri, "deleting"):
            for part in _parts(ids):
                deleted += retry_on_conflict(self._table, lambda part=part: self._delete(part))
        return deleted

    def migrate(self, settings: IndexSettings, convert: Callable[[pa.Table], pa.Table]) -> None:
        """Replaces all rows by what `convert` makes of them, in one commit: a process that is killed leaves the table
        as it was. What another process writes meanwhile is converted too.

        Args:
            settings: of the new rows. convert: a few rows to rows of the columns of `table_schema(settings)` and the
                user's own.
        """
        self.check_writable()
        with storage_errors(self.uri, "migrating"):
            for _ in range(WRITE_ATTEMPTS):
                self._table.checkout_latest()
                before = self._table.version
                schema = convert(self._table.schema.empty_table()).schema
                rows = batches_of(self._table, self._table.schema.names, MIGRATE_ROWS)
                parts = (part for batch in rows for part in convert(pa.Table.from_batches([batch])).to_batches())
                self._table = self.database.create_table(
                    TABLE_NAME,
                    data=pa.RecordBatchReader.from_batches(schema, parts),
                    mode="overwrite",
                    storage_options=_with_stable_row_ids(self.storage_options),
                )
                self.settings = settings
                if self._table.version == before + 1:
                    return
                # Somebody else wrote while the rows were read: back to what they made, and once more.
                self._table.restore(self._table.version - 1)
        raise VideoIndexError(f"the index at {self.uri} is being written all the time: migrate it when it is not")

    def _delete(self, ids: Sequence[str]) -> int:
        where = _is_one_of(ids)
        videos = self._table.count_rows(f"{where} AND {self._one_per_video}" if self._one_per_video else where)
        self._table.delete(where)
        return videos

    def videos(self, columns: Sequence[str], ids: Sequence[str] | None = None) -> pa.Table:
        """The columns, and the `_rowid`, of the first segment of every video, or of those with these ids."""
        if ids is None:
            return self.scan(columns, self._one_per_video)
        where = _is_one_of(ids) if ids else "false"
        return self.scan(columns, f"{where} AND {self._one_per_video}" if self._one_per_video else where)

    def row(self, video_id: str, columns: Sequence[str], *, at: float | None = None) -> dict | None:
        """See `VideoIndex.get`."""
        rows = self.videos(columns, [video_id]).to_pylist()
        if at is None or not rows or self.settings.format == 1:
            return rows[0] if rows else None
        return self.segment_at(video_id, at, columns) or rows[0]

    def segment_at(self, video_id: str, seconds: float, columns: Sequence[str]) -> dict | None:
        """The row of the segment with the frame that is nearest to a moment, of those that the moment lies in."""
        where = f"{_is_one_of([video_id])} AND segment_start <= {seconds + NEAR} AND segment_end >= {seconds - NEAR}"
        rows = self.scan(list(dict.fromkeys([*columns, "frame_times"])), where).to_pylist()
        return min(rows, default=None, key=lambda row: min((abs(t - seconds) for t in row["frame_times"]), default=0))

    @property
    def _one_per_video(self) -> str | None:
        """A filter that keeps one row of each video."""
        return "segment_number = 0" if self.settings.format > 1 else None

    def scan(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """The columns and `_rowid` of every row, or of those that `where` keeps."""
        with self._reading(where):  # in batches of the engine's own size, small columns take five times as long
            return self._query(columns, where).to_batches(SCAN_BATCH).read_all()

    def row_ids(self, where: str) -> np.ndarray:
        """`(N,)` int64 of the rows that `where` keeps."""
        with self._reading(where):  # a constant, since no column but the filter's own need be read
            rows = self._query({"kept": "true"}, where).to_batches(SCAN_BATCH).read_all()
        return rows["_rowid"].to_numpy().astype(np.int64)

    def head(self, columns: Sequence[str], count: int = 100) -> pa.Table:
        """The first rows, to see what is there."""
        with self._reading():
            return self._table.search().select(list(columns)).with_row_id(True).limit(count).to_arrow()

    def scan_batches(self, columns: Sequence[str], size: int, where: str | None = None) -> Iterator[pa.RecordBatch]:
        """As `scan`, a batch of at most `size` rows at a time."""
        with self._reading(where):
            yield from self._query(columns, where).to_batches(size)

    def take(self, row_ids: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Rows by row id, in the order asked, with `_rowid`; rows deleted meanwhile are left out."""
        if not len(row_ids):
            return (
                self._table.schema.empty_table()
                .select(list(columns))
                .append_column("_rowid", pa.array([], pa.uint64()))
            )
        with self._reading():
            query = self._table.take_row_ids([int(i) for i in row_ids]).select([*columns, "_rowid"])
            table = query.to_arrow()
        position = {int(row_id): n for n, row_id in enumerate(row_ids)}
        order = np.argsort([position[r] for r in table["_rowid"].to_pylist()], kind="stable")
        return table.take(pa.array(order))

    def nearest(self, vector: np.ndarray, limit: int, where: str | None) -> pa.Table:
        """`_rowid` of the `limit` rows whose `pooled` fits `vector` best, by the table's vector index."""
        with self._reading(where):
            query = (
                self._table.search(vector, vector_column_name="pooled")
                .distance_type("dot")
                .nprobes(64)
                .refine_factor(2)
            )
            if where is not None:
                query = query.where(as_expression(where), prefilter=True)
            return query.select(["id"]).with_row_id(True).limit(limit).to_arrow()

    def has_vector_index(self) -> bool:
        return any("pooled" in index.columns for index in self._table.list_indices())

    def build_vector_index(self) -> None:
        """Builds (or rebuilds) the approximate index of the pooled vectors."""
        self.check_writable()
        with storage_errors(self.uri, "building the vector index"):
            config = HnswSq(distance_type="dot")
            retry_on_conflict(self._table, lambda: self._table.create_index("pooled", config=config, replace=True))

    def compact(self, *, force: bool = False) -> None:
        """Merges small data files and brings indexes up to date; old versions go once no reader can be on them."""
        self.check_writable()
        if force or self._table.stats()["fragment_stats"]["num_small_fragments"] > SMALL_FRAGMENTS:
            with storage_errors(self.uri, "compacting"):
                retry_on_conflict(self._table, lambda: self._table.optimize(cleanup_older_than=timedelta(hours=1)))

    def maintain(self, vector_index_above: int) -> None:
        """Compacts as far as it pays, and builds the vector index where there are more rows than that and none yet."""
        self.compact()
        if self.num_segments() > vector_index_above and not self.has_vector_index():
            self.build_vector_index()

    def _query(self, columns: Sequence[str] | dict[str, str], where: str | None):
        chosen = columns if isinstance(columns, dict) else list(columns)
        query = self._table.search().select(chosen).with_row_id(True)
        return query if where is None else query.where(as_expression(where))

    def _reading(self, where: str | None = None):
        """The context of a read; where there is a filter, the filter is nearly always what fails."""
        if where is None:
            return storage_errors(self.uri, "reading")
        return storage_errors(self.uri, f"the filter {where!r}", self._what_a_filter_names)

    def _what_a_filter_names(self) -> str:
        mine = self.settings.built_in
        names = [name for name in self.columns if name in FILTERABLE or name not in mine]
        names.sort(key=lambda name: name.startswith("segment_"))  # the familiar ones first
        return f"; a filter may name {', '.join(names)}"

    def check_writable(self) -> None:
        if self.read_only:
            raise VideoIndexError(
                f"the index at {self.uri} was opened read-only: copy it to a folder of your own to change it"
            )

    def _match_columns(self, rows: pa.Table) -> pa.Table:
        """Rows with the table's columns in its order; new metadata columns are added to the table first."""
        new = [f for f in rows.schema if f.name not in self._table.schema.names]
        if new:
            self._table.add_columns(pa.schema(new))
        columns = []
        for field in self._table.schema:
            if field.name not in rows.column_names:
                columns.append(pa.nulls(rows.num_rows, field.type))
            elif rows[field.name].type == field.type:
                columns.append(rows[field.name])
            else:
                found = rows[field.name].type
                raise VideoIndexError(
                    f"metadata {field.name!r} is {field.type} in this index, got {found}: use one type"
                )
        return pa.table(columns, schema=self._table.schema)


def table_names(database) -> list[str]:
    return database.list_tables(limit=10_000).tables


def batches_of(table, columns: Sequence[str], size: int, where: str | None = None) -> Iterator[pa.RecordBatch]:
    """The columns of a LanceDB table's rows, at most `size` rows at a time."""
    query = table.search().select(list(columns))
    yield from (query if where is None else query.where(where)).to_batches(size)


def _renamed(rows: pa.Table, moves: Mapping[str, dict], settings: IndexSettings) -> pa.Table:
    """Rows with the values that `VideoTable.rename` takes."""
    of_each = [moves[old] for old in rows["id"].to_pylist()]
    values = {name: [row[name] for row in of_each] for name in of_each[0]}
    values["revision"] = [secrets.randbits(62) for _ in of_each]
    if settings.format > 1:
        values["segment_key"] = segment_keys(values["id"], rows["segment_number"].to_pylist())
        values["video_hash"] = list(map(video_hash, values["id"]))
    for name, column in values.items():
        rows = with_column(rows, name, column)
    return rows


def _parts(ids: Sequence[str], size: int = DELETE_BATCH) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _is_one_of(ids: Sequence[str]) -> str:
    return f"id IN ({', '.join(map(quote, ids))})"


def _with_stable_row_ids(storage_options: dict | None) -> dict:
    return {**(storage_options or {}), "new_table_enable_stable_row_ids": "true"}


def retry_on_conflict(table, write: Callable[[], Any]) -> Any:
    """Runs a write from the table's latest version, again while other writers commit first."""
    for attempt in range(WRITE_ATTEMPTS):
        table.checkout_latest()
        try:
            return write()
        except (RuntimeError, OSError, ValueError) as error:
            lost_race = any(word in str(error).lower() for word in ("conflict", "retry", "concurrent"))
            if isinstance(error, VideoIndexError) or not lost_race or attempt + 1 == WRITE_ATTEMPTS:
                raise
            time.sleep(random.uniform(0.01, 0.05) * min(2**attempt, 32))


def _location(uri) -> str:
    if not isinstance(uri, (str, os.PathLike)) or not str(uri):
        raise VideoIndexError(f"an index is at a folder or at a URI such as s3://bucket/name, got {uri!r}")
    return str(uri) if _is_remote(str(uri)) else os.path.expanduser(uri)


def _is_remote(uri: str) -> bool:
    return "://" in uri


def _versions(uri: str) -> str:
    return os.path.join(uri, f"{TABLE_NAME}.lance", "_versions")


def _time_of_change(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _connect(uri: str, storage_options: dict | None):
    interval = REMOTE_REFRESH if _is_remote(uri) else timedelta(0)
    return lancedb.connect(uri, storage_options=storage_options, read_consistency_interval=interval)
