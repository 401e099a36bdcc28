"""Keeps an index up to date with folders: what comes, changes, moves or goes there is followed until told to stop."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from dmae.modeling import MissingPackageError

from .errors import VideoIndexError
from .indexing.whole_files import WholeFiles
from .media import VIDEO_SUFFIXES, find_videos

TICK = 1.0  # seconds between two looks at files that are not whole yet, and at whether the folders are there
LONG = 10.0  # seconds of waiting for a file after which it is said that it is waited for
LOOK_AGAIN = (
    300.0  # seconds after which the folders are gone through though nothing was heard, as from a network drive
)


@dataclass
class Followed:
    """What one round of following did.

    Attributes:
        indexed: paths that were encoded, new or again. removed: ids whose file is gone.
        moved: old and new ids of files that were known under another name.
        failed: `(path, reason)` of files that could not be read. warnings: `(path, line)` of files that were, though
            not all is as it should be. videos: how many the index holds now.
        note: something else worth saying, such as that a folder is not there.
    """

    indexed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    videos: int = 0
    note: str = ""

    def __str__(self) -> str:
        """One line, with names where they are few."""
        parts = [f"{what} {_listed(names)}" for what, names in self._by_name() if names]
        return ", ".join(parts) + f": {self.videos} videos" if parts else self.note

    def _by_name(self):
        return (
            ("indexed", [os.path.basename(path) for path in self.indexed]),
            ("moved", [f"{old} to {new}" for old, new in self.moved]),
            ("removed", self.removed),
            ("failed", [f"{os.path.basename(path)} ({reason})" for path, reason in self.failed]),
            ("warned of", [f"{os.path.basename(path)} ({line})" for path, line in self.warnings]),
        )


class FolderWatch:
    """Follows folders into an index.

    Only whole files are indexed, see `WholeFiles`. Videos whose file is gone are removed; while a folder itself is
    gone, as when a drive is unplugged, nothing of it is.

    Args:
        index: a writable `VideoIndex` with its model.
        folders: local folders.
        tell: called with each `Followed` that has something to say.
        settle: seconds without a change after which a file may be whole.
        options: of `AddOptions`, for each round.
    """

    def __init__(
        self, index, folders: Sequence[Path], tell: Callable[[Followed], None], *, settle: float = 2.0, **options
    ):
        check_watching(folders, settle)
        self._index = index
        self._folders = list(folders)
        self._tell = tell
        self._options = options
        self._whole = WholeFiles(settle)
        self._devices = {folder: folder.stat().st_dev for folder in folders}
        self._waiting: dict[str, float] = {}  # files that are not whole, and since when
        self._failed: set[tuple[str, str]] = set()
        self._held: set[Path] = set()  # folders that held videos at some time
        self._notes: dict[str, str] = {}

    def run(self, stop: threading.Event | None = None) -> None:
        """Brings the index up to date and follows the folders until `stop` is set, or until interrupted."""
        from watchfiles import watch

        stop = stop or threading.Event()
        while not stop.is_set():
            there = self._there()
            for folder in self._folders:
                self._say_once(folder, "" if folder in there else f"{folder} is not there: waiting for it")
            if there:
                ticks = watch(
                    *there,
                    watch_filter=self._concerns,
                    stop_event=stop,
                    rust_timeout=int(1000 * TICK),
                    yield_on_timeout=True,
                    ignore_permission_denied=True,
                )
                with suppress(FileNotFoundError), closing(ticks):  # a folder may go just now
                    self._follow(ticks, there)
            else:
                stop.wait(TICK)

    def _follow(self, ticks, there: dict) -> None:
        """Catches up whenever something was heard, until other folders are there than those that are listened to."""
        behind, looked = True, 0.0
        for changes in ticks:
            if self._there() != there:
                return
            behind = behind or any(path not in self._waiting for _, path in changes)
            behind = behind or any(map(self._whole, self._waiting)) or time.monotonic() - looked > LOOK_AGAIN
            if behind:
                behind, looked = not self._catch_up(list(there)), time.monotonic()
            for path, since in self._waiting.items():
                if time.monotonic() - since > LONG:
                    self._say_once(path, f"{path} is not whole yet: waiting for the rest")

    def _there(self) -> dict[Path, tuple[int, int]]:
        """The folders that are there, each with what tells it from another of its name."""
        there = {}
        for folder in self._folders:
            try:
                status = folder.stat()
                # An empty folder on another device is the place where a drive was mounted.
                if status.st_dev == self._devices[folder] or any(os.scandir(folder)):
                    there[folder] = status.st_dev, status.st_ino
            except OSError:
                continue
        return there

    def _concerns(self, change, path: str) -> bool:
        """Whether a change may be one of videos: of a file named like one, or of a folder, which may hold some."""
        uri = str(self._index.uri)
        if path == uri or path.startswith(uri + os.sep):
            return False
        name = os.path.basename(path)
        known = os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
        return known or os.path.isdir(path) or change.name == "deleted"

    def _catch_up(self, folders: list[Path]) -> bool:
        """One round; whether it went to its end."""
        if not len(self._index) and not any(next(find_videos(folder), None) for folder in folders):
            return True  # nothing to do, which `add` takes for a mistake
        passed, waiting = [], []

        def is_whole(path: str) -> bool:
            whole = self._whole(path)
            (passed if whole else waiting).append(path)
            return whole

        # A folder that never held a video here may be a drive that was not mounted when this began.
        self._held |= {folder for folder in folders if any(find_videos(folder))}
        prune_empty = self._held.issuperset(folders)
        options = {**self._options, "prune": True, "prune_empty": prune_empty, "is_whole": is_whole}
        try:
            report = self._index.add(folders if len(folders) > 1 else folders[0], **options)
        except (VideoIndexError, OSError) as error:  # such as a disk that is full, or a folder that goes just now
            self._say_once("catching up", f"{error}: trying again")
            return False
        self._say_once("catching up", "")
        self._options.pop("retry_failed", None)  # once is enough
        self._whole.forget_all_but(waiting)
        self._waiting = {path: self._waiting.get(path, time.monotonic()) for path in waiting}
        bad = {path for path, _ in report.failed}
        round_ = Followed(
            indexed=[path for path in passed if path not in bad],
            removed=report.vanished,
            moved=report.moved,
            warnings=report.warnings,
            failed=[failure for failure in report.failed if failure not in self._failed],
            videos=len(self._index),
        )
        self._failed = set(report.failed)
        if round_.indexed or round_.removed or round_.moved or round_.failed:
            self._tell(round_)
        return True

    def _say_once(self, about, note: str) -> None:
        """Says a note once for as long as it holds; an empty one ends it."""
        if note != self._notes.get(about, ""):
            self._notes[about] = note
            if note:
                self._tell(Followed(note=note, videos=len(self._index)))


def check_watching(folders: Sequence[Path], settle: float = 0.0) -> None:
    """Raises `VideoIndexError` or `MissingPackageError` where these folders cannot be followed."""
    if find_spec("watchfiles") is None:
        raise MissingPackageError("to follow a folder, install watchfiles: pip install 'dmae-video-search[watch]'")
    if not settle >= 0:
        raise VideoIndexError(f"settle must be at least 0 seconds, got {settle}")
    for folder in folders:
        if not folder.is_dir():
            raise VideoIndexError(f"{folder} is not a folder of this machine: only such can be followed")


def _listed(names: list[str], most: int = 5) -> str:
    return ", ".join(names) if len(names) <= most else f"{len(names)} videos"
