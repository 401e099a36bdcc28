"""What is encoded of a video that takes long, kept beside the index until the video is whole."""

import hashlib
from collections.abc import Callable, Iterator

import pyarrow as pa

from ..errors import storage_errors
from .schema import table_schema
from .table import VideoTable, batches_of, table_names

PREFIX = "journal_"
READ_ROWS = 64
_STATE_KEY = b"dmae.journal"


class Journal:
    """The first segments of one video, in a table of their own, which searches do not see.

    A process that was killed leaves it; the next one that encodes the same file goes on after its last segment.

    Args:
        table: of the index.
        video_id: of the video.
        state: what the file and the settings are; a journal of another state is begun anew.

    Attributes:
        segments: how many are there. covered: the second at which the last one ends, None where there is none.
    """

    def __init__(self, table: VideoTable, video_id: str, state: str):
        self._target = table
        self._id = video_id
        self._name = journal_name(video_id)
        with storage_errors(table.uri, "opening a journal"):
            known = self._open(state)
            ends = self._ends(known) if known is not None else None
            if known is None or ends is None:
                schema = table_schema(table.settings).with_metadata({_STATE_KEY: state.encode()})
                # Asked to overwrite what is not there, the engine warns of it.
                mode = "overwrite" if self._name in table_names(table.database) else "create"
                known, ends = table.database.create_table(self._name, schema=schema, mode=mode), []
            self._table = known
        self.segments = len(ends)
        self.covered: float | None = max(ends, default=None)

    def _open(self, state: str):
        """The journal that is there, if it is of this state and its creator was not killed before it was one."""
        if self._name not in table_names(self._target.database):
            return None
        try:
            table = self._target.database.open_table(self._name)
        except (ValueError, RuntimeError, OSError):
            return None
        return table if (table.schema.metadata or {}).get(_STATE_KEY) == state.encode() else None

    @staticmethod
    def _ends(table) -> list[float] | None:
        """Where the segments end, in seconds; None where a process was killed while it removed them."""
        try:
            return table.search().select(["segment_end"]).to_arrow()["segment_end"].to_pylist()
        except (ValueError, RuntimeError, OSError):
            return None

    def append(self, rows: pa.Table) -> None:
        """Adds the next segments, in one commit."""
        with storage_errors(self._target.uri, "writing a journal"):
            self._table.add(rows.cast(self._table.schema))
        self.segments += rows.num_rows
        self.covered = rows["segment_end"][-1].as_py()

    def move(self, finish: Callable[[pa.Table], pa.Table]) -> None:
        """Puts all of the segments into the index, in one commit, and ends the journal.

        Args:
            finish: fills in what is known of the video only now; called with a few rows at a time.
        """

        def batches() -> Iterator[pa.Table]:
            for batch in batches_of(self._table, self._table.schema.names, READ_ROWS):
                yield finish(pa.Table.from_batches([batch]))

        self._target.write_batches([self._id], batches)
        drop_journals(self._target, [self._id])


def journal_name(video_id: str) -> str:
    return PREFIX + hashlib.blake2b(video_id.encode(), digest_size=16).hexdigest()


def drop_journals(table: VideoTable, ids: list[str]) -> None:
    """Forgets what was encoded of videos that are whole, or gone."""
    with storage_errors(table.uri, "removing a journal"):
        for name in {journal_name(i) for i in ids} & set(table_names(table.database)):
            table.database.drop_table(name, ignore_missing=True)
