"""The frames of a long video that differ from the one before, a few at a time. Needs numpy alone, not torch."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from dmae.modeling.errors import VideoDecodeError, is_passing, one_line
from dmae.modeling.video_source import source_name
from dmae.modeling.video_stream import FrameStream

CHUNK_FRAMES = 32
CHUNK_MOMENTS = 512
CELLS, CELL_SIDE = 32, 4  # two frames are compared by the means of 32 x 32 cells, fewer where they would be small
SAME = 4.5  # of 255: the most by which the means of frames that look the same differ; a camera's noise makes 4


class FilmChunk(NamedTuple):
    """A few moments of a video.

    Attributes:
        pixels: uint8 `(N, H, W, 3)`: the frames that do not look like the one kept last.
        first: how many were kept before.
        frames: int64 `(M,)`, for each moment the number of the frame that it looks like, of all that were kept; only
            the one before `first` may be of an earlier chunk.
        moments: float64 `(M,)` seconds.
        begin, duration: of the whole video, in seconds. fps: the file's own frames per second, 0 where unknown.
        error: why it could not be read (further), else None.
        warnings: what was not as it should be, in the last one.
    """

    pixels: np.ndarray
    first: int
    frames: np.ndarray
    moments: np.ndarray
    begin: float
    duration: float
    fps: float = 0.0
    error: VideoDecodeError | None = None
    warnings: Sequence[str] = ()


def film_frames(
    video: Any, frames_per_second: float | str, *, start: float | None = None, size: int | None = None, **reading
) -> Iterator[FilmChunk]:
    """All of a video in chunks, read in this process; the last may be empty. What is wrong with the file is an error.

    Args:
        reading: further options of `FrameStream`.
    """
    stream = FrameStream(video, frames_per_second, start=start, size=size, **reading)
    error = None
    kept, frames, moments = [], [], []
    count, last, last_pixels = 0, None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for frame in stream:
                if frame.pixels is not last_pixels:  # the very same where the file shows one picture for long
                    last_pixels, cells = frame.pixels, cell_means(frame.pixels)
                    if last is None or np.abs(cells - last).max() > SAME:
                        kept.append(frame.pixels)
                        count, last = count + 1, cells
                frames.append(count - 1)
                moments.append(frame.moment)
                if len(kept) == CHUNK_FRAMES or len(moments) == CHUNK_MOMENTS:
                    yield _chunk(stream, kept, count, frames, moments)
                    kept, frames, moments = [], [], []
        except Exception as fault:  # one bad file must not end the indexing of a corpus
            told = isinstance(fault, VideoDecodeError)
            error = fault if told else VideoDecodeError(source_name(video), one_line(fault), is_passing(fault))
    yield _chunk(stream, kept, count, frames, moments)._replace(error=error, warnings=stream.warnings)


def _chunk(stream: FrameStream, kept, count: int, frames: list[int], moments: list[float]) -> FilmChunk:
    return FilmChunk(
        np.stack(kept) if kept else np.zeros(0, np.uint8),
        count - len(kept),
        np.array(frames, np.int64),
        np.array(moments, np.float64),
        stream.begin,
        stream.duration,
        stream.fps,
    )


def cell_means(pixels: np.ndarray) -> np.ndarray:
    """float32 means of the cells, at most `(32, 32, 3)`, of a uint8 `(H, W, 3)` picture."""
    counts = (min(max(side // CELL_SIDE, 1), CELLS) for side in pixels.shape[:2])
    rows, columns = (
        np.linspace(0, side, count, endpoint=False).astype(int) for side, count in zip(pixels.shape, counts)
    )
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=0, dtype=np.int64), columns, axis=1)
    heights, widths = np.diff([*rows, pixels.shape[0]]), np.diff([*columns, pixels.shape[1]])
    return (sums / (heights[:, None, None] * widths[None, :, None])).astype(np.float32)
