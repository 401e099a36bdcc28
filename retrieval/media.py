"""Files that count as videos or images, and where they are found."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dmae.modeling.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_no_video

from .errors import VideoIndexError


def names_media(text: str) -> bool:
    """Whether a string is the path of an image or video rather than a text to search for: it is a file that is there,
    or one word that ends like one. So a misspelt path is told instead of being searched for as words.
    """
    if os.path.isfile(os.path.expanduser(text)):
        return True
    return len(text.split()) == 1 and Path(text).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def check_example(text: str) -> None:
    """Raises where a string does not name an image or a video (that it is there is for its reading to tell)."""
    if names_media(text):
        return
    if os.path.isdir(os.path.expanduser(text)):
        raise VideoIndexError(f"like takes an image or a video, and {text!r} is a folder: name one file in it")
    raise VideoIndexError(
        f"like takes the path of an image or a video, and {text!r} is none: a text belongs to also "
        "(on the command line --and)"
    )


# What systems keep for themselves at the top of a disk.
NOT_OURS = frozenset(("lost+found", "System Volume Information", "$RECYCLE.BIN"))


@dataclass(frozen=True)
class Unreached:
    """A folder whose videos could not be looked for, and why (None: it is empty). `dangling`: a link that leads
    nowhere, to a folder or to a file.
    """

    path: str
    reason: str | None
    dangling: bool = False

    def hides(self, path: str) -> bool:
        """Whether a file of this path may be there without having been found."""
        return path == self.path or path.startswith(f"{self.path.rstrip('/')}/")


def find_videos(folder: Path) -> Iterator[Path]:
    """Video files under a folder in a stable order; hidden files and folders are left out."""
    return (found for found in walk_videos(folder) if isinstance(found, Path))


def walk_videos(folder: Path) -> Iterator[Path | Unreached]:
    """As `find_videos`, and what could not be looked into.

    Links to folders are followed after all else, and no folder is gone through twice, nor one that holds this one.
    """
    visited = {_identity(parent) for parent in Path(os.path.realpath(folder)).parents}
    waiting, links = [folder], []
    while waiting or links:
        place = waiting.pop() if waiting else links.pop(0)
        try:
            identity = _identity(place)
            if identity in visited:
                continue
            visited.add(identity)
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            yield Unreached(str(place), error.strerror or str(error))
            continue
        folders = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in NOT_OURS:
                continue
            path = place / entry.name
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                    continue
                dangling = entry.is_symlink() and not entry.is_file() and not os.path.exists(path)
            except OSError as error:
                yield Unreached(str(path), error.strerror or str(error))
                continue
            is_video = os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES
            if dangling:
                yield Unreached(str(path), f"a link to {os.readlink(path)}, which is not there", not is_video)
            elif is_video and not is_no_video(path):
                yield path
        waiting += reversed(folders)


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
