"""The frames of a long video, read ahead in a process of their own, which a file may bring down."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from dmae.modeling.errors import VideoDecodeError
from dmae.modeling.frame_loader import end_with_parent
from dmae.modeling.video_source import source_name

from .film_frames import FilmChunk, film_frames


def load_film(
    video: Any, frames_per_second: float | str, *, start: float | None, size: int | None, workers: int
) -> Iterator[FilmChunk]:
    """As `film_frames`, in a process of its own unless `workers` is 0; that a file ends it is an error too."""
    film = _Film(video, frames_per_second, start, size)
    try:
        loader = DataLoader(film, batch_size=None, num_workers=min(workers, 1), worker_init_fn=end_with_parent)
        for chunk in loader:  # which makes tensors of arrays
            arrays = {name: getattr(chunk, name).numpy() for name in ("pixels", "frames", "moments")}
            yield chunk._replace(**arrays)
    except RuntimeError as error:
        if "worker" not in str(error):
            raise
        nothing = np.zeros(0)
        killed = VideoDecodeError(source_name(video), "the process that decoded it was killed", passing=True)
        yield FilmChunk(nothing, 0, nothing, nothing, 0.0, 0.0, error=killed)


class _Film(IterableDataset):
    def __init__(self, video: Any, frames_per_second: float | str, start: float | None, size: int | None):
        self._arguments = video, frames_per_second
        self._options = {"start": start, "size": size}

    def __iter__(self) -> Iterator[FilmChunk]:
        return film_frames(*self._arguments, **self._options)
