"""`read_frames`: the frames a player would show, from any video file, decoding no more than it must."""

import math
import os
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from .errors import InputError, VideoDecodeError
from .video_pixels import FrameConverter
from .video_seeking import FrameSeeker, late_start
from .video_source import NO_BASE_LAYER, OpenVideo, VideoLimits, open_video, source_name
from .video_timeline import SAMPLINGS, Timeline, read_timeline, sample_times

__all__ = ["VideoDecodeError", "VideoFrames", "VideoLimits", "read_frames"]

DEFAULT_LIMITS = VideoLimits()


@dataclass(frozen=True)
class VideoFrames:
    """Frames of one video.

    Args:
        frames: uint8 (F, H, W, 3), RGB, upright, of square pixels and standard dynamic range.
        timestamps: float64 (F,), when each frame comes on screen, in seconds of the player's clock.
        duration: seconds that the video stream lasts, whatever window was read.
        fps: average frames a second; 0.0 where the file does not tell.
        warnings: what was not as it should be (a truncated file, damaged pictures, a beginning that cannot be
            decoded, joined recordings, colours that cannot be told); empty for a sound file.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    duration: float
    fps: float
    warnings: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.frames)


def read_frames(
    source: Any,
    num_frames: int = 12,
    *,
    start: float | None = None,
    end: float | None = None,
    size: int | None = None,
    sampling: str = "midpoints",
    seed: int | tuple[int, ...] | None = None,
    threads: int | None = None,
    limits: VideoLimits = DEFAULT_LIMITS,
) -> VideoFrames:
    """Reads the frames that a player shows at evenly spread moments of a video.

    Args:
        source: a path, the bytes of a file, a binary file, or a `datasets` row `{"path": ..., "bytes": ...}`.
        num_frames: frames to return; at most so many with `sampling="per_second"`.
        start, end: the window to sample, in seconds of the player's clock; the whole video by default. An `end`
            after the video's own is taken as the video's own.
        size: shortest edge of the frames in pixels, resized as Pillow's bicubic does; by default the size that a
            player shows, which is the video's own where its pixels are square.
        sampling: `"midpoints"` (the middle of each of `num_frames` equal segments; a clip with fewer frames repeats
            some), `"per_second"` (one frame per second, thinned to `num_frames` at linspace(0, n - 1), as CLIP4Clip
            does) or `"random_segments"` (a random moment of each segment, for training).
        seed: of the random moments; a tuple such as `(seed, epoch, index)` makes each item's own.
        threads: decoder threads; as many as there are processors, at most 4, by default. Give 1 in worker processes.
        limits: what a file may ask for before it is refused.

    Returns:
        `VideoFrames`. A damaged or truncated file gives the frames it still holds, with a `UserWarning` that is also
        in `.warnings`.

    Raises:
        VideoDecodeError: the source is missing, empty, no video, over a limit, or has no frame that can be decoded.
        InputError: an argument makes no sense for this source.
    """
    name = source_name(source)
    _check_arguments(name, num_frames, start, end, size, sampling)
    rng = np.random.default_rng(seed) if sampling == "random_segments" else None
    with open_video(source, limits, threads or decoder_threads()) as video:
        frames = _read(video, num_frames, (start, end), FrameConverter(size, video.pixel_aspect), sampling, rng)
    for message in frames.warnings:
        warnings.warn(f"{name}: {message}", UserWarning, stacklevel=2)
    return frames


def _check_arguments(name: str, num_frames: int, start, end, size, sampling: str) -> None:
    if not _is_positive(num_frames):
        raise InputError(f"{name}: num_frames must be a positive integer, not {num_frames!r}")
    if size is not None and not _is_positive(size):
        raise InputError(f"{name}: size is the shortest edge in pixels, a positive integer, not {size!r}")
    if sampling not in SAMPLINGS:
        raise InputError(f"{name}: sampling must be one of {', '.join(SAMPLINGS)}, not {sampling!r}")
    for label, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}: {label} must be seconds from 0 on, not {value!r}")
    if end is not None and end <= (start or 0):
        raise InputError(f"{name}: end ({end} s) must come after start ({start or 0} s)")


def decoder_threads() -> int:
    """As many as this process has processors; more than 4 only wait for each other."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 4)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value > 0)


def _read(video: OpenVideo, num_frames: int, window, convert: FrameConverter, sampling: str, rng) -> VideoFrames:
    timeline = read_timeline(video)
    state = rng.bit_generator.state if rng is not None else None
    seeker, ticks, all_there = _find(video, timeline, window, num_frames, convert, sampling, rng)
    cut_short = not all_there
    if cut_short:  # the header promised more than the file holds: look at what there is, and take the same draws
        timeline = read_timeline(video, scan=True)
        if rng is not None:
            rng.bit_generator.state = state
        seeker, ticks, _ = _find(video, timeline, window, num_frames, convert, sampling, rng)
    if not seeker.results:
        raise video.error("no frame could be decoded")
    found = [_nearest(seeker.results, tick) for tick in ticks]
    return VideoFrames(
        frames=np.stack([pixels for _, pixels in found]),
        timestamps=np.array([timeline.seconds(tick) for tick, _ in found]),
        duration=float((timeline.end - timeline.first) * timeline.time_base),
        fps=float(video.stream.average_rate or video.stream.guessed_rate or 0),
        warnings=_complaints(video, timeline, seeker, ticks, cut_short),
    )


def _find(video, timeline, window, num_frames, convert, sampling, rng) -> tuple[FrameSeeker, list[int], bool]:
    """What was found at the moments of a sampling, the moments, and whether the file holds as much as it promised."""
    begin, end = _window(video, timeline, *window)
    ticks = [timeline.tick(moment) for moment in sample_times(begin, end, num_frames, sampling, rng)]
    seeker = FrameSeeker(video, timeline, convert)
    return seeker, ticks, seeker.find(ticks)


def _window(video: OpenVideo, timeline: Timeline, start: float | None, end: float | None) -> tuple[Fraction, Fraction]:
    begin = timeline.begin_seconds if start is None else Fraction(start)
    if begin >= timeline.end_seconds:
        raise InputError(
            f"{video.name}: start ({start} s) is after the video's end ({float(timeline.end_seconds):.2f} s)"
        )
    finish = timeline.end_seconds if end is None else min(Fraction(end), timeline.end_seconds)
    return begin, max(finish, begin)


def _nearest(results: dict[int, tuple[int, np.ndarray]], tick: int) -> tuple[int, np.ndarray]:
    """What is on screen at `tick`, or, where that could not be decoded, the closest frame that could."""
    return results[tick] if tick in results else results[min(results, key=lambda other: abs(other - tick))]


def _complaints(
    video: OpenVideo, timeline: Timeline, seeker: FrameSeeker, ticks: list[int], cut_short: bool
) -> tuple[str, ...]:
    complaints = []
    end, claimed = float(timeline.end_seconds), (video.container.duration or 0) / 1_000_000
    latest = max(
        end, float(timeline.end * timeline.time_base)
    )  # Matroska counts a duration from 0, not from the start
    if timeline.jumps:  # then neither duration nor number of frames, which a header or FFmpeg claims, means anything
        complaints.append(timeline.joined)
    # Sound may go on for a while after the last picture, unless the index itself promised further pictures.
    elif timeline.scanned and claimed > latest + (0.1 if cut_short else 1):
        complaints.append(f"says it lasts {claimed:.1f} s but its frames end at {end:.1f} s; sampled what is there")
    elif timeline.scanned and timeline.count < 0.95 * video.stream.frames:
        complaints.append(
            f"says it has {video.stream.frames} frames but holds {timeline.count}; sampled what is there"
        )
    elif video.damage:
        complaints.append(f"could not be read to its end ({video.damage})")
    if video.lacks_base_layer:
        complaints.append(NO_BASE_LAYER)
    if seeker.early:
        first = timeline.seconds(min(seeker.results[tick][0] for tick in seeker.early))
        complaints.append(late_start(first, len(seeker.early)))
    missing = len({tick for tick in ticks if tick not in seeker.results}) + seeker.absent
    if seeker.failed_packets or seeker.damaged or missing:
        complaints.append(
            f"is damaged: {seeker.failed_packets} packets were refused, {seeker.damaged} of the frames have faults, "
            f"and at {missing} moments a neighbouring frame stands in"
        )
    return tuple(complaints)
