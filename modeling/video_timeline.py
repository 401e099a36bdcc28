"""Where a video begins and ends, where its keyframes are, and which moments a sampling asks for."""

import bisect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from .video_source import OpenVideo

SAMPLINGS = ("midpoints", "per_second", "random_segments")
# Two clocks that should agree may differ by a rounding; a microsecond is shorter than any frame.
ROUNDING = Fraction(1, 1_000_000)
SOUND_PRIMING = Fraction(1, 10)


@dataclass(frozen=True)
class Timeline:
    """The presentation times of one video stream, in ticks of its time base.

    Args:
        time_base: seconds per tick.
        origin: the container's own start, in seconds: what a player calls 0:00.
        first: tick of the first frame shown.
        end: tick at which the last frame ends.
        keyframe_before: tick -> tick of the keyframe from which to decode, or None where only the beginning will do.
        count: how many frames there are, where every packet was looked at, so that `end` too is known and not just
            claimed by a header; else None.
        jumps: how often the file's clock is set anew; its packets are then read in file order, on a `SteadyClock`.
        every_packet_is_key: whether the container calls every packet a keyframe.
        by_count: whether the packets' times ignore that frames are reordered (H.264 in AVI), so that the n-th frame
            to come out of the decoder takes the n-th time.
        final: decoding time of the last packet that the file's index lists; a file without it was cut short. Its
            picture may stay longer than its packet says, which counts in decoding order.
    """

    time_base: Fraction
    origin: Fraction
    first: int
    end: int
    keyframe_before: Callable[[int], int | None]
    count: int | None
    every_packet_is_key: Callable[[], bool]
    jumps: int = 0
    by_count: bool = False
    final: float = math.inf

    @property
    def scanned(self) -> bool:
        return self.count is not None

    @property
    def joined(self) -> str:
        """What to tell of a file whose clock jumps."""
        return f"is several recordings joined: its clock is set anew {self.jumps} times; read in the file's order"

    @property
    def begin_seconds(self) -> Fraction:
        return self.first * self.time_base - self.origin

    @property
    def end_seconds(self) -> Fraction:
        return self.end * self.time_base - self.origin

    def seconds(self, tick: int) -> float:
        return float(tick * self.time_base - self.origin)

    def packets(self, video: OpenVideo) -> Iterator[av.Packet]:
        """Packets from where the container stands, which is its beginning where the clock jumps."""
        return video.packets(clock=video.steady_clock() if self.jumps else None)

    def is_last_for(self, packet: av.Packet, tick: int) -> bool:
        """Whether no packet after this one is shown up to a tick."""
        return packet.dts is not None and (packet.dts > tick or packet.dts >= self.final)

    def tick(self, seconds: Fraction) -> int:
        """The last tick at or before a moment, kept inside the video."""
        tick = math.floor((seconds + self.origin + ROUNDING) / self.time_base)
        return min(max(tick, self.first), max(self.end - 1, self.first))


def read_timeline(video: OpenVideo, scan: bool = False) -> Timeline:
    """The timeline of an open video: from the index of an MP4 or MOV file, else by listing every packet.

    Listing reads the file once without decoding, and leaves the video opened anew. Raises `VideoDecodeError` where
    there is no frame, or the video is longer than the limits allow.
    """
    timeline = (None if scan else _indexed_timeline(video)) or _scanned_timeline(video)
    seconds = (timeline.end - timeline.first) * timeline.time_base
    if seconds > video.limits.max_duration:
        raise video.error(
            f"a duration of {float(seconds):.0f} s exceeds the limit of {video.limits.max_duration:.0f} s"
        )
    return timeline


def _origin(video: OpenVideo, first: int) -> Fraction:
    """What a player calls 0:00: where the container starts, unless it is the silent run-up of a sound encoder."""
    shown, start = first * video.time_base, video.container.start_time
    if start is None or len(video.container.streams) == 1 or shown - Fraction(start, 1_000_000) < SOUND_PRIMING:
        return shown
    return Fraction(start, 1_000_000)


def _indexed_timeline(video: OpenVideo) -> Timeline | None:
    stream = video.stream
    index = stream.index_entries
    complete = "mp4" in video.container.format.name and len(index) > 0 and stream.frames == len(index)
    if not complete or not stream.duration or stream.duration < 0 or stream.start_time is None:
        return None
    # The index counts in decoding times. Frames are shown later by the reordering delay, which the first one tells.
    delay = max(stream.start_time - index[0].timestamp, 0)

    def keyframe_before(tick: int) -> int | None:
        index = video.stream.index_entries  # of the container open now: an index must not outlive its container
        position = index.search_timestamp(tick - delay, backward=True)
        return index[position].timestamp + delay if position > 0 else None

    def every_packet_is_key() -> bool:
        return all(entry.is_keyframe for entry in video.stream.index_entries)

    first = stream.start_time
    end = first + stream.duration
    origin = _origin(video, first)
    return Timeline(
        video.time_base,
        origin,
        first,
        end,
        keyframe_before,
        count=None,
        every_packet_is_key=every_packet_is_key,
        final=index[-1].timestamp,
    )


def _scanned_timeline(video: OpenVideo) -> Timeline:
    if not video.fresh:
        video.open()
    starts, ends, keyframes, delays = [], [], [], []
    clock = video.steady_clock()
    for count, packet in enumerate(video.packets(clock=clock)):
        if count > video.limits.max_packets:
            raise video.error(f"holds more than {video.limits.max_packets} packets")
        tick = packet.pts if packet.pts is not None else packet.dts
        if tick is None or packet.is_discard:
            continue
        starts.append(tick)
        ends.append(tick + (packet.duration or 0))
        delays.append(tick - packet.dts if packet.dts is not None else None)
        if packet.is_keyframe:
            keyframes.append(tick)
    if not starts:
        raise video.error("holds no frame that can be read")
    starts.sort()
    keyframes.sort()
    end = max(ends) if max(ends) > starts[-1] else starts[-1] + _last_duration(video, starts)

    def keyframe_before(tick: int) -> int | None:
        position = bisect.bisect_right(keyframes, tick)
        return keyframes[position - 1] if position > 1 else None

    by_count = _lacks_times(video, delays)
    origin = _origin(video, starts[0])
    video.open()
    every_packet_is_key = len(keyframes) == len(starts)
    return Timeline(
        time_base=video.time_base,
        origin=origin,
        first=starts[0],
        end=end,
        keyframe_before=(lambda tick: None) if by_count or clock.jumps else keyframe_before,
        count=len(starts),
        every_packet_is_key=lambda: every_packet_is_key,
        jumps=clock.jumps,
        by_count=by_count,
    )


def _lacks_times(video: OpenVideo, delays: list[int | None]) -> bool:
    """Whether nobody wrote down the presentation times: one delay for all packets (but a first that comes late) of a
    stream that is reordered.

    Only AVI, and Matroska in AVI's manner, have none. MPEG-1 and MPEG-2 count as reordered where they are not.
    """
    codec = video.stream.codec_context
    bare = video.container.format.name in ("avi", "matroska,webm") and codec.name not in ("mpeg1video", "mpeg2video")
    # A packet without a decoding time has a presentation time that somebody wrote down.
    return bare and codec.has_b_frames and len(set(delays[1:])) == 1 and None not in delays[1:]


def _last_duration(video: OpenVideo, starts: list[int]) -> int:
    """Ticks the last frame stays where its packet does not say: as long as the others, else one frame of the rate."""
    if len(starts) > 1:
        return max(int(np.median(np.diff(starts))), 1)
    rate = video.stream.average_rate or video.stream.guessed_rate
    return max(int(1 / (rate * video.time_base)), 1) if rate else 1


def sample_times(
    begin: Fraction, end: Fraction, num_frames: int, sampling: str, rng: np.random.Generator | None = None
) -> list[Fraction]:
    """The moments, in seconds and ascending, at which frames are asked for between `begin` and `end`.

    - `midpoints`: the middle of each of `num_frames` equal segments.
    - `random_segments`: a random moment of each segment (for training), from `rng`.
    - `per_second`: one moment a second counted from `begin`, thinned to at most `num_frames` at linspace(0, n - 1).
    """
    length = end - begin
    if sampling == "per_second":
        seconds = max(math.ceil(length - ROUNDING), 1)
        chosen = range(seconds) if seconds <= num_frames else np.linspace(0, seconds - 1, num_frames, dtype=int)
        return [begin + int(second) for second in chosen]
    if sampling == "midpoints":
        within = [Fraction(1, 2)] * num_frames
    else:
        rng = rng if rng is not None else np.random.default_rng()
        within = [Fraction(float(moment)) for moment in rng.random(num_frames)]
    return [begin + length * (index + moment) / num_frames for index, moment in enumerate(within)]
