"""What tells the frames of one video from those of another of the same name: its bytes, and the part of it."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmae.modeling.dataset_rows import RowVideo
from dmae.modeling.remote_videos import RemoteVideo, RemoteVideoError, short_digest

from ..corpora import VideoSample

HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class VideoState:
    """A video as it lies there now.

    Attributes:
        path: where it is; empty where it has no place of its own.
        size: bytes, -1 where unknown. modified: a number that another version would not have: the modification time in
            ns, or a digest of the dataset and the row; -1 where unknown.
        start, end: the part of it, in seconds.
    """

    path: str
    size: int
    modified: int
    start: float | None
    end: float | None

    @property
    def is_known(self) -> bool:
        """Whether the same state means the same bytes."""
        return self.modified != -1

    def may_be(self, other: "VideoState") -> bool:
        """Whether nothing but the bytes can tell that these are two."""
        return (self.size, self.start, self.end) == (other.size, other.start, other.end)


def state_of(sample: VideoSample) -> VideoState:
    """Without reading the video; a file that is not there has no size."""
    video = sample.video
    if isinstance(video, RowVideo):
        return VideoState("", -1, short_digest(video.version), sample.start, sample.end)
    if isinstance(video, RemoteVideo):
        try:
            listed = video.listed()
        except RemoteVideoError:
            return VideoState(video.url, -1, -1, sample.start, sample.end)
        version = short_digest(listed.version) if listed.version else -1
        return VideoState(video.url, -1 if listed.size is None else listed.size, version, sample.start, sample.end)
    if isinstance(video, Mapping) and video.get("bytes") is not None:
        return VideoState("", len(video["bytes"]), -1, sample.start, sample.end)
    path = video.get("path") if isinstance(video, Mapping) else video
    path = os.path.abspath(str(path))
    try:
        status = os.stat(path)
    except OSError:
        return VideoState(path, -1, -1, sample.start, sample.end)
    return VideoState(path, status.st_size, status.st_mtime_ns, sample.start, sample.end)


def digest_of(video: Any) -> str | None:
    """Of the bytes; None where they cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(video, Mapping) and (content := video.get("bytes")) is not None:
        digest.update(content)
        return digest.hexdigest()
    path = video.get("path") if isinstance(video, Mapping) else video
    try:
        with open(str(path), "rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
