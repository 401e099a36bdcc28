"""Encodes small videos whose frames carry their own number in their pixels, in the variants that the tests need.

`write_video(path, codec="libx265", ...)` encodes, `read_numbers(frames)` tells which frames came back.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8
FRAMES = 40
RATE = 25
LOSSLESS = {"libx264": {"crf": "4"}, "libx265": {"crf": "4", "x265-params": "log-level=none"}}
QUALITY = {
    "libsvtav1": {"crf": "10", "preset": "12"},
    "libvpx": {"crf": "4", "b": "2M", "deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"crf": "4", "b": "2M", "deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"qmin": "2", "qmax": "2"},
    "mpeg2video": {"qmin": "2", "qmax": "2"},
    "mpeg1video": {"qmin": "2", "qmax": "2"},
} | LOSSLESS


def numbered(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """(height, width, 3) RGB: one vertical bar a bit, the lowest at the left, light for 1 and dark for 0."""
    bits = (number >> np.arange(width) * BITS // width) & 1
    return np.broadcast_to((40 + 175 * bits).astype(np.uint8)[None, :, None], (height, width, 3)).copy()


def read_numbers(frames: np.ndarray) -> list[int]:
    """The numbers of (F, H, W, 3) frames made by [`numbered`], at any size."""
    rows = frames[:, frames.shape[1] // 4 : -frames.shape[1] // 4, :, 1].mean(axis=1)
    centres = ((2 * np.arange(BITS) + 1) * frames.shape[2]) // (2 * BITS)
    return [int(((row[centres] > 128) << np.arange(BITS)).sum()) for row in rows]


def orientation(width: int = 96, height: int = 64) -> np.ndarray:
    """(height, width, 3) RGB whose four quarters are red, green, blue and white, clockwise from the top left."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, width // 2 :] = (0, 0, 255)
    picture[height // 2 :, : width // 2] = (255, 255, 255)
    return picture


def write_video(
    path: Path,
    frames: int | list[np.ndarray] = FRAMES,
    *,
    codec: str = "libx264",
    rate: int | Fraction = RATE,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    options: dict[str, str] | None = None,
    ticks: list[int] | None = None,
    tick: Fraction | None = None,
    muxing: dict[str, str] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    colour: tuple[int, int] | None = None,
    transfer: int | None = None,
    pixel_aspect: Fraction | None = None,
    sound: bool = False,
    extra_streams: tuple[tuple[int, int], ...] = (),
) -> Path:
    """Writes one video and returns its path.

    Args:
        frames: how many numbered frames, or the pictures themselves (or frames in `pix_fmt` already).
        ticks, tick: presentation times of the frames and the length of a tick in seconds; evenly at `rate` by default.
        muxing: options of the container.
        rotation: degrees counter-clockwise, horizontal flip, vertical flip.
        colour, transfer: codes of the matrix and range, and of the transfer curve, to write in the stream.
        pixel_aspect: width of a pixel over its height.
        sound: whether to add two seconds of silence, starting at 0.
        extra_streams: sizes of further video streams, all black.
    """
    width, height = size
    pictures = [numbered(number, width, height) for number in range(frames)] if isinstance(frames, int) else frames
    with _own_priority(), av.open(str(path), "w", options=muxing or {}) as container:
        others = [_add_stream(container, "libx264", RATE, "yuv420p", other, {}) for other in extra_streams]
        stream = _add_stream(container, codec, rate, pix_fmt, size, QUALITY.get(codec, {}) | (options or {}))
        if tick is not None:
            stream.codec_context.time_base = tick
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        if colour is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
        if transfer is not None:
            stream.codec_context.color_trc = transfer
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for index, picture in enumerate(pictures):
            frame = picture if isinstance(picture, av.VideoFrame) else _frame(picture, pix_fmt, colour)
            frame.pts = ticks[index] if ticks is not None else index
            frame.time_base = tick if tick is not None else 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for other, (w, h) in zip(others, extra_streams):
            container.mux(other.encode(_frame(np.zeros((h, w, 3), np.uint8), "yuv420p", None)))
            container.mux(other.encode())
        if audio is not None:
            _write_silence(container, audio)
    return path


@contextmanager
def _own_priority() -> Iterator[None]:
    """Gives this thread its scheduling back: run as root, the encoder SVT-AV1 makes it a real-time one, which then
    starves all else, and hands that on to every thread and process that it starts.
    """
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def without_first(source: Path, count: int) -> Path:
    """A copy beside the source that lacks the first `count` packets, as a recording that was started at any moment."""
    target = source.with_name(f"late-{source.name}")
    with av.open(str(source)) as whole, av.open(str(target), "w") as late:
        stream = late.add_stream_from_template(whole.streams.video[0])
        for packet in [packet for packet in whole.demux(video=0) if packet.size][count:]:
            packet.stream = stream
            late.mux(packet)
    return target


def all_called_keyframes(source: Path) -> Path:
    """The file itself, after its index was told that every packet is a keyframe (AVI), or lost the list of those that
    are (MP4 and its kin), which means the same."""
    data = bytearray(source.read_bytes())
    if source.suffix == ".avi":
        index = data.rfind(b"idx1")
        for entry in range(int.from_bytes(data[index + 4 : index + 8], "little") // 16):
            data[index + 8 + 16 * entry + 4] |= 0x10
    else:
        box = data.index(b"stss")
        data[box : box + 4] = b"free"
    source.write_bytes(data)
    return source


def _add_stream(container, codec, rate, pix_fmt, size, options):
    stream = container.add_stream(codec, rate=rate, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    stream.codec_context.thread_count = 1
    return stream


def _frame(picture: np.ndarray, pix_fmt: str, colour: tuple[int, int] | None) -> av.VideoFrame:
    matrix, full = colour if colour is not None else (5, 1)
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format=pix_fmt, dst_colorspace={6: 5}.get(matrix, matrix), dst_color_range=full
    )


def _write_silence(container, audio) -> None:
    for block in range(32):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, block * 1000, Fraction(1, 16000)
        container.mux(audio.encode(frame))
    container.mux(audio.encode())


def middles(count: int, num_frames: int) -> list[int]:
    """The numbers that `read_frames` must return for `count` evenly spaced frames and `sampling="midpoints"`."""
    return [(2 * index + 1) * count // (2 * num_frames) for index in range(num_frames)]
