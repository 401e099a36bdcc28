"""Opens whatever a caller calls a video, as data that is not trusted, and picks its video stream."""

import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.error import FFmpegError
from av.format import Flags
from av.stream import Discard, Disposition

from .errors import VideoDecodeError, is_passing, one_line
from .remote_videos import is_url

# Demuxers for files that hold their own footage. Playlists (HLS, concat, DASH), devices, network protocols and single
# pictures are left out on purpose: a playlist can name any other file of the machine.
CONTAINER_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,gif,apng,flv,asf,ogg,mxf,dv,ivf,obu,nut,rm"
READ_BLOCK = 1 << 20
WIDEST_PIXEL = Fraction(5)  # the widest in use is under 3; more is a mistake in the file
# Dolby Vision that only its own decoders read as it is meant, by the names that its tracks have in an MP4.
DOLBY_ONLY = frozenset({"dvh1", "dvhe", "dav1"})
UNSPECIFIED = frozenset({0, 2})  # transfer characteristics of ITU-T H.273
NO_BASE_LAYER = "is in Dolby Vision without a base layer that others can show: its colours come out wrong"
# A decoding time may be a little off its place in a sound file; a jump back by more is another recording's clock.
SLIP = Fraction(1, 4)
# A gap longer than this, in a format whose clock may be set anew at any point, is no pause but another clock (FFmpeg's
# own limit).
LONGEST_GAP = Fraction(10)


class SteadyClock:
    """Moves the time stamps of packets, taken in file order from the first one on, so that the decoding times go on
    without a break: the first packet after a jump follows the one before it.

    Args:
        time_base: seconds per tick.
        may_leap: whether a gap too is taken for a jump (MPEG transport and program streams).
    """

    def __init__(self, time_base: Fraction, may_leap: bool):
        self.jumps = 0
        self._least = -int(SLIP / time_base)
        self._most = int(LONGEST_GAP / time_base) if may_leap else math.inf
        self._offset = 0
        self._last: int | None = None  # decoding time of the packet before, as it is written
        self._before: av.Packet | None = None

    def adjust(self, packet: av.Packet) -> None:
        """Moves the time stamps of the next packet."""
        decoded = packet.dts
        if decoded is not None:
            last = self._last
            if last is not None and not self._least <= decoded - last <= self._most:
                self._offset += last - decoded + (self._before.duration or 0 if self._before is not None else 0)
                self.jumps += 1
            self._last, self._before = decoded, packet
        if self._offset:
            packet.pts = packet.pts + self._offset if packet.pts is not None else None
            packet.dts = packet.dts + self._offset if packet.dts is not None else None


@dataclass(frozen=True)
class VideoLimits:
    """What a file may ask for before it is refused as a decoder bomb.

    Args:
        max_pixels: largest picture, in pixels (the default admits 8K).
        max_duration: longest video, in seconds (the default is a day).
        max_packets: most packets that may be listed where a file has no index of its own.
    """

    max_pixels: int = 8192 * 4352
    max_duration: float = 24 * 3600.0
    max_packets: int = 8_000_000


@dataclass
class OpenVideo:
    """An open container, its chosen video stream, and how to open it once more.

    `fresh` until something was read; `damage` says why reading stopped before the end of the file.
    """

    name: str
    target: Any
    limits: VideoLimits
    threads: int
    container: Any = None
    stream: Any = None
    fresh: bool = False
    damage: str | None = None

    def open(self) -> None:
        """Opens the source from its beginning, again where it was open before."""
        self.close()
        if not isinstance(self.target, str):
            self.target.seek(0)
        options = {"format_whitelist": CONTAINER_FORMATS, "max_pixels": str(self.limits.max_pixels)}
        if isinstance(self.target, str):
            options["protocol_whitelist"] = "file"
        self.container = av.open(self.target, metadata_errors="replace", options=options)
        self.stream = self._choose_stream()
        codec = self.stream.codec_context
        codec.options = {"max_pixels": str(self.limits.max_pixels)}
        codec.thread_type = "AUTO"
        codec.thread_count = self.threads
        for other in self.container.streams:
            if other is not self.stream:
                other.discard = Discard.all
        self.fresh = True

    def packets(self, *streams, clock: SteadyClock | None = None) -> Iterator[av.Packet]:
        """Packets from where the container stands to its end, or to where it cannot be read further (`damage`).

        A `clock` moves their time stamps; it must be a new one, and the container stand at its beginning.
        """
        self.fresh = False
        try:
            for packet in self.container.demux(*streams or (self.stream,)):
                if packet.size:
                    if clock is not None:
                        clock.adjust(packet)
                    yield packet
        except (FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if self._is_out_of_reach(error):  # what was read so far would be taken for the whole
                raise VideoDecodeError(self.name, f"could not be read to its end ({reason})", passing=True) from error
            self.damage = reason

    def _is_out_of_reach(self, error: Exception) -> bool:
        """Whether a disk or a network failed, rather than the file's content, for which FFmpeg has the same errors."""
        if not isinstance(error, OSError):
            return False
        if not isinstance(error, FFmpegError) or not isinstance(self.target, str):
            return not isinstance(error, FFmpegError)
        try:
            with open(self.target, "rb") as file:
                while file.read(READ_BLOCK):
                    pass
        except OSError:
            return True
        return False

    def close(self) -> None:
        if self.container is not None:
            self.container.close()
            self.container = self.stream = None

    def steady_clock(self) -> SteadyClock:
        """A clock for one pass over the packets from the beginning."""
        return SteadyClock(self.time_base, bool(self.container.format.flags & Flags.ts_discont.value))

    @property
    def time_base(self) -> Fraction:
        return self.stream.time_base

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height, as a player shows it: the container's word, else the codec's, else 1."""
        aspect = self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio
        return aspect if aspect and 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL else Fraction(1)

    @property
    def lacks_base_layer(self) -> bool:
        """Whether it is Dolby Vision of profile 5 or its like, whose pictures mean no colours of any standard."""
        codec = self.stream.codec_context
        return codec.codec_tag in DOLBY_ONLY and codec.color_trc in UNSPECIFIED

    def error(self, reason: str) -> VideoDecodeError:
        return VideoDecodeError(self.name, reason)

    def _choose_stream(self):
        """The stream a player would show: never a cover picture, the largest of several."""
        still = Disposition.attached_pic | Disposition.timed_thumbnails
        candidates = [s for s in self.container.streams.video if not s.disposition & still and s.codec_context]
        if not candidates:
            raise self.error("has no video stream (audio only, or a codec that is not supported)")
        default = Disposition.default
        best = max(
            candidates,
            key=lambda s: (s.codec_context.width * s.codec_context.height, bool(s.disposition & default), -s.index),
        )
        width, height = best.codec_context.width, best.codec_context.height
        if width * height > self.limits.max_pixels:
            raise self.error(f"pictures of {width} x {height} exceed the limit of {self.limits.max_pixels} pixels")
        return best


def source_name(source: Any) -> str:
    """How a source is called in a message."""
    if isinstance(source, Mapping):
        return source_name(source.get("path") or source.get("bytes"))
    if isinstance(source, str | os.PathLike):
        return os.fspath(source) if not isinstance(source, str) else source
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source)} bytes>"
    return str(getattr(source, "name", f"<{type(source).__name__}>"))


def is_video_source(source: Any) -> bool:
    """Whether `source` is something that [`open_video`] takes: a path, bytes, a binary file, something that opens as
    one, or a datasets row."""
    if isinstance(source, Mapping):
        return "path" in source or "bytes" in source
    is_data = isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)
    return is_data or hasattr(source, "read") or hasattr(source, "open")


def _openable(source: Any, name: str) -> str | BinaryIO:
    """A path that exists, or a binary file that can be sought."""
    if isinstance(source, Mapping):
        data = source.get("bytes")
        return _openable(data if data is not None else source.get("path"), name)
    if isinstance(source, bytes | bytearray | memoryview):
        if not source:
            raise VideoDecodeError(name, "is empty")
        return io.BytesIO(source)
    if hasattr(source, "read"):
        if isinstance(source, io.TextIOBase):
            raise VideoDecodeError(name, "was opened as text; open it with mode 'rb'")
        seekable = getattr(source, "seekable", None)
        return source if seekable is not None and seekable() else _openable(source.read(), name)
    if not isinstance(source, str | os.PathLike) and hasattr(source, "open"):
        return _openable(source.open(), name)
    if not isinstance(source, str | os.PathLike):
        raise VideoDecodeError(name, "expected a path, bytes, a binary file or a dict with 'path' or 'bytes'")
    path = os.fsdecode(os.fspath(source))
    if is_url(path):
        raise VideoDecodeError(name, "is a URL; download it first and pass the file")
    if not os.path.exists(path):
        raise VideoDecodeError(name, "no such file", passing=True)
    if not os.path.isfile(path):
        raise VideoDecodeError(name, "is a folder or a device; pass a video file")
    if os.path.getsize(path) == 0:
        raise VideoDecodeError(name, "is empty")
    return os.path.abspath(path)  # absolute, so that no part of a name reads as a protocol


@contextmanager
def open_video(source: Any, limits: VideoLimits, threads: int) -> Iterator[OpenVideo]:
    """Opens `source` and closes it whatever happens; what FFmpeg raises becomes a [`VideoDecodeError`]."""
    name = source_name(source)
    video = OpenVideo(name, None, limits, threads)
    try:
        video.target = _openable(source, name)
        video.open()
        yield video
    except VideoDecodeError:
        raise
    except (FFmpegError, OSError, MemoryError, OverflowError, ZeroDivisionError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise VideoDecodeError(name, f"cannot be read as a video ({reason})", is_passing(error)) from error
    finally:
        video.close()
        if video.target is not source and hasattr(video.target, "close"):  # opened here, not by the caller
            video.target.close()
