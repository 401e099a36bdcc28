"""Spans of videos as files of their own: copied as they are where a keyframe begins the span, else encoded anew."""

import os
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Discard

from dmae.modeling.errors import VideoDecodeError
from dmae.modeling.video_pixels import FrameConverter
from dmae.modeling.video_reading import DEFAULT_LIMITS, decoder_threads
from dmae.modeling.video_source import OpenVideo, open_video
from dmae.modeling.video_timeline import Timeline, read_timeline

from ..errors import VideoIndexError

if TYPE_CHECKING:  # where clips alone are cut, nothing of the search is loaded
    from ..search.searcher import SearchHit

CLOCK = Fraction(1, 90_000)
IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
NEAR = 0.02  # seconds by which a keyframe may miss the start of a span and still begin it


def cut_hits(hits: "Sequence[SearchHit]", folder: Path, *, padding: float = 0.0) -> list[Path]:
    """Writes each hit's span as a playable file, with its sound, and returns the files in the hits' order.

    Args:
        folder: made where it is not there. padding: seconds to add before and after each span.

    Raises:
        VideoIndexError: a hit without a file or without times, a folder that cannot be written, a padding below 0.
        VideoDecodeError: a file that cannot be read.
    """
    if not 0 <= padding < float("inf"):
        raise VideoIndexError(f"the padding of a cut is in seconds, from 0 on, not {padding}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise VideoIndexError(f"clips cannot be written to {folder} ({reason}): give a folder of yours") from None
    if not os.access(folder, os.W_OK):
        raise VideoIndexError(f"clips cannot be written to {folder} (it is not writable): give a folder of yours")
    return [_cut_hit(rank, hit, folder, padding) for rank, hit in enumerate(hits, 1)]


def _cut_hit(rank: int, hit: "SearchHit", folder: Path, padding: float) -> Path:
    if hit.path is None or hit.start is None or hit.end is None:
        missing = "no file" if hit.path is None else "no times"
        raise VideoIndexError(f"the video {hit.id!r} has {missing} in the index: its span cannot be cut")
    name = f"{rank:02d}-{clip_name(hit.id, hit.start, hit.end)}"
    return cut_clip(hit.path, hit.start - padding, hit.end + padding, folder / name)


def clip_name(video_id: str, start: float, end: float) -> str:
    """A name for the file of a span (s), without its suffix.

    >>> clip_name("films/a day.mp4", 723.4, 741.0)
    'a_day-12m03s-12m21s'
    """
    name = re.sub(r"[^\w.-]+", "_", Path(video_id).stem)[:80]
    return "-".join([name, *(f"{int(seconds) // 60:02d}m{int(seconds) % 60:02d}s" for seconds in (start, end))])


def cut_clip(source, start: float, end: float, destination: Path) -> Path:
    """Writes a span of a video and returns its file.

    Args:
        source: what `read_frames` takes. start, end: seconds; what lies outside the video is left out.
        destination: of the file, without its suffix, which is .mp4, or .mkv where the sound does not fit into one.

    Raises:
        VideoDecodeError: the source cannot be read, or the span holds nothing of it.
    """
    with open_video(source, DEFAULT_LIMITS, decoder_threads()) as video:
        timeline = read_timeline(video)
        start, end = max(start, float(timeline.begin_seconds)), min(end, float(timeline.end_seconds))
        if start >= end:
            shown = float(timeline.end_seconds)
            raise VideoDecodeError(video.name, f"a span from {start:.2f} s holds nothing of its {shown:.2f} s")
        if not video.fresh:
            video.open()
        sound = next(iter(video.container.streams.audio), None)
        path = destination.with_name(
            destination.name + (".mp4" if sound is None or sound.codec_context.name in IN_MP4 else ".mkv")
        )
        partial = path.with_name(f".{path.name}.part")
        try:
            with av.open(str(partial), "w", format="mp4" if path.suffix == ".mp4" else "matroska") as target:
                _write(video, timeline, sound, target, start, end)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _write(video: OpenVideo, timeline: Timeline, sound, target, start: float, end: float) -> None:
    if sound is not None:
        sound.discard = Discard.default
    keyframe = timeline.keyframe_before(timeline.tick(Fraction(start)))
    if keyframe is not None:
        video.container.seek(keyframe, stream=video.stream, backward=True)
    streams = [video.stream, *([sound] if sound is not None else [])]
    copied_sound = target.add_stream_from_template(sound) if sound is not None else None
    picture: _Copied | _Encoded | None = None
    waiting: list[av.Packet] = []  # sound that comes before the first picture: writing it would begin the file
    for packet in video.packets(*streams):
        if packet.stream is not video.stream:
            seconds = None if packet.pts is None else float(packet.pts * packet.time_base - timeline.origin)
            if seconds is not None and start <= seconds < end:
                _shift(packet, round((start + float(timeline.origin)) / packet.time_base))
                packet.stream = copied_sound
                waiting.append(packet)
        else:
            if picture is None:
                begins = packet.is_keyframe and packet.pts is not None and not timeline.by_count
                copy = begins and abs(timeline.seconds(packet.pts or 0) - start) <= NEAR
                picture = (_Copied if copy else _Encoded)(video, timeline, target, start, end)
            if picture.take(packet):
                break
        if picture is not None and picture.begun:
            target.mux(waiting)
            waiting.clear()
    if picture is not None:
        picture.finish()
    target.mux(waiting)


def _shift(packet: av.Packet, ticks: int) -> None:
    packet.pts = packet.pts - ticks if packet.pts is not None else None
    packet.dts = packet.dts - ticks if packet.dts is not None else None


class _Copied:
    """The picture as it is in the file."""

    begun = True  # whether the file may begin: what the stream is like is known at once

    def __init__(self, video: OpenVideo, timeline: Timeline, target, start: float, end: float):
        self.timeline, self.target, self.end = timeline, target, end
        self.stream = target.add_stream_from_template(video.stream)
        self.first: int | None = None

    def take(self, packet: av.Packet) -> bool:
        """Writes what belongs to the span; whether it is over."""
        if packet.dts is not None and self.timeline.seconds(packet.dts) >= self.end:
            return True
        self.first = packet.pts if self.first is None else self.first
        if packet.pts is not None and self.first is not None and self.timeline.seconds(packet.pts) < self.end:
            _shift(packet, self.first)
            packet.stream = self.stream
            self.target.mux(packet)
        return False

    def finish(self) -> None:
        pass


class _Encoded:
    """The picture decoded and encoded anew, upright, from exactly the first frame on."""

    def __init__(self, video: OpenVideo, timeline: Timeline, target, start: float, end: float):
        self.video, self.timeline, self.target = video, timeline, target
        self.start, self.end = start, end
        self.convert = FrameConverter()
        rate = video.stream.average_rate or video.stream.guessed_rate or 25
        self.stream = target.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        self.stream.pix_fmt = "yuv420p"
        self.stream.codec_context.time_base = CLOCK
        self.before: av.VideoFrame | None = None  # on screen when the span starts
        self.begun = False  # a stream has a size when the first frame has been turned upright

    def take(self, packet: av.Packet | None) -> bool:
        try:
            frames = self.video.stream.codec_context.decode(packet)
        except (FFmpegError, ValueError):  # a damaged packet
            return False
        for frame in frames:
            seconds = self.timeline.seconds(frame.pts) if frame.pts is not None else None
            if seconds is None or seconds < self.start - 1e-3:
                self.before = frame
                continue
            if seconds >= self.end:
                return True
            if self.before is not None and seconds > self.start + 1e-3:
                self._write(self.before, self.start)
            self.before = None
            self._write(frame, seconds)
        return False

    def _write(self, frame: av.VideoFrame, seconds: float) -> None:
        pixels = self.convert(frame)
        height, width = (side // 2 * 2 for side in pixels.shape[:2])
        if not self.begun:
            self.stream.width, self.stream.height, self.begun = width, height, True
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        picture.pts, picture.time_base = round((seconds - self.start) / CLOCK), CLOCK
        self.target.mux(self.stream.encode(picture))

    def finish(self) -> None:
        self.take(None)
        if self.before is not None:
            self._write(self.before, self.start)
        if not self.begun:
            raise VideoDecodeError(
                self.video.name, f"no frame from {self.start:.2f} s to {self.end:.2f} s can be decoded"
            )
        self.target.mux(self.stream.encode())
