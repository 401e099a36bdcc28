"""What is encoded of a video that takes long, kept beside the index until the video is whole."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import pyarrow as pa

from ..errors import VideoIndexError, storage_errors
from .schema import table_schema
from .table import VideoTable, batches_of, table_names

PREFIX = "journal_"
READ_ROWS = 64
_STATE_KEY = b"dmae.journal"


class JournalTakenError(VideoIndexError):
    """Another process writes the same journal: it encodes the same video."""


class Journal:
    """The first segments of one video, in a table of their own, which searches do not see.

    A process that was killed leaves it; the next one that encodes the same file goes on after its last segment. Of two
    processes that encode it at the same time, the one that finds the other's segments gives up.

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
        self.covered: float | None = ends[-1] if ends else None

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
            rows = table.search().select(["segment_number", "segment_end"]).to_arrow().to_pylist()
            rows.sort(key=lambda row: row["segment_number"])
            numbers = Counter(row["segment_number"] for row in rows)
            whole = next((number for number in count() if numbers[number] != 1), 0)
            if whole < len(rows):  # two processes wrote at once: what only one of them wrote is sound
                table.delete(f"segment_number >= {whole}")
        except (ValueError, RuntimeError, OSError):
            return None
        return [row["segment_end"] for row in rows[:whole]]

    def append(self, rows: pa.Table) -> None:
        """Adds the next segments, in one commit.

        Raises:
            JournalTakenError: another process has added some. These here are then not, or not alone, in the journal.
        """
        self._check_ours()
        with storage_errors(self._target.uri, "writing a journal"):
            self._table.add(rows.cast(self._table.schema))
        self.segments += rows.num_rows
        self.covered = rows["segment_end"][-1].as_py()
        self._check_ours()

    def _check_ours(self) -> None:
        try:
            there = self._table.count_rows()
        except (ValueError, RuntimeError, OSError):
            there = -1  # the other one has finished and removed it
        if there != self.segments:
            raise JournalTakenError(f"another process encodes {self._id!r} into the index at {self._target.uri}")

    def move(self, finish: Callable[[pa.Table], pa.Table]) -> None:
        """Puts all of the segments into the index, in one commit, and ends the journal.

        Args:
            finish: fills in what is known of the video only now; called with a few rows at a time.

        Raises:
            JournalTakenError: another process has added some.
        """
        self._check_ours()

        def batches() -> Iterator[pa.Table]:
            for batch in batches_of(self._table, self._table.schema.names, READ_ROWS):
                yield finish(pa.Table.from_batches([batch]))

        self._target.insert(self._id, batches)
        drop_journals(self._target, [self._id])


def journal_name(video_id: str) -> str:
    return PREFIX + hashlib.blake2b(video_id.encode(), digest_size=16).hexdigest()


def drop_journals(table: VideoTable, ids: list[str]) -> None:
    """Forgets what was encoded of videos that are whole, or gone."""
    with storage_errors(table.uri, "removing a journal"):
        for name in {journal_name(i) for i in ids} & set(table_names(table.database)):
            table.database.drop_table(name, ignore_missing=True)


def journals(table: VideoTable) -> Iterator[tuple[str, str]]:
    """The video and the state of every journal that has a segment."""
    with storage_errors(table.uri, "looking for journals"):
        for name in table_names(table.database):
            if name.startswith(PREFIX):
                try:
                    journal = table.database.open_table(name)
                    first = journal.search().select(["id"]).limit(1).to_arrow()["id"].to_pylist()
                except (ValueError, RuntimeError, OSError):
                    continue  # its process was killed while it made or removed it
                for video_id in first:
                    yield video_id, (journal.schema.metadata or {}).get(_STATE_KEY, b"").decode()
