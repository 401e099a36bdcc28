"""Videos at a URL.

They are small, can be sent to another process, and are opened where they are read: `read_frames` takes them as it
takes a path. They are read in ranges, so that twelve frames of an hour cost a few megabytes.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .errors import DmaeError, one_line

URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
WHOLE = 4 << 20  # bytes up to which a file comes in one request
BLOCK = 1 << 20  # bytes of a request for a part of a larger one
BLOCKS_KEPT = 32

# What tells two versions of a file apart, by the names that the stores give it; the first is the best.
_VERSION_KEYS = ("ETag", "etag", "md5Hash", "xet_hash", "blob_id", "LastModified", "last_modified", "updated", "mtime")

_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "run `hf auth login`",
}
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class RemoteVideoError(DmaeError, OSError):
    """A URL that cannot be listed or read.

    Args:
        source: the URL.
        reason: why, and the remedy, in one line without the URL.
    """

    def __init__(self, source: str, reason: str):
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True)
class RemoteVideo:
    """A video at a URL of any store that fsspec knows.

    Attributes:
        url: `s3://bucket/name`, `gs://…`, `hf://datasets/owner/name/…`, `https://…`.
        options: what fsspec's file system is made with, such as `{"key": …, "secret": …}`.
        size: bytes, where known.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # which may hold a password
    size: int | None = None

    @property
    def name(self) -> str:
        return self.url

    def listed(self) -> "Listed":
        """What its store says of it now.

        Raises:
            RemoteVideoError: it is not there, or may not be listed.
        """
        return next(list_remote(self.url, self.options, lambda path: False), Listed(self.url, self.size, None))

    def open(self) -> BinaryIO:
        """The file, to read anywhere in it.

        Raises:
            RemoteVideoError: it is not there, or may not be read.
        """
        with remote_errors(self.url):
            store, path = _store(self.url, self.options)
            size = store.info(path).get("size") if self.size is None else self.size
            if size is None or size <= WHOLE:
                return io.BytesIO(store.cat_file(path))
            return store.open(
                path, "rb", block_size=BLOCK, cache_type="blockcache", cache_options={"maxblocks": BLOCKS_KEPT}
            )


@dataclass(frozen=True)
class Listed:
    """A file that a store lists: its URL, its size in bytes (None where unknown), and a text that another version of
    it would not have (None where the store tells nothing)."""

    url: str
    size: int | None
    version: str | None


def is_url(source: Any) -> bool:
    return isinstance(source, str) and URL.match(source) is not None


def list_remote(url: str, options: Mapping[str, Any], wanted: Callable[[str], bool]) -> Iterator[Listed]:
    """The file at a URL, or what is wanted of the files below it, in the order of their names.

    Args:
        wanted: asked for each file of a folder with its path inside the folder.

    Raises:
        RemoteVideoError: there is nothing, or it may not be listed.
    """
    with remote_errors(url):
        store, path = _store(url, options)
        store.invalidate_cache()
        info = store.info(path)
        if info["type"] != "directory":
            yield _listed(store, info)
            return
        root = info["name"].rstrip("/")
        files = store.find(path, detail=True)
    for name in sorted(files):
        if wanted(name[len(root) :].lstrip("/")):
            yield _listed(store, files[name])


def remote_exists(url: str, options: Mapping[str, Any]) -> bool:
    """Whether there is a file at a URL. Where the store does not say, yes."""
    try:
        with remote_errors(url):
            store, path = _store(url, options)
            return store.exists(path)
    except RemoteVideoError:
        return True


@contextmanager
def remote_errors(url: str):
    """Whatever a store raises (each has errors of its own) as one line that says what to do."""
    try:
        yield
    except RemoteVideoError:
        raise
    except Exception as error:
        raise RemoteVideoError(url, _reason(url, error)) from error


def _reason(url: str, error: Exception) -> str:
    kind, said = url.partition("://")[0].lower(), one_line(error, 300)
    if isinstance(error, ImportError):
        return f"reading {kind}:// needs the package {_PACKAGES.get(kind, 'of that store')}: pip install it ({said})"
    if isinstance(error, ValueError) and "Protocol not known" in said:
        return f"{kind}:// is no store that fsspec knows"
    if isinstance(error, PermissionError) or "credential" in f"{type(error).__name__} {said}".lower():
        remedy = _CREDENTIALS.get(kind, "give them as options of the source")
        return f"credentials are missing or refused: {remedy}, or give them as options of the source"
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, OSError):  # how HTTP says so
        return f"cannot be reached ({one_line(error.__cause__, 200)})"
    if isinstance(error, FileNotFoundError):
        return "no such file or folder, or it is private and needs credentials"
    return said


def _store(url: str, options: Mapping[str, Any]):
    from fsspec.core import url_to_fs

    return url_to_fs(url, **options)


def _listed(store, info: dict) -> Listed:
    version = next((f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key) is not None), None)
    return Listed(store.unstrip_protocol(info["name"]), info.get("size"), version)


def short_digest(text: str) -> int:
    """A text as a number that fits where a file's time does: 63 bits that another text would not have."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
