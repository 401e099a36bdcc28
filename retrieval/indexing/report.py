"""What a caller of `VideoIndex.add` may ask for, and what it is told."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import VideoIndexError


@dataclass
class AddReport:
    """What `VideoIndex.add` did.

    Attributes:
        added, updated, unchanged: numbers of videos new in the index, encoded again, and left as they were.
        moved: `(old id, new id)` of those of the unchanged that were known by their bytes under another name.
        failed: `(path, reason)` of every file that could not be read and every folder that could not be looked into.
        warnings: `(path, line)`: what was not as it should be with a file that was encoded all the same.
        not_retried: how many of the failed were not tried, since their content was bad before (`retry_failed=True`).
        vanished: ids in the index whose file is gone. removed: how many of them were removed (`prune=True`).
        unseen: ids whose file was not found for another reason: its folder could not be looked into, or a place holds
            no video at all, as one whose disk is not mounted (`prune_empty=True` takes these for vanished).
        seconds: wall time.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    not_retried: int = 0
    vanished: list[str] = field(default_factory=list)
    removed: int = 0
    unseen: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class AddOptions:
    """How `add_videos` goes about it.

    Attributes:
        prune: remove videos whose file has vanished from the scanned folders.
        prune_empty: also where a scanned folder holds no video at all any more.
        retry_failed: try again files that failed before and have not changed since.
        batch_size: videos in one call of the model.
        commit_every, commit_seconds: videos, and seconds, after which what is encoded is committed.
        workers: decoding processes.
        source_options: of the stores that URLs lead to, as fsspec takes them, such as `{"key": …, "secret": …}`.
        rank, world_size: this process's share of the corpus (by default what the launcher set, else all of it).
        is_whole: asked for the path of each file to be encoded; one that is not whole yet is left for a later run.
        tell: called now and then while a long video is encoded, with its path and the share (0 to 1) that is done.
        progress: show a progress bar (by default where standard error is a terminal).
    """

    prune: bool = False
    prune_empty: bool = False
    retry_failed: bool = False
    batch_size: int = 8
    commit_every: int = 256
    commit_seconds: float = 20.0
    workers: int = 2
    source_options: dict | None = None
    rank: int = field(default_factory=lambda: int(os.environ.get("RANK", 0)))
    world_size: int = field(default_factory=lambda: int(os.environ.get("WORLD_SIZE", 1)))
    is_whole: Callable[[str], bool] | None = None
    tell: Callable[[str, float], None] | None = None
    progress: bool = field(default_factory=lambda: sys.stderr.isatty())  # of now: it may be another than at import

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("commit_every", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise VideoIndexError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.rank < self.world_size:
            raise VideoIndexError(f"rank must be from 0 to {self.world_size - 1}, got {self.rank}")
