"""Which video and caption pairs share a batch: a video at most once, the same plan for any number of processes."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from ..corpora import CorpusError

Item = TypeVar("Item")

_video = attrgetter("video")


class Pair(NamedTuple):
    """One row of a batch: a video, one of its captions (by position), and the epoch, which seeds what is random."""

    video: int
    caption: int
    epoch: int


class PairBatchSampler:
    """Yields this process's share of each global batch, a list of `Pair`; a torch `batch_sampler`.

    A batch never holds a video twice: its other captions would be treated as wrong for it. (TS2-Net and CLIP4Clip draw
    captions at random, so that on MSR-VTT and MSVD some batches hold one twice.) The plan of an epoch
    depends on the seed and the epoch alone, so a run may stop, resume (`start`) or change its number of processes.

    Args:
        caption_counts: the number of captions of each video.
        batch_size: pairs in a global batch.
        epoch_over: "captions" shows every caption once an epoch, "videos" every video once with a random caption.
        consecutive: so many videos that follow one another share a batch, but where a batch ends between them.
        drop_last: leave out the last batch where it is smaller. A batch too small to compare anything, or to give each
            process a pair, is always left out.

    Raises:
        ValueError: fewer videos than processes, or fewer than 2.
    """

    def __init__(
        self,
        caption_counts: Sequence[int],
        batch_size: int,
        *,
        epoch_over: Literal["captions", "videos"] = "captions",
        consecutive: int = 1,
        drop_last: bool = False,
        seed: int = 0,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        self.caption_counts = np.asarray(caption_counts)
        self.smallest = max(2, num_processes)
        if len(self.caption_counts) < self.smallest or batch_size < self.smallest:
            few = min(len(self.caption_counts), batch_size)
            raise CorpusError(
                f"{few} videos in a batch cannot be compared by {num_processes} process(es): at least {self.smallest} "
                "are needed, one for each process; use fewer processes, more videos or a larger batch_size"
            )
        self.batch_size = min(batch_size, len(self.caption_counts))
        self.epoch_over, self.drop_last, self.seed = epoch_over, drop_last, seed
        self.consecutive = consecutive
        self.process_index, self.num_processes = process_index, num_processes
        self.epoch, self.start = 0, 0
        self._planned = None

    def plan(self, epoch: int) -> list[list[Pair]]:
        """All global batches of an epoch, in order."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = epoch, self._plan(epoch)
        return self._planned[1]

    def __len__(self) -> int:
        return len(self.plan(self.epoch)) - self.start

    def __iter__(self) -> Iterator[list[Pair]]:
        for batch in self.plan(self.epoch)[self.start :]:
            yield [batch[i] for i in np.array_split(range(len(batch)), self.num_processes)[self.process_index]]

    def _plan(self, epoch: int) -> list[list[Pair]]:
        random = np.random.default_rng([self.seed, epoch])
        counts = self.caption_counts
        if self.epoch_over == "videos":
            videos = random.permutation(len(counts))
            captions = random.integers(counts[videos])
        else:
            videos = np.repeat(np.arange(len(counts)), counts)
            captions = np.arange(len(videos)) - np.repeat(np.cumsum(counts) - counts, counts)
            order = random.permutation(len(videos))
            videos, captions = videos[order], captions[order]
        if self.consecutive > 1:
            videos, captions = self._joined(videos, captions, random)
        pairs = [Pair(video, caption, epoch) for video, caption in zip(videos.tolist(), captions.tolist())]
        least = self.batch_size if self.drop_last else self.smallest
        return [batch for batch in unique_batches(pairs, self.batch_size, key=_video) if len(batch) >= least]

    def _joined(self, videos: np.ndarray, captions: np.ndarray, random: np.random.Generator) -> tuple:
        """The same pairs with those of consecutive videos together: each video's first, each video's second, …"""
        by_video = np.argsort(videos, kind="stable")
        turns = np.empty(len(videos), dtype=np.int64)
        first = np.searchsorted(videos[by_video], videos[by_video])
        turns[by_video] = np.arange(len(videos)) - first
        blocks = videos // self.consecutive * (turns.max() + 1) + turns
        names, block = np.unique(blocks, return_inverse=True)
        order = np.argsort(random.permutation(len(names))[block], kind="stable")
        return videos[order], captions[order]


def unique_batches(items: Iterable[Item], batch_size: int, key: Callable[[Item], Hashable]) -> Iterator[list[Item]]:
    """Cuts `items` into batches that hold no key twice: an item whose key is taken waits for a later batch."""
    rest, waiting = iter(items), deque[Item]()
    while True:
        batch: list[Item] = []
        taken: set[Hashable] = set()
        for item in [waiting.popleft() for _ in range(len(waiting))]:
            (waiting if len(batch) == batch_size or key(item) in taken else batch).append(item)
            taken.add(key(item))
        while len(batch) < batch_size:
            try:
                item = next(rest)
            except StopIteration:
                break
            (waiting if key(item) in taken else batch).append(item)
            taken.add(key(item))
        if not batch:
            return
        yield batch
