"""Decodes the frames shown at given moments and as little else as possible."""

import bisect
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import av
from av.error import FFmpegError
from av.video.frame import PictureType

from .video_source import OpenVideo
from .video_timeline import Timeline

# Packets read ahead of the decoder: more than the deepest reordering of H.264 and HEVC (16), so that what is on screen
# when a packet's frame is replaced is known before the packet is decoded.
LOOK_AHEAD = 20
# Codecs without hidden frames, whose decoders can be told to leave out one packet's frame if nothing refers to it: the
# other frames stay bit for bit the same.
ONE_PACKET_A_FRAME = frozenset({"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"})
# Decoders that show nothing until they can. All others make a picture of a difference to a frame they never saw.
CAREFUL = frozenset({"h264", "hevc", "vvc", "mpeg2video", "mpeg1video", "vp8", "vp9", "av1", "libdav1d", "libaom-av1"})
DIFFERENCES = frozenset({PictureType.P, PictureType.B, PictureType.S, PictureType.SP})

Convert = Callable[[av.VideoFrame], object]


def is_careful(video: OpenVideo) -> bool:
    """Whether the decoder shows no frame of which a part is missing, wherever it starts."""
    codec = video.stream.codec_context
    return codec.name in CAREFUL or codec.codec.intra_only


def needs_no_other(frame: av.VideoFrame, timeline: Timeline, at_beginning: bool) -> bool:
    """Whether the first frame of a decoder that is not careful is whole: what follows it then is, too.

    A B frame may come before its keyframe, and is to be left out; anything else that is not whole means that what the
    container calls a keyframe is none.
    """
    if frame.pict_type != PictureType.NONE:
        return frame.pict_type not in DIFFERENCES
    # The decoder does not say: believe the container, if it tells packets apart.
    return bool(frame.key_frame) and (at_beginning or not timeline.every_packet_is_key())


class FrameSeeker:
    """Finds the frame on screen at each asked tick, converting each chosen frame once, as soon as it is known.

    `results` maps each asked tick to `(tick of the frame, converted frame)`; a tick at which nothing could be decoded
    is missing. `failed_packets` counts packets that the decoder refused, `damaged` frames that it had to patch up, and
    `absent` asked moments whose own frame never came, so that the one before it stands in. `early` holds the asked
    ticks before the first frame that can be decoded, which stands in for theirs.
    """

    def __init__(self, video: OpenVideo, timeline: Timeline, convert: Convert):
        self.video = video
        self.timeline = timeline
        self.convert = convert
        self.results: dict[int, tuple[int, Any]] = {}
        self.early: set[int] = set()
        self.failed_packets = self.damaged = self.absent = 0
        self.careful = is_careful(video)
        rate = video.stream.average_rate or video.stream.guessed_rate
        self.frame_ticks = float(1 / (rate * timeline.time_base)) if rate else 1.0

    def find(self, ticks: list[int]) -> bool:
        """Fills `results` for `ticks`; False where the file ends before a moment that its header says it has."""
        ticks = sorted(set(ticks))
        try:
            groups = groupby(ticks, key=self.timeline.keyframe_before)
            return all(self._find_group(list(group), keyframe) for keyframe, group in groups)
        except _FalseKeyframe:
            self.failed_packets = self.absent = 0
            return self._find_group(ticks, None)

    def _find_group(self, ticks: list[int], keyframe: int | None) -> bool:
        run_kind = _CountedRun if self.timeline.by_count else _Run
        skip = self.video.stream.codec_context.name in ONE_PACKET_A_FRAME and not self.timeline.by_count
        before = self.timeline.keyframe_before(keyframe - 1) if keyframe is not None else None
        # Each try reads more than the one before, which ends as soon as every frame is there.
        tries = dict.fromkeys([(keyframe, skip), (keyframe, False), (before, False), (None, False)])
        for position, skipping in tries:
            run = run_kind(self, ticks, skipping, self._go_to(position))
            run.decode()
            if run.ends_early and not self.timeline.scanned:
                return False
            if all(tick in self.results for tick in ticks) and (not run.absent or not skipping):
                break
            if position is not None and run.is_empty and self.timeline.every_packet_is_key():
                raise _FalseKeyframe
        else:  # nothing up to the last of these moments can be decoded: the first frame after them, or a poor one
            for kind in ("whole", "any"):
                run = run_kind(self, ticks, False, self._go_to(None), first=kind)
                run.decode()
                if not run.waiting:
                    break
        self.absent += run.absent if self.video.stream.codec_context.name in ONE_PACKET_A_FRAME else 0
        return True

    def _go_to(self, keyframe: int | None) -> bool:
        """Goes to a keyframe, or to the beginning of the file, and tells whether it is there."""
        if keyframe is not None:
            try:
                self.video.container.seek(keyframe, stream=self.video.stream, backward=True)
                return False
            except (FFmpegError, OSError):
                pass  # a file that cannot be sought is read from its beginning
        if not self.video.fresh:
            self.video.open()
        return True


def late_start(first: float, moments: int) -> str:
    """What to tell of a recording whose first decodable picture, at `first` seconds, stands in at earlier moments."""
    return (
        f"begins between keyframes: its first picture that can be decoded, at {first:.2f} s, stands in at {moments} "
        "moments before"
    )


class _FalseKeyframe(Exception):
    """What the container calls a keyframe is a difference to frames before it."""


class _Run:
    """One stretch of decoding, from where the container stands to the last tick asked for.

    Args:
        at_beginning: whether the container stands at the beginning of the file, rather than near a keyframe.
        first: "whole" reads on until a frame comes that needs no other, however late; "any" takes each that comes.
    """

    def __init__(
        self, seeker: FrameSeeker, ticks: list[int], skip: bool, at_beginning: bool, first: str | None = None
    ):
        self.seeker = seeker
        self.ticks = ticks
        self.skip = skip
        self.at_beginning = at_beginning
        self.first = first
        self.waiting = deque(ticks)
        self.latest: tuple[int, av.VideoFrame] | None = None
        self.promised: dict[int, int] = {}  # asked tick -> tick of the packet whose frame is then on screen
        self.ends_early = False
        self.whole = seeker.careful or first == "any"  # or once a frame came that needs no other

    @property
    def is_empty(self) -> bool:
        """Whether no frame came."""
        return self.latest is None and len(self.waiting) == len(self.ticks)

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

    def _packets(self) -> Iterator[av.Packet]:
        """The packets from the first that may be decoded: of a keyframe, or at the beginning of the file any."""
        started = self.at_beginning
        for packet in self.seeker.timeline.packets(self.seeker.video):
            started = started or packet.is_keyframe
            if started:
                yield packet

    def _plan(self) -> Iterator[av.Packet]:
        """Packets in decoding order until every frame asked for has its packet."""
        if self.first == "whole":
            yield from self._packets()
            return
        ahead: deque[av.Packet] = deque()
        last, end, complete = self.ticks[-1], None, False
        for packet in self._packets():
            ahead.append(packet)
            if packet.pts is not None and not packet.is_discard:
                self._promise(packet.pts)
                end = max(end or packet.pts, packet.pts + (packet.duration or 1))
            complete = self.seeker.timeline.is_last_for(packet, last)
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
        except (FFmpegError, ValueError):
            # Before the first frame of a recording that begins between keyframes, refusals are as they should be.
            self.seeker.failed_packets += self.latest is not None or not self.at_beginning
            return []

    def _tick(self, frame: av.VideoFrame) -> int | None:
        return frame.pts if frame.pts is not None else frame.dts

    def _choose(self, frame: av.VideoFrame) -> None:
        tick = self._tick(frame)
        if tick is None or not (self.whole or self._is_whole(frame)):
            return
        if self.latest is None and self.at_beginning:
            while self.waiting and tick > self.waiting[0]:
                self.seeker.early.add(self.waiting[0])
                self._keep(self.waiting.popleft(), tick, frame)
        while self.waiting and tick > self.waiting[0] and self.latest is not None:
            self._keep(self.waiting.popleft(), *self.latest)
        if self.waiting and tick <= self.waiting[0]:
            self.latest = tick, frame

    def _is_whole(self, frame: av.VideoFrame) -> bool:
        """Whether the first frame to come needs no other; where it does after a seek, the keyframes are false ones."""
        self.whole = needs_no_other(frame, self.seeker.timeline, self.at_beginning)
        if not (self.whole or self.at_beginning or frame.pict_type == PictureType.B):
            raise _FalseKeyframe
        return self.whole

    def _keep(self, tick: int, shown: int, frame: av.VideoFrame) -> None:
        results = self.seeker.results
        same = next((found for found in results.values() if found[0] == shown), None)
        if same is None:
            self.seeker.damaged += frame.is_corrupt
            same = shown, self.seeker.convert(frame)
        results[tick] = same


class _CountedRun(_Run):
    """A run from the beginning in which the n-th frame to come out takes the n-th packet's time."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.times: deque[int | None] = deque()

    def _plan(self) -> Iterator[av.Packet]:
        after, started = 0, self.first == "any"
        for packet in self.seeker.timeline.packets(self.seeker.video):
            tick = packet.pts if packet.pts is not None else packet.dts
            started = started or packet.is_keyframe
            if started:  # what comes before gives no frame, though it tells the decoder how far frames are reordered
                self.times.append(tick)
            after += started and tick is not None and tick > self.ticks[-1]
            yield packet
            if after > LOOK_AHEAD and self.first is None:
                return

    def _tick(self, frame: av.VideoFrame) -> int | None:
        return self.times.popleft() if self.times else None
