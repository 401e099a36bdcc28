"""What an index keeps of a file beside its embeddings, and of one whose content cannot be read, so that the next run
reports it without trying again."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ..errors import storage_errors
from ..storage.schema import PRIMARY_KEY
from ..storage.table import VideoTable, retry_on_conflict
from .corpus import CorpusFile

THUMBNAIL_SIZE = (320, 320)
FAILURES = "failures"
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


def state_of(file: CorpusFile) -> dict:
    """What tells the file from others, as columns. Where it changed while being read they are empty, and the next run
    encodes it again.
    """
    try:
        content_hash = file.digest()
        same = file.is_unchanged()
    except OSError:  # gone since it was decoded
        same = False
    if not same:
        return {"content_hash": None, "file_size": None, "modified": None}
    return {"content_hash": content_hash, "file_size": file.size, "modified": file.modified}


def make_thumbnail(frame: np.ndarray) -> bytes:
    """A small JPEG of a uint8 `(H, W, 3)` picture."""
    image = Image.fromarray(np.asarray(frame))
    image.thumbnail(THUMBNAIL_SIZE)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


class FailureLog:
    """The table of files whose content cannot be read, beside an index's own. What may pass (a right that is missing,
    a disk that fails, a process that is killed) is not for it.
    """

    def __init__(self, table: VideoTable):
        self._uri = table.uri
        with storage_errors(self._uri, "opening the failure log"):
            self._table = table.database.create_table(FAILURES, schema=_SCHEMA, exist_ok=True)
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
