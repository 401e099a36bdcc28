"""`FrameLoader`: frames of many videos, read ahead in worker processes, in order, going on past the bad ones."""

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from .errors import VideoDecodeError, is_passing, one_line
from .video_reading import VideoFrames, read_frames
from .video_source import source_name


def end_with_parent(_: int) -> None:
    """Ends a worker whose parent was killed while the worker was still starting: only from here on does `DataLoader`
    itself watch the parent, and such a worker would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # A fork holds open what later ones tell their parent's end by; other workers may have a process in between.
    forked = multiprocessing.get_start_method() == "fork"
    if os.getppid() != parent.pid if forked else not parent.is_alive():
        os._exit(1)


@dataclass(frozen=True)
class LoadedVideo:
    """One video of a [`FrameLoader`].

    Args:
        index: its position in `sources`.
        source: what was given there.
        frames: its frames, or None where it could not be read, or something was made of them.
        error: why it could not be read, else None.
        prepared: what the loader's `prepare` made of the frames.
    """

    index: int
    source: Any
    frames: VideoFrames | None
    error: VideoDecodeError | None
    prepared: Any = None


class FrameLoader:
    """Reads many videos, `workers` at a time, and yields a [`LoadedVideo`] for each, in order.

    A file that cannot be read, even one that crashes its worker process, is an item with an `error`.

    Args:
        sources: what `read_frames` takes, one a video; any sequence, indexed in the workers.
        video_processor: a `DmaeVideoProcessor` whose `num_frames`, `sampling` and size are used, so that frames need
            no more resizing; None reads frames of the video's own size.
        num_frames, sampling: in place of the processor's (12 and `"midpoints"` without one).
        workers: worker processes; 0 reads in this process.
        windows: `(start, end)` in seconds, or None, one per video.
        indices: the positions to read, in order; all by default (to resume, or to shuffle).
        seed: of `sampling="random_segments"`; each item and epoch (`set_epoch`) draws its own moments.
        prefetch: videos a worker reads ahead.
        prepare: called in the worker with a position and its `VideoFrames`; what it returns (tensors, plain values and
            tuples of them) comes in place of the frames. Its tensors are in shared memory, each an open file for as
            long as somebody holds it.
    """

    def __init__(
        self,
        sources: Sequence[Any],
        video_processor: Any = None,
        *,
        num_frames: int | None = None,
        sampling: str | None = None,
        workers: int = 2,
        windows: Sequence[tuple[float | None, float | None] | None] | None = None,
        indices: Sequence[int] | None = None,
        seed: int = 0,
        prefetch: int = 2,
        prepare: Callable[[int, VideoFrames], Any] | None = None,
        **read_options: Any,
    ):
        asked = {"num_frames": num_frames, "sampling": sampling}
        options = dict(video_processor.read_options) if video_processor is not None else {}
        self.options = {
            **options,
            **{name: value for name, value in asked.items() if value is not None},
            **read_options,
        }
        self.sources = sources
        self.workers = workers
        self.windows = windows
        self.indices = indices if indices is not None else range(len(sources))
        self.seed = seed
        self.prefetch = prefetch
        self.prepare = prepare
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.indices)

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass draw other random moments."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[LoadedVideo]:
        remaining = list(self.indices)
        while remaining:
            try:
                for item in self._pass(remaining, self.workers):
                    yield item
                    remaining.pop(0)
            except RuntimeError as error:
                if "worker" not in str(error):
                    raise
                yield self._alone(remaining.pop(0))

    def _pass(self, indices: list[int], workers: int) -> Iterator[LoadedVideo]:
        loader = DataLoader(
            _Videos(self, list(indices)),
            batch_size=None,
            num_workers=min(workers, len(indices)),
            prefetch_factor=self.prefetch if workers else None,
            worker_init_fn=end_with_parent,
        )
        for index, (packed, error) in zip(list(indices), loader):
            if self.prepare is not None:
                yield LoadedVideo(index, self.sources[index], None, error, packed)
                continue
            # Copied out of the shared memory, which would keep a file open for as long as somebody holds the frames.
            frames = (
                None
                if packed is None
                else VideoFrames(packed[0].numpy().copy(), packed[1].numpy().copy(), *packed[2:])
            )
            yield LoadedVideo(index, self.sources[index], frames, error)

    def _alone(self, index: int) -> LoadedVideo:
        """Reads one video in a process of its own, after a worker died: perhaps of this video, perhaps of another."""
        try:
            return next(self._pass([index], 1))
        except RuntimeError:
            source = self.sources[index]
            error = VideoDecodeError(source_name(source), "the process that decoded it was killed", passing=True)
            return LoadedVideo(index, source, None, error)


class _Videos(Dataset):
    """What runs in the workers: position -> (frames as tensors or None, error or None)."""

    def __init__(self, loader: FrameLoader, indices: list[int]):
        self.indices = indices
        self.sources, self.windows = loader.sources, loader.windows
        self.options = {"threads": 1, **loader.options} if loader.workers else loader.options
        self.prepare = loader.prepare
        self.random = self.options.get("sampling") == "random_segments"
        self.seeds = (loader.seed, loader.epoch)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Any, VideoDecodeError | None]:
        index, source = self.indices[position], None
        start, end = (self.windows[index] if self.windows is not None else None) or (None, None)
        seed = (*self.seeds, index) if self.random else None
        try:
            source = self.sources[index]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they travel in VideoFrames.warnings
                read = read_frames(source, start=start, end=end, seed=seed, **self.options)
            if self.prepare is not None:
                return self.prepare(index, read), None
        except Exception as error:  # one bad file must not end the reading of a corpus
            told = isinstance(error, VideoDecodeError)
            return None, error if told else VideoDecodeError(source_name(source), one_line(error), is_passing(error))
        return (
            torch.from_numpy(read.frames),
            torch.from_numpy(read.timestamps),
            read.duration,
            read.fps,
            read.warnings,
        ), None
