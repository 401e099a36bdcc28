"""Files that count as videos or images."""

import os
from collections.abc import Iterator
from pathlib import Path

from dmae.modeling.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def names_media(text: str) -> bool:
    """Whether a string is the path of an image or video rather than a text to search for: it ends like one, and is one
    word or there. So a misspelt path is told instead of being searched for as words.
    """
    ends_so = Path(text).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return ends_so and (len(text.split()) == 1 or os.path.isfile(os.path.expanduser(text)))


def find_videos(folder: Path) -> Iterator[Path]:
    """Video files under a folder in a stable order; hidden files and folders are left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                yield Path(parent, name)
