"""The LanceDB table under an index: opening, transactional writes, reads by row id."""

import os
import random
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq

from ..errors import VideoIndexError, storage_errors
from .filters import as_expression, quote
from .schema import BUILT_IN, FILTERABLE, TABLE_NAME, IndexSettings, read_settings, table_schema

WRITE_ATTEMPTS = 20
REMOTE_REFRESH = timedelta(seconds=5)  # how stale a reader of object storage may be; a local one never is
DELETE_BATCH = 1000
SMALL_FRAGMENTS = 32  # more of these and a compaction pays


class VideoTable:
    """One table, a row a video. Every read sees the latest version; every write is one commit."""

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

    @staticmethod
    def exists(uri, storage_options: dict | None = None) -> bool:
        """Whether there is a table at `uri`; makes nothing."""
        uri = _location(uri)
        if not _is_remote(uri):  # connecting would create the folder
            versions = os.path.join(uri, f"{TABLE_NAME}.lance", "_versions")
            return os.path.isdir(versions) and bool(os.listdir(versions))  # empty where its creator was killed
        with storage_errors(uri, "connecting"):
            return TABLE_NAME in _connect(uri, storage_options).list_tables(limit=10_000).tables

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
                storage_options={**(storage_options or {}), "new_table_enable_stable_row_ids": "true"},
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
        return self._table.version

    @property
    def columns(self) -> list[str]:
        return self._table.schema.names

    @property
    def nbytes(self) -> int:
        return self._table.stats()["total_bytes"]

    def count(self, where: str | None = None) -> int:
        with self._reading(where):
            return self._table.count_rows(None if where is None else as_expression(where))

    def write(self, rows: pa.Table) -> None:
        """Inserts rows, replacing those whose id is there, in one commit; retries when another writer was first."""
        self.check_writable()

        def merge():
            merge_insert = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge_insert.execute(self._match_columns(rows))

        with storage_errors(self.uri, "writing"):
            retry_on_conflict(self._table, merge)

    def update(self, rows: Sequence[dict]) -> None:
        """Changes some columns of rows, which are found by `id`, in one commit; an id that is not there is ignored."""
        self.check_writable()
        schema = pa.schema([field for field in self._table.schema if field.name in rows[0]])
        table = pa.Table.from_pylist(list(rows), schema=schema)
        with storage_errors(self.uri, "writing"):
            retry_on_conflict(
                self._table, lambda: self._table.merge_insert("id").when_matched_update_all().execute(table)
            )

    def delete(self, ids: Sequence[str]) -> int:
        """Deletes rows by id and returns how many were there."""
        self.check_writable()
        deleted = 0
        with storage_errors(self.uri, "deleting"):
            for start in range(0, len(ids), DELETE_BATCH):
                listed = ", ".join(quote(i) for i in ids[start : start + DELETE_BATCH])
                done = retry_on_conflict(self._table, lambda listed=listed: self._table.delete(f"id IN ({listed})"))
                deleted += done.num_deleted_rows
        return deleted

    def scan(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """The columns and `_rowid` of every row, or of those that `where` keeps."""
        with self._reading(where):
            return self._query(columns, where).to_arrow()

    def head(self, columns: Sequence[str], count: int = 100) -> pa.Table:
        """The first rows, to see what is there."""
        with self._reading():
            return self._table.search().select(list(columns)).limit(count).to_arrow()

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
        if self.count() > vector_index_above and not self.has_vector_index():
            self.build_vector_index()

    def _query(self, columns, where):
        query = self._table.search().select(list(columns)).with_row_id(True)
        return query if where is None else query.where(as_expression(where))

    def _reading(self, where: str | None = None):
        """The context of a read; where there is a filter, the filter is nearly always what fails."""
        if where is None:
            return storage_errors(self.uri, "reading")
        names = [name for name in self.columns if name in FILTERABLE or name not in BUILT_IN]
        return storage_errors(self.uri, f"the filter {where!r}", f"; a filter may name {', '.join(names)}")

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


def retry_on_conflict(table, write):
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


def _connect(uri: str, storage_options: dict | None):
    interval = REMOTE_REFRESH if _is_remote(uri) else timedelta(0)
    return lancedb.connect(uri, storage_options=storage_options, read_consistency_interval=interval)
