"""Where the videos of a corpus are: folders, files, URLs of any store, lists of them, and rows of a dataset."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dmae.modeling.dataset_rows import RowVideo, names_and_sizes
from dmae.modeling.errors import one_line
from dmae.modeling.media_files import DiskNames
from dmae.modeling.remote_videos import (
    RemoteVideo,
    RemoteVideoError,
    is_url,
    list_remote,
    remote_exists,
    short_digest,
)

from ..errors import VideoIndexError
from ..inputs import is_unicode
from ..media import VIDEO_SUFFIXES, Unreached, walk_videos

LIST_SUFFIX = ".txt"
REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
VIDEO_COLUMNS = ("video", "file_name")
LISTINGS = 16  # requests at once for the URLs of a list


@dataclass(frozen=True)
class FoundVideo:
    """A video that a source holds.

    Attributes:
        path: where it is, as the index names it; no other video has it.
        name: what it is called inside its source.
        size: bytes (-1 where its store does not tell). modified: a number that changes when the video does: the
            modification time in ns, or a digest of what its store calls the version.
        content_hash: what tells its bytes from others without reading them; None: they must be read.
        video: what `read_frames` takes.
    """

    path: str
    name: str
    size: int
    modified: int
    content_hash: str | None
    video: Any


@dataclass(frozen=True)
class Unreadable:
    """A video that is not there or cannot be named, and why."""

    path: str
    reason: str


class LocalSource:
    """A folder, or one file."""

    def __init__(self, path: Path):
        self.path = path
        self.is_folder = path.is_dir()

    def __str__(self) -> str:
        return str(self.path)

    def videos(self) -> Iterator[FoundVideo | Unreadable | Unreached]:
        if not self.path.exists():
            yield Unreadable(str(self.path), "no such file")
            return
        root = self.path if self.is_folder else self.path.parent
        for found in walk_videos(self.path) if self.is_folder else [self.path]:
            yield found if isinstance(found, Unreached) else self._found(root, found)

    def _found(self, root: Path, path: Path) -> FoundVideo | Unreadable:
        text = str(path)
        if not is_unicode(text):
            readable = text.encode("utf-8", "backslashreplace").decode()
            return Unreadable(readable, "its name is not UTF-8: rename it to index it")
        try:
            status = path.stat()
        except OSError as error:
            return Unreadable(text, error.strerror or str(error))
        return FoundVideo(text, path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns, None, text)

    def covers(self, path: str) -> bool:
        return self.is_folder and not is_url(path) and Path(path).is_relative_to(self.path)


class RemoteSource:
    """A folder or a file at a URL."""

    def __init__(self, url: str, options: Mapping[str, Any]):
        self.url = url
        self.options = options

    def __str__(self) -> str:
        return self.url

    @property
    def is_folder(self) -> bool:
        return not (len(self._listing) == 1 and self._listing[0].url == self.url.rstrip("/"))

    def videos(self) -> Iterator[FoundVideo]:
        root = self.url.rstrip("/") if self.is_folder else self.url.rsplit("/", 1)[0]
        for file in self._listing:
            name = file.url[len(root) :].lstrip("/") if file.url.startswith(f"{root}/") else file.url
            name = name if self.is_folder else PurePosixPath(urlsplit(file.url).path).name or name
            version = file.version or f"size={file.size}"
            yield FoundVideo(
                path=file.url,
                name=name,
                size=-1 if file.size is None else file.size,
                modified=short_digest(version),
                content_hash=f"{version} size={file.size}",
                video=RemoteVideo(file.url, self.options, file.size),
            )

    def covers(self, path: str) -> bool:
        return self.is_folder and path.startswith(f"{self.url.rstrip('/')}/")

    def check(self) -> None:
        """Raises where there is nothing at the URL."""
        _ = self._listing

    @cached_property
    def _listing(self) -> list:
        return list(list_remote(self.url, self.options, _is_video))


class ListSource:
    """A text file that names a URL or a path on each line; empty lines and those that begin with # say nothing."""

    is_folder = False

    def __init__(self, path: Path, options: Mapping[str, Any]):
        self.path = path
        self.options = options

    def __str__(self) -> str:
        return str(self.path)

    def videos(self) -> Iterator[FoundVideo | Unreadable | Unreached]:
        lines = (line.strip() for line in self.path.read_text(encoding="utf-8").splitlines())
        names = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
        with ThreadPoolExecutor(LISTINGS) as pool:
            for found in pool.map(self._listed, names):
                yield from found

    def _listed(self, name: str) -> list[FoundVideo | Unreadable | Unreached]:
        source = _one(name, self.options, self.path.parent)
        try:
            return list(source.videos())
        except RemoteVideoError as error:
            return [Unreadable(name, error.reason)]

    def covers(self, path: str) -> bool:
        return False


class RowSource:
    """The rows of a `datasets.Dataset` with a video column: bytes inside the rows, or the paths and URLs of files."""

    is_folder = True

    def __init__(self, dataset, name: str, options: Mapping[str, Any]):
        from datasets import Value, Video

        columns = dataset.column_names
        known = [column for column in VIDEO_COLUMNS if column in columns]
        if not known:
            raise VideoIndexError(
                f"{name}: no column {' or '.join(map(repr, VIDEO_COLUMNS))}; it has {', '.join(columns)}"
            )
        self.column = known[0]
        if not isinstance(dataset.features[self.column], Value):
            dataset = dataset.cast_column(self.column, Video(decode=False))
        self.dataset = dataset.select_columns([self.column])
        self.name = name
        self.options = options

    def __str__(self) -> str:
        return self.name

    @property
    def prefix(self) -> str:
        return f"dataset:{self.name}/"

    def videos(self) -> Iterator[FoundVideo | Unreadable | Unreached]:
        for row, (path, size) in enumerate(zip(*names_and_sizes(self.dataset, self.column))):
            if size is not None:
                yield self._embedded(row, path, size)
            elif path:
                yield from self._linked(path)
            else:
                yield Unreadable(f"{self.prefix}{row}", "the row has neither a path nor bytes")

    def _embedded(self, row: int, path: str | None, size: int) -> FoundVideo:
        name = path or f"{row}"
        return FoundVideo(
            path=f"{self.prefix}{name}",
            name=name,
            size=size,
            modified=short_digest(f"{self.dataset._fingerprint} {row}"),
            content_hash=None,
            video=RowVideo(self.dataset, self.column, row, path),
        )

    def _linked(self, path: str) -> Iterator[FoundVideo | Unreadable | Unreached]:
        try:
            yield from _one(path, self.options, Path.cwd()).videos()
        except RemoteVideoError as error:
            yield Unreadable(path, error.reason)

    def covers(self, path: str) -> bool:
        return path.startswith(self.prefix)


Source = LocalSource | RemoteSource | ListSource | RowSource


def find_sources(videos, options: Mapping[str, Any] | None = None) -> list[Source]:
    """The places that a caller names.

    Args:
        videos: a folder, a file, a URL, a text file that lists such, the name of a dataset of the Hub, a
            `datasets.Dataset`; or an iterable of these.
        options: of the stores that URLs lead to, as fsspec takes them.

    Raises:
        VideoIndexError: the only one is not there, or is nothing of the kind.
    """
    options = dict(options or {})
    several = isinstance(videos, Iterable) and not isinstance(videos, (str, os.PathLike)) and not _is_dataset(videos)
    given: list[Any] = list(videos) if several else [videos]
    sources: list[Source] = []
    for one in given:
        if _is_dataset(one):
            sources += _rows(one, None, options)
        elif not isinstance(one, (str, os.PathLike)):
            raise VideoIndexError(
                f"give a folder, a video file, a URL, a dataset or a list of them, got {videos!r:.80}"
            )
        elif _names_a_dataset(one):
            sources += _hub_dataset(str(one), options)
        else:
            sources.append(_one(one, options, Path.cwd()))
    if len(given) == 1 and len(sources) == 1:
        _check(sources[0])
    return sources


def still_there(path: str, options: Mapping[str, Any] | None = None) -> bool:
    """Whether a path of the index still leads to something; yes where nobody can say."""
    if is_url(path):
        return remote_exists(path, options or {})
    return path.startswith("dataset:") or not is_gone(path)


def is_gone(path: str) -> bool:
    """Whether a path of this machine leads nowhere: not where it is out of reach, nor where a link's target is."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return not os.path.islink(path)
    except (OSError, ValueError):
        return False
    return False


def _one(name: str | os.PathLike, options: Mapping[str, Any], folder: Path) -> Source:
    """A path (relative to a folder) or a URL."""
    if is_url(name):
        if not str(name).startswith("file://"):
            return RemoteSource(str(name), options)
        name = url2pathname(urlsplit(str(name)).path)
    path = DiskNames(Path("/")).path(os.path.abspath(folder / os.path.expanduser(name)))
    if path.suffix.lower() == LIST_SUFFIX and path.is_file():
        return ListSource(path, options)
    return LocalSource(path)


def _check(source: Source) -> None:
    if isinstance(source, LocalSource) and not source.path.exists():
        raise VideoIndexError(f"no file or folder {source}: give the videos to index")
    if isinstance(source, RemoteSource):
        try:
            source.check()
        except RemoteVideoError as error:
            raise VideoIndexError(str(error)) from error


def _names_a_dataset(name: str | os.PathLike) -> bool:
    """Whether a name is no path of this machine but could be a dataset's, `owner/name`."""
    if is_url(name) or os.path.exists(os.path.expanduser(name)) or not REPO_ID.fullmatch(str(name)):
        return False
    return os.path.splitext(name)[1].lower() not in VIDEO_SUFFIXES


def _is_dataset(value) -> bool:
    return type(value).__module__.partition(".")[0] == "datasets"


def _hub_dataset(name: str, options: Mapping[str, Any]) -> list[Source]:
    """A dataset repository: its video files, read in ranges where they are, or, where it has none, its rows."""
    from datasets import load_dataset

    url = f"hf://datasets/{name}"
    try:
        files = RemoteSource(url, options)
        if any(True for _ in files.videos()):
            return [files]
        return _rows(load_dataset(name), name, options)
    except (RemoteVideoError, OSError) as error:
        said = error.reason if isinstance(error, RemoteVideoError) else one_line(error)
        raise VideoIndexError(
            f"no file or folder {os.path.abspath(name)}, nor a dataset {name} of the Hub: {said[:300]}"
        ) from error
    except Exception as error:  # what the builders of `datasets` raise is as many as they are
        raise VideoIndexError(f"the dataset {name} cannot be loaded: {' '.join(str(error).split())[:300]}") from error


def _rows(dataset, name: str | None, options: Mapping[str, Any]) -> list[Source]:
    """The splits of a dataset as sources."""
    from datasets import Dataset, DatasetDict

    if isinstance(dataset, DatasetDict):
        return [source for split in dataset.values() for source in _rows(split, name, options)]
    if not isinstance(dataset, Dataset):
        raise VideoIndexError(
            f"{type(dataset).__name__} is a stream, which cannot be brought up to date: load it whole"
        )
    known = name or dataset.info.dataset_name or dataset._fingerprint  # no two without a name may be taken for one
    return [RowSource(dataset, "/".join(filter(None, (known, str(dataset.split or "")))), options)]


def _is_video(path: str) -> bool:
    parts = path.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and os.path.splitext(parts[-1])[1].lower() in VIDEO_SUFFIXES
