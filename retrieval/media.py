"""Files that count as videos or images."""

import os
from collections.abc import Iterator
from pathlib import Path

from dmae.modeling.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_no_video


def names_media(text: str) -> bool:
    """Whether a string is the path of an image or video rather than a text to search for: it is a file that is there,
    or one word that ends like one. So a misspelt path is told instead of being searched for as words.
    """
    if os.path.isfile(os.path.expanduser(text)):
        return True
    return len(text.split()) == 1 and Path(text).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def find_videos(folder: Path) -> Iterator[Path]:
    """Video files under a folder in a stable order; hidden files and folders are left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in VIDEO_SUFFIXES:
                continue
            path = Path(parent, name)
            if not is_no_video(path):
                yield path
