"""`FrameStream`: all of a video, however long, as evenly spaced frames, decoded once and held one at a time."""

import bisect
import math
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.video.frame import PictureType

from .errors import InputError
from .video_pixels import FrameConverter
from .video_reading import DEFAULT_LIMITS, decoder_threads
from .video_seeking import LOOK_AHEAD, ONE_PACKET_A_FRAME, is_careful, late_start, needs_no_other
from .video_source import NO_BASE_LAYER, OpenVideo, VideoLimits, open_video, source_name
from .video_timeline import ROUNDING, Timeline, read_timeline

KEYFRAMES = "keyframes"
# How far to look for the next keyframe, so that what no asked frame needs is not decoded.
GROUP_PACKETS, GROUP_BYTES = 160, 16 << 20
WORTH_A_FLUSH = 8  # packets: emptying the decoder costs about as much as decoding so many
EXCESS = 1.01  # times the file's own rate: who asks for 30 frames of 29.97 asks for no more than there are
SLOWEST = 1.0  # frames per second, also of a file of fewer: how long a still picture stays is worth knowing


@dataclass(frozen=True, eq=False)
class StreamedFrame:
    """One frame of a [`FrameStream`].

    Args:
        moment: the moment asked for, in seconds of the player's clock.
        timestamp: when the frame that is on screen at that moment came there.
        pixels: uint8 (H, W, 3), RGB, upright; the same array as before where it is the same frame.
    """

    moment: float
    timestamp: float
    pixels: np.ndarray


class FrameStream:
    """The frames on screen at the middle of every `1 / frames_per_second` seconds of a video, in order.

    Memory does not grow with the video's length. The moments are the same whichever part is read, so that a stream
    with `start` goes on where another one stopped. A file of fewer frames per second than asked for is read at its own
    rate, or once a second where that is more. A file that is damaged or ends early gives the frames it holds; what was
    wrong is told at the end, by a `UserWarning` and in `warnings`.

    Args:
        source: what `read_frames` takes.
        frames_per_second: above 0; or `"keyframes"`, the frames that can be decoded without any other.
        start, end: in seconds: only moments from `start` on and before `end`.
        size, threads, limits: as in `read_frames`.

    Attributes:
        begin: when the picture starts, in seconds of the player's clock. duration: how long it lasts, in seconds, as
            the file says until its end was seen. fps: the file's own frames per second, 0.0 where it does not tell.
            All three are known once the first frame is there.
        warnings: what was not as it should be, complete after the last frame.

    Raises:
        ValueError: `frames_per_second` is neither.
        VideoDecodeError: (on the first frame) the source is missing, empty, no video, over a limit, or has no frame
            that can be decoded.
    """

    def __init__(
        self,
        source: Any,
        frames_per_second: float | str = 1.0,
        *,
        start: float | None = None,
        end: float | None = None,
        size: int | None = None,
        threads: int | None = None,
        limits: VideoLimits = DEFAULT_LIMITS,
    ):
        check_rate(frames_per_second)
        self.source = source
        self.frames_per_second = frames_per_second
        self.start, self.end = start, end
        self.size = size
        self.threads = threads or decoder_threads()
        self.limits = limits
        self.begin = self.duration = self.fps = 0.0
        self.warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[StreamedFrame]:
        with open_video(self.source, self.limits, self.threads) as video:
            timeline = read_timeline(video)
            self.begin = float(timeline.begin_seconds)
            self.duration = float(timeline.end_seconds) - self.begin
            self.fps = float(video.stream.average_rate or video.stream.guessed_rate or 0)
            faults = _Faults()
            read = self._keyframes if self.frames_per_second == KEYFRAMES else self._evenly
            yielded = False
            for frame in read(video, timeline, faults):
                yielded = True
                yield frame
            if not yielded and self.start is None and self.end is None:
                raise video.error("no frame could be decoded")
            self._conclude(video, timeline, faults)
        for message in self.warnings:
            warnings.warn(f"{source_name(self.source)}: {message}", UserWarning, stacklevel=2)

    def _evenly(self, video: OpenVideo, timeline: Timeline, faults: "_Faults") -> Iterator[StreamedFrame]:
        rate = float(self.frames_per_second)
        if exceeds(rate, self.fps):
            faults.lines.append(f"has {self.fps:.4g} frames per second, not the {rate:.4g} asked for; took each once")
            rate = min(rate, max(self.fps, SLOWEST))
        moments = Moments(timeline, rate, self.start, self.end)
        convert, position = FrameConverter(self.size, video.pixel_aspect), moments.first
        sparing, seeking = not timeline.by_count, True
        while position < moments.stop:
            run = _Run(video, timeline, moments, position, convert, faults, sparing, seeking)
            yield from run.frames()
            if not run.gave_up and (run.position > position or not sparing):
                return
            # From there on everything is decoded; from the beginning, where keyframes are false ones.
            position, sparing, seeking = run.position, False, not run.misled

    def _keyframes(self, video: OpenVideo, timeline: Timeline, faults: "_Faults") -> Iterator[StreamedFrame]:
        convert, careful = FrameConverter(self.size, video.pixel_aspect), is_careful(video)
        if self.start is not None:
            go_to(video, _keyframe_well_before(timeline, timeline.tick(Fraction(self.start))))
        codec = video.stream.codec_context
        codec.skip_frame = "NONKEY"
        for packet in chain(timeline.packets(video), [None]):
            for frame in faults.decode(codec, packet) if packet is None or packet.is_keyframe else ():
                tick = frame.pts if frame.pts is not None else frame.dts
                seconds = timeline.seconds(tick) if tick is not None else math.nan
                if self.end is not None and seconds >= self.end:
                    return
                whole = frame.key_frame and (careful or needs_no_other(frame, timeline, False))
                if whole and seconds >= (self.start or -math.inf):
                    faults.damaged += frame.is_corrupt
                    yield StreamedFrame(seconds, seconds, convert(frame))

    def _conclude(self, video: OpenVideo, timeline: Timeline, faults: "_Faults") -> None:
        if timeline.jumps:
            faults.lines.append(timeline.joined)
        if video.lacks_base_layer:
            faults.lines.append(NO_BASE_LAYER)
        if faults.early:
            faults.lines.append(late_start(faults.first, faults.early))
        if faults.early_end is not None:
            end = timeline.seconds(faults.early_end)
            said, self.duration = self.duration, max(end - self.begin, 0.0)
            faults.lines.append(f"says it lasts {said:.1f} s but its frames end at {end:.1f} s; took what is there")
        elif video.damage:
            faults.lines.append(f"could not be read to its end ({video.damage})")
        if faults.failed_packets or faults.damaged or faults.absent:
            faults.lines.append(
                f"is damaged: {faults.failed_packets} packets were refused, {faults.damaged} of the frames have "
                f"faults, and at {faults.absent} moments a neighbouring frame stands in"
            )
        self.warnings = tuple(faults.lines)


def check_rate(frames_per_second: Any) -> None:
    """Raises an `InputError` unless this is a positive, finite number or `"keyframes"`."""
    if frames_per_second == KEYFRAMES:
        return
    number = isinstance(frames_per_second, int | float | np.number) and not isinstance(frames_per_second, bool)
    if not number or not math.isfinite(frames_per_second) or frames_per_second <= 0:
        raise InputError(f"frames_per_second must be above 0, or {KEYFRAMES!r}, not {frames_per_second!r}")


def exceeds(frames_per_second: float | str, own: float) -> bool:
    """Whether more frames are asked for than a file has, by its `own` rate (0: it does not tell)."""
    return not isinstance(frames_per_second, str) and 0 < EXCESS * own < frames_per_second


def go_to(video: OpenVideo, keyframe: int | None) -> None:
    """Places the container before a keyframe, or before everything."""
    if keyframe is not None:
        try:
            video.container.seek(keyframe, stream=video.stream, backward=True)
            return
        except (FFmpegError, OSError):
            pass  # a file that cannot be sought is read from its beginning
    if not video.fresh:
        video.open()


class Moments:
    """The moments of a stream, numbered from 0: the middles of equal stretches of the whole video, or the middle of a
    video that is no longer than half a stretch.

    `first` and `stop` bound the numbers of those in a window.
    """

    def __init__(self, timeline: Timeline, rate: float, start: float | None = None, end: float | None = None):
        self.timeline = timeline
        self.rate = Fraction(rate).limit_denominator(1_000_000)
        half, length = 1 / (2 * self.rate), timeline.end_seconds - timeline.begin_seconds
        self.earliest = timeline.begin_seconds + (half if half < length else length / 2)
        count = max(self._from(timeline.end_seconds), 1)
        self.first = 0 if start is None else max(self._from(Fraction(start)), 0)
        self.stop = count if end is None else min(self._from(Fraction(end)), count)
        # number(tick) = ceil((tick * up - shift) / scale), in whole numbers, because it is asked for every packet
        factor = timeline.time_base * self.rate
        shift = (timeline.origin + self.earliest + ROUNDING) * self.rate
        self._scale = math.lcm(factor.denominator, shift.denominator)
        self._up, self._shift = int(factor * self._scale), int(shift * self._scale)

    def _from(self, seconds: Fraction) -> int:
        """Number of the first moment at or after `seconds`."""
        return math.ceil((seconds - self.earliest) * self.rate)

    def seconds(self, number: int) -> Fraction:
        return self.earliest + number / self.rate

    def tick(self, number: int) -> int:
        return self.timeline.tick(self.seconds(number))

    def number(self, tick: int) -> int:
        """Number of the first moment at or after a tick."""
        return -((self._shift - tick * self._up) // self._scale)


class _Faults:
    """What went wrong while reading."""

    def __init__(self):
        self.failed_packets = self.damaged = self.absent = 0
        self.early, self.first = 0, 0.0  # moments before the first frame that can be decoded, and when that one comes
        self.early_end: int | None = None  # tick at which the frames end, where the file promised more
        self.lines: list[str] = []

    def decode(self, codec, packet: av.Packet | None, counted: bool = True) -> list[av.VideoFrame]:
        try:
            return codec.decode(packet)
        except EndOfFile:  # emptied before
            return []
        except (FFmpegError, ValueError):
            self.failed_packets += counted
            return []


class _Run:
    """One pass of decoding, from the keyframe before a moment to the last moment.

    A `sparing` run leaves out frames that no asked one needs. One that is not `seeking` begins at the beginning. A run
    gives up, at `position`, where a frame did not come that should have, or (`misled`) keyframes prove false.
    """

    def __init__(
        self,
        video: OpenVideo,
        timeline: Timeline,
        moments: Moments,
        position: int,
        convert: FrameConverter,
        faults: _Faults,
        sparing: bool,
        seeking: bool,
    ):
        self.video, self.timeline, self.moments = video, timeline, moments
        self.convert, self.faults, self.sparing = convert, faults, sparing
        self.keyframe = _keyframe_well_before(timeline, moments.tick(position)) if seeking else None
        self.misled = False
        self._careful = is_careful(video)
        self._whole = self._careful  # or once a frame came that needs no other
        self._at_beginning = self.keyframe is None
        self.skip = sparing and video.stream.codec_context.name in ONE_PACKET_A_FRAME
        self.position = position
        self._due = moments.tick(position)  # of the moment at `position`
        self.gave_up = False
        self._latest: tuple[int, av.VideoFrame] | None = None
        self._pixels: np.ndarray | None = None  # of the latest frame, once somebody asked
        self._starts: list[int] = []  # ticks of the frames of the packets read last, ascending
        self._promised: dict[int, int] = {}  # number of a moment -> tick of the frame that must be on screen then
        self._times: deque[int | None] = deque()  # of packets, where frames take them in turn
        self._end: int | None = None
        self._complete = False
        rate = video.stream.average_rate or video.stream.guessed_rate
        self._slack = 0.75 * float(1 / (rate * timeline.time_base)) if rate else 0.75

    def frames(self) -> Iterator[StreamedFrame]:
        go_to(self.video, self.keyframe)
        codec = self.video.stream.codec_context  # of the container open now, with nothing of an earlier run in it
        for packet, needed in self._plan():
            codec.skip_frame = "DEFAULT" if needed or not self.skip else "NONREF"
            for frame in self.faults.decode(codec, packet, self._latest is not None or not self._at_beginning):
                yield from self._show(frame)
            if packet is None:
                codec.flush_buffers()
                self._whole, self._at_beginning = self._careful, False
            if self.gave_up or self.position >= self.moments.stop:
                return
        yield from self._last()

    def _last(self) -> Iterator[StreamedFrame]:
        """The moments at which the last frame is still on screen."""
        stop = self.moments.stop
        if not self._complete and not self.timeline.scanned and self._end is not None:
            stop = min(stop, max(self.moments.number(self._end), 1))
            if stop < self.moments.stop:
                self.faults.early_end = self._end
        while self._latest is not None and self.position < stop and not self.gave_up:
            yield from self._at_moment(*self._latest)

    def _show(self, frame: av.VideoFrame) -> Iterator[StreamedFrame]:
        tick = self._tick(frame)
        if tick is None or (self._latest is not None and tick < self._latest[0]):
            return
        if not self._whole and not self._is_whole(frame):
            return
        if self._latest is None and self._due < tick and self._at_beginning:
            self.faults.early = min(self.moments.number(tick), self.moments.stop) - self.position
            self.faults.first = self.timeline.seconds(tick)
        while self._due < tick and self.position < self.moments.stop and not self.gave_up:
            yield from self._at_moment(*(self._latest or (tick, frame)))
        self._latest, self._pixels = (tick, frame), None

    def _is_whole(self, frame: av.VideoFrame) -> bool:
        self._whole = needs_no_other(frame, self.timeline, self._at_beginning)
        self.misled = not (self._whole or self._at_beginning or frame.pict_type == PictureType.B)
        self.gave_up = self.gave_up or self.misled
        return self._whole

    def _tick(self, frame: av.VideoFrame) -> int | None:
        if self.timeline.by_count:
            return self._times.popleft() if self._times else None
        return frame.pts if frame.pts is not None else frame.dts

    def _at_moment(self, shown: int, frame: av.VideoFrame) -> Iterator[StreamedFrame]:
        if self._promised.pop(self.position, shown) - shown > self._slack:
            if self.sparing and not self.faults.failed_packets:
                self.gave_up = True
                return
            self.faults.absent += 1
        if self._pixels is None:
            self._pixels = self.convert(frame)
            self.faults.damaged += frame.is_corrupt
        moment = float(self.moments.seconds(self.position))
        self.position += 1
        self._due = self.moments.tick(self.position)
        yield StreamedFrame(moment, self.timeline.seconds(shown), self._pixels)

    def _plan(self) -> Iterator[tuple[av.Packet | None, bool]]:
        """Packets in decoding order and whether their own frame is asked for; None: empty the decoder here."""
        if self.timeline.by_count:
            yield from self._plan_in_turn()
            return
        ahead: deque[av.Packet] = deque()
        last, size, started = self.moments.tick(self.moments.stop - 1), 0, self._at_beginning
        for packet in self.timeline.packets(self.video):
            started = started or packet.is_keyframe
            if not started:
                continue
            ahead.append(packet)
            size += packet.size
            if packet.pts is not None and not packet.is_discard:
                bisect.insort(self._starts, packet.pts)
                self._end = max(self._end or packet.pts, packet.pts + (packet.duration or 1))
            self._complete = self.timeline.is_last_for(packet, last)
            if self._complete and (self.sparing or self._latest is not None):
                break
            group = _first_group(ahead)
            if group:
                yield from self._plan_group([ahead.popleft() for _ in range(group)], ahead)
                size = sum(packet.size for packet in ahead)
            elif len(ahead) > LOOK_AHEAD and (len(ahead) > GROUP_PACKETS or size > GROUP_BYTES):
                size -= ahead[0].size
                yield ahead[0], self._needed(ahead.popleft())
        yield from self._plan_group(list(ahead), ())
        yield None, False

    def _plan_group(self, group: list[av.Packet], following) -> Iterator[tuple[av.Packet | None, bool]]:
        """A keyframe's group, as far as an asked frame needs it."""
        needed = [self._needed(packet) for packet in group]
        del self._starts[: -4 * GROUP_PACKETS]
        used = max((place for place, asked in enumerate(needed) if asked), default=-1) + 1
        leading = any(p.pts is None or (p.pts < following[0].pts and self._needed(p)) for p in following)
        alone = self.video.stream.codec_context.codec.intra_only
        if not self.sparing or leading or len(group) - used < (1 if alone else WORTH_A_FLUSH):
            used = len(group)
        yield from zip(group[:used], needed)
        if used < len(group) and not alone:
            yield None, False

    def _needed(self, packet: av.Packet) -> bool:
        """Whether this packet's frame is on screen at a moment asked for, as far as the packets read so far tell."""
        if packet.pts is None:
            return True
        if packet.is_discard:
            return False
        after = bisect.bisect_right(self._starts, packet.pts)
        first = max(self.moments.number(packet.pts), self.position)
        stop = self.moments.number(self._starts[after]) if after < len(self._starts) else self.moments.stop
        for number in range(first, min(stop, self.moments.stop)):
            self._promised[number] = packet.pts
        return first < min(stop, self.moments.stop)

    def _plan_in_turn(self) -> Iterator[tuple[av.Packet | None, bool]]:
        after, last, started = 0, self.moments.tick(self.moments.stop - 1), False
        for packet in self.timeline.packets(self.video):
            tick = packet.pts if packet.pts is not None else packet.dts
            started = started or packet.is_keyframe
            if started:  # what comes before gives no frame
                self._times.append(tick)
            after += started and tick is not None and tick > last
            yield packet, True
            if after > LOOK_AHEAD:
                break
        yield None, False


def _keyframe_well_before(timeline: Timeline, tick: int) -> int | None:
    """The last keyframe but one: pictures may be shown before the keyframe that they come after in the file."""
    keyframe = timeline.keyframe_before(tick)
    return None if keyframe is None else timeline.keyframe_before(keyframe - 1)


def _first_group(ahead: deque[av.Packet]) -> int:
    """How many packets belong to the first keyframe's group, or 0 while one cannot say: packets of the next group may
    be shown before its keyframe.
    """
    next_group = len(ahead) - 1 - LOOK_AHEAD
    if next_group < 1 or not ahead[next_group].is_keyframe:
        return 0
    return next_group
