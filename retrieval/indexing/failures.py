"""Files whose content cannot be read, remembered so that the next run reports them without trying again."""

from typing import Any

import pyarrow as pa

from ..errors import storage_errors
from ..storage.schema import PRIMARY_KEY
from ..storage.table import VideoTable, retry_on_conflict
from .corpus import CorpusFile

TABLE_NAME = "failures"
_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False, metadata=PRIMARY_KEY),
        pa.field("file_size", pa.int64()),
        pa.field("modified", pa.int64()),
        pa.field("error", pa.string()),
    ]
)

# How the reasons ended of what was no verdict about the file: once these were remembered too.
_PASSING = ("was killed", "no such file", "(Permission denied)", "(Input/output error)", "(Cannot allocate memory)")


class FailureLog:
    """The table of files whose content cannot be read, beside an index's own. What may pass (a right that is missing,
    a disk that fails, a process that is killed) is not for it.
    """

    def __init__(self, table: VideoTable):
        self._uri = table.uri
        with storage_errors(self._uri, "opening the failure log"):
            self._table = table.database.create_table(TABLE_NAME, schema=_SCHEMA, exist_ok=True)
            rows: list[dict[str, Any]] = self._table.search().to_arrow().to_pylist()
        self._known = {row["path"]: row for row in rows}

    def error_of(self, file: CorpusFile) -> str | None:
        """Why this very file failed before; None where it did not, or was changed since."""
        row = self._known.get(file.path)
        if row is None or row["error"].endswith(_PASSING):
            return None
        return row["error"] if (row["file_size"], row["modified"]) == (file.size, file.modified) else None

    def record(self, failed: list[tuple[CorpusFile, str]]) -> None:
        if failed:
            rows = [{"path": f.path, "file_size": f.size, "modified": f.modified, "error": e} for f, e in failed]
            merge = self._table.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
            with storage_errors(self._uri, "recording failed files"):
                retry_on_conflict(self._table, lambda: merge.execute(pa.Table.from_pylist(rows, schema=_SCHEMA)))
