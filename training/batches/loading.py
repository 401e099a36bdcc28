"""Batches of a training run: a corpus or a stream, this process's share, from any position on."""

import logging
import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from operator import attrgetter
from typing import cast

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers.image_utils import SizeDict

from dmae.modeling import DmaeProcessor, DmaeVideoProcessor

from ..config import ConfigError, TrainConfig
from ..corpora import CorpusError, load_samples
from .cache_settings import differences
from .caption_edits import CaptionEditor
from .collation import Collator, PairBatch, PairDataset, Row
from .frame_source import FrameMemory, FrameReader, leave_signals_to_parent, read_video
from .frames import CachedFrames
from .sampling import PairBatchSampler, unique_batches
from .word_dropping import WordDropper

logger = logging.getLogger(__name__)


def make_batches(config: TrainConfig, processor: DmaeProcessor, accelerator: Accelerator):
    """`CorpusBatches` or `StreamBatches`, as the configuration asks.

    Raises:
        CorpusError / ConfigError: the corpus is missing, empty, or too small for the processes or the batch.
    """
    share = {"process_index": accelerator.process_index, "num_processes": accelerator.num_processes}
    samples = load_samples(
        config.dataset,
        config.train_split,
        videos=config.videos,
        annotations=config.annotations,
        missing=config.missing,
        sentence_order=config.sentence_order,
        streaming=config.streaming,
        **(share if config.streaming else {}),
    )
    if processor.word_weighting == "idf" and processor.token_frequencies is None:
        if config.streaming:
            raise ConfigError("word_weighting=idf counts all captions first, which a stream has not: streaming=false")
        processor.learn_idf(caption for sample in samples for caption in sample.captions)
    collate = Collator(processor, fixed_length=config.compile)
    if config.streaming:
        return StreamBatches(samples, collate, config, accelerator.num_processes)
    return CorpusBatches(list(samples), collate, config, accelerator)


class CorpusBatches:
    """Batches of a corpus that fits in a list."""

    def __init__(self, samples: list, collate: Collator, config: TrainConfig, accelerator: Accelerator):
        self.samples = samples
        self.sampler = PairBatchSampler(
            [len(sample.captions) for sample in samples],
            config.batch_size,
            epoch_over=config.epoch_over,
            consecutive=config.consecutive,
            drop_last=config.drop_last,
            seed=config.seed,
            process_index=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
        show = config.progress and accelerator.is_main_process
        self.frames = make_frames(samples, collate.processor.video_processor, config, show)
        captions = [sample.captions for sample in samples]
        dropper = WordDropper(captions) if config.word_dropping else None
        # A twin already is what an exchange of the caption's events would make a wrong copy of.
        shares = {"exchange_share": 0.0} if config.event_twins else {}
        editor = CaptionEditor(captions, **shares) if config.caption_edits else None
        self.loader = DataLoader(
            PairDataset(
                samples, self.frames, dropper, editor, config.caption_edits, self._twins_from(config), config.seed
            ),
            batch_sampler=self.sampler,
            collate_fn=collate,
            num_workers=0 if isinstance(self.frames, FrameMemory) else config.num_workers,
            worker_init_fn=leave_signals_to_parent,
            pin_memory=accelerator.device.type == "cuda",
            # Its own, or starting an epoch would draw from the global state, which a resumed run must find unchanged.
            generator=torch.Generator(),
        )

    def _twins_from(self, config: TrainConfig) -> float:
        """The first epoch of the last share `event_twins` of them, `max_steps` counted in epochs."""
        batches = len(self.sampler.plan(0))
        if not config.event_twins or not batches:
            return math.inf
        steps = config.max_steps and config.max_steps * config.gradient_accumulation_steps
        return (1 - config.event_twins) * (steps / batches if steps else config.epochs)

    def total(self, epochs: int, group: int) -> int:
        """Optimizer steps in `epochs`, `group` batches each."""
        return sum(math.ceil(len(self.sampler.plan(epoch)) / group) for epoch in range(epochs))

    def epoch(self, epoch: int, start: int) -> Iterator[PairBatch]:
        """The batches of an epoch from number `start` on."""
        if not self.sampler.plan(epoch):
            raise CorpusError(
                f"no batch of {self.sampler.batch_size} different videos can be made: set drop_last=false"
            )
        self.sampler.epoch, self.sampler.start = epoch, start
        if isinstance(self.frames, CachedFrames):
            self.frames.set_epoch(epoch)
        return iter(self.loader)


def make_frames(samples: list, video_processor: DmaeVideoProcessor, config: TrainConfig, progress: bool):
    """Where frames come from, by `cache_frames`: the files, memory, or a folder of `dmae frames`."""
    if config.cache_frames == "none":
        return FrameReader(samples, video_processor)
    if config.cache_frames == "memory":
        return FrameMemory(samples, video_processor, config.num_workers, progress)
    frames = CachedFrames(config.cache_frames, samples, random_segments=config.random_frames, seed=config.seed)
    theirs = {name: getattr(frames.settings, name) for name in ("num_frames", "sampling", "size", "squashed")}
    ours = {name: getattr(video_processor, name) for name in ("num_frames", "sampling")}
    size, crop_size = cast(SizeDict, video_processor.size), cast(SizeDict, video_processor.crop_size)
    squashed = size.height is not None
    ours["size"] = size.height if squashed else crop_size.height
    ours["squashed"] = squashed and size.height == size.width
    if ours != theirs:
        raise ConfigError(
            f"cache_frames={config.cache_frames} has other settings ({differences(theirs, ours)}): make one for this "
            "run with `dmae frames`, or set what differs as it is there"
        )
    return frames


class StreamBatches:
    """Batches of this process's share of a stream, which begins anew, in another order, whenever it ends: one epoch
    without an end. Words are not dropped, since their weights need the whole corpus."""

    def __init__(self, stream, collate: Collator, config: TrainConfig, num_processes: int):
        if config.batch_size < 2 * num_processes:
            raise ConfigError(f"batch_size={config.batch_size} is less than 2 for each of {num_processes} processes")
        self.stream = stream.shuffle(config.seed, config.shuffle_buffer) if hasattr(stream, "shuffle") else stream
        self.collate, self.config = collate, config
        self.share = config.batch_size // num_processes
        for name in ("word_dropping", "caption_edits", "event_twins"):
            if getattr(config, name):
                logger.warning("%s has no effect on a stream: it needs the whole corpus", name)

    def epoch(self, epoch: int, start: int) -> Iterator[PairBatch]:
        """The batches from number `start` on; those before are passed over without decoding."""
        with ThreadPoolExecutor(max(1, self.config.num_workers)) as pool:
            for samples in islice(self._shares(), start, None):
                yield self.collate(list(pool.map(self._row, samples)))

    def _shares(self) -> Iterator[list]:
        number = 0
        while True:
            if hasattr(self.stream, "set_epoch"):
                self.stream.set_epoch(number)
            found = False
            for batch in unique_batches(self.stream, self.share, key=attrgetter("video_id")):
                if len(batch) == self.share:
                    found = True
                    yield [(sample, number) for sample in batch]
            if not found:
                raise CorpusError(f"the stream has fewer than {self.share} videos for a process: lower batch_size")
            number += 1

    def _row(self, numbered) -> Row:
        sample, number = numbered
        # Seeded by a text: the same in every process and every run.
        caption = random.Random(f"{self.config.seed} {number} {sample.video_id}").choice(sample.captions)
        return Row(sample, caption, read_video(sample, self.collate.processor.video_processor))
