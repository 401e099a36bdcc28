"""Where the videos of a table are, whose names alone it holds: in a folder, or at a URL."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from dmae.modeling.media_files import DiskNames, normal
from dmae.modeling.remote_videos import Listed, RemoteVideo, RemoteVideoError, is_url, list_remote
from dmae.modeling.video_source import source_name

from .samples import CorpusError

UNLISTED = ("http://", "https://")  # a web server need not tell what it has


class LocalVideos:
    """A folder of this machine, and of folders in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._disk = DiskNames(folder)

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def is_there(self) -> bool:
        return self.folder.is_dir()

    def at(self, name: PurePath | str) -> str:
        """The video of a name that a table has."""
        return str(self._disk.path(name))

    def lacks(self, video: Any) -> bool:
        """Whether a video of a sample is known not to be there."""
        return isinstance(video, str) and not Path(video).is_file()

    def files(self) -> Iterator[tuple[str, str]]:
        """The name without folders, and the path, of each file."""
        for folder, _, names in sorted(os.walk(self.folder)):
            for name in sorted(names):
                yield name, os.path.join(folder, name)


class RemoteVideos:
    """A place at a URL of a store, listed once; or of a web server, where names stand for themselves.

    Raises:
        CorpusError: (when first asked) it cannot be listed.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        return self.url

    @property
    def is_there(self) -> bool:
        return self._listing is not None

    def at(self, name: PurePath | str) -> RemoteVideo:
        """The video of a name that a table has."""
        if self._listing is None:
            return RemoteVideo(f"{self.url}/{quote(str(name))}")
        known = self._listing.get(normal(str(name)))
        return RemoteVideo(f"{self.url}/{name}") if known is None else RemoteVideo(known.url, size=known.size)

    def lacks(self, video: Any) -> bool:
        """Whether a video of a sample is known not to be there."""
        if self._listing is None or not isinstance(video, RemoteVideo):
            return False
        return video.url.startswith(f"{self.url}/") and video.url not in self._urls

    def files(self) -> Iterator[tuple[str, RemoteVideo]]:
        """The name without folders, and the video, of each file."""
        for name, file in (self._listing or {}).items():
            yield name.rsplit("/", 1)[-1], RemoteVideo(file.url, size=file.size)

    @cached_property
    def _urls(self) -> frozenset[str]:
        return frozenset(file.url for file in (self._listing or {}).values())

    @cached_property
    def _listing(self) -> dict[str, Listed] | None:
        """What the store says of each file, by its name below the URL; None where nobody says what is there."""
        if self.url.lower().startswith(UNLISTED):
            return None
        names: list[str] = []

        def note(name: str) -> bool:
            names.append(normal(name))
            return True

        try:
            found = list(list_remote(self.url, {}, note))
        except RemoteVideoError as error:
            raise CorpusError(str(error)) from error
        if not names:
            raise CorpusError(f"{self.url} is no folder of videos: give the place that holds them")
        return dict(zip(names, found))


VideoPlace = LocalVideos | RemoteVideos


def video_place(place: str | Path) -> VideoPlace:
    """What a caller names: a folder, or a URL (`s3://…`, `gs://…`, `hf://…`, `https://…`)."""
    return RemoteVideos(str(place)) if is_url(place) else LocalVideos(Path(place).expanduser())


def file_name(video: Any) -> str:
    """A video's name without folders, for messages."""
    return PurePath(source_name(video)).name
