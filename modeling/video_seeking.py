"""Decodes the frames shown at given moments and as little else as possible."""

import bisect
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby

import av

from .video_source import OpenVideo
from .video_timeline import Timeline

# Packets read ahead of the decoder: more than the deepest reordering of H.264 and HEVC (16), so that what is on screen
# when a packet's frame is replaced is known before the packet is decoded.
LOOK_AHEAD = 20
# Codecs without hidden frames, whose decoders can be told to leave out one packet's frame if nothing refers to it: the
# other frames stay bit for bit the same.
ONE_PACKET_A_FRAME = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})

Convert = Callable[[av.VideoFrame], object]


class FrameSeeker:
    """Finds the frame on screen at each asked tick, converting each chosen frame once, as soon as it is known.

    `results` maps each asked tick to `(tick of the frame, converted frame)`; a tick at which nothing could be decoded
    is missing. `failed_packets` counts packets that the decoder refused, `damaged` frames that it had to patch up, and
    `absent` asked moments whose own frame never came, so that the one before it stands in.
    """

    def __init__(self, video: OpenVideo, timeline: Timeline, convert: Convert):
        self.video = video
        self.timeline = timeline
        self.convert = convert
        self.results: dict[int, tuple[int, object]] = {}
        self.failed_packets = self.damaged = self.absent = 0
        rate = video.stream.average_rate or video.stream.guessed_rate
        self.frame_ticks = float(1 / (rate * timeline.time_base)) if rate else 1.0

    def find(self, ticks: list[int]) -> bool:
        """Fills `results` for `ticks`; False where the file ends before a moment that its header says it has."""
        groups = groupby(sorted(set(ticks)), key=self.timeline.keyframe_before)
        return all(self._find_group(list(group), keyframe) for keyframe, group in groups)

    def _find_group(self, ticks: list[int], keyframe: int | None) -> bool:
        run_kind = _CountedRun if self.timeline.by_count else _Run
        skip = self.video.stream.codec_context.name in ONE_PACKET_A_FRAME and not self.timeline.by_count
        before = self.timeline.keyframe_before(keyframe - 1) if keyframe is not None else None
        # Each try reads more than the one before, which ends as soon as every frame is there.
        for position, skipping in dict.fromkeys([(keyframe, skip), (keyframe, False), (before, False), (None, False)]):
            self._go_to(position)
            run = run_kind(self, ticks, skipping)
            run.decode()
            if run.ends_early and not self.timeline.scanned:
                return False
            if all(tick in self.results for tick in ticks) and (not run.absent or not skipping):
                break
        self.absent += run.absent if self.video.stream.codec_context.name in ONE_PACKET_A_FRAME else 0
        return True

    def _go_to(self, keyframe: int | None) -> None:
        if keyframe is not None:
            try:
                self.video.container.seek(keyframe, stream=self.video.stream, backward=True)
                return
            except (av.FFmpegError, OSError):
                pass  # a file that cannot be sought is read from its beginning
        if not self.video.fresh:
            self.video.open()


class _Run:
    """One stretch of decoding, from where the container stands to the last tick asked for."""

    def __init__(self, seeker: FrameSeeker, ticks: list[int], skip: bool):
        self.seeker = seeker
        self.ticks = ticks
        self.skip = skip
        self.waiting = deque(ticks)
        self.latest: tuple[int, av.VideoFrame] | None = None
        self.promised: dict[int, int] = {}  # asked tick -> tick of the packet whose frame is then on screen
        self.ends_early = False

    @property
    def absent(self) -> int:
        """At how many asked ticks not the promised frame was found (half a frame apart is a field of the same)."""
        found, slack = self.seeker.results, 0.75 * self.seeker.frame_ticks
        return sum(tick in found and shown - found[tick][0] > slack for tick, shown in self.promised.items())

    def decode(self) -> None:
        codec = self.seeker.video.stream.codec_context
        for packet in self._plan():
            needed = not self.skip or packet.pts is None or packet.pts in self.promised.values()
            codec.skip_frame = "DEFAULT" if needed else "NONREF"
            for frame in self._frames(packet):
                self._choose(frame)
            if not self.waiting:
                return
        for frame in self._frames(None):
            self._choose(frame)
        while self.waiting and self.latest is not None:
            self._keep(self.waiting.popleft(), *self.latest)

    def _plan(self) -> Iterator[av.Packet]:
        """Packets in decoding order, from the first keyframe until every frame asked for has its packet."""
        ahead: deque[av.Packet] = deque()
        last, end, complete, started = self.ticks[-1], None, False, False
        for packet in self.seeker.video.packets():
            started = started or packet.is_keyframe
            if not started:
                continue
            ahead.append(packet)
            if packet.pts is not None and not packet.is_discard:
                self._promise(packet.pts)
                end = max(end or packet.pts, packet.pts + (packet.duration or 1))
            complete = packet.dts is not None and packet.dts > last
            if complete:
                break
            if len(ahead) > LOOK_AHEAD:
                yield ahead.popleft()
        self.ends_early = not complete and (end is None or end <= last)
        wanted = set(self.promised.values())
        while ahead and any(packet.pts is None or packet.pts in wanted for packet in ahead):
            yield ahead.popleft()

    def _promise(self, shown: int) -> None:
        for tick in self.ticks[bisect.bisect_left(self.ticks, shown) :]:
            if shown >= self.promised.get(tick, shown):
                self.promised[tick] = shown

    def _frames(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self.seeker.video.stream.codec_context.decode(packet)
        except (av.FFmpegError, ValueError):
            self.seeker.failed_packets += 1
            return []

    def _tick(self, frame: av.VideoFrame) -> int | None:
        return frame.pts if frame.pts is not None else frame.dts

    def _choose(self, frame: av.VideoFrame) -> None:
        tick = self._tick(frame)
        if tick is None:
            return
        while self.waiting and tick > self.waiting[0] and self.latest is not None:
            self._keep(self.waiting.popleft(), *self.latest)
        if self.waiting and tick <= self.waiting[0]:
            self.latest = tick, frame

    def _keep(self, tick: int, shown: int, frame: av.VideoFrame) -> None:
        results = self.seeker.results
        same = next((found for found in results.values() if found[0] == shown), None)
        if same is None:
            self.seeker.damaged += frame.is_corrupt
            same = shown, self.seeker.convert(frame)
        results[tick] = same


class _CountedRun(_Run):
    """A run from the beginning in which the n-th frame to come out takes the n-th packet's time."""

    def __init__(self, seeker: FrameSeeker, ticks: list[int], skip: bool):
        super().__init__(seeker, ticks, skip)
        self.times: deque[int] = deque()

    def _plan(self) -> Iterator[av.Packet]:
        after = 0
        for packet in self.seeker.video.packets():
            tick = packet.pts if packet.pts is not None else packet.dts
            self.times.append(tick)
            after += tick is not None and tick > self.ticks[-1]
            yield packet
            if after > LOOK_AHEAD:
                return

    def _tick(self, frame: av.VideoFrame) -> int | None:
        return self.times.popleft() if self.times else None
