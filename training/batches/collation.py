"""From pairs of a video and a caption to the inputs of a training step."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate.utils import send_to_device
from torch.utils.data import Dataset

from dmae.modeling import DmaeProcessor
from dmae.modeling.encoding import Normalizer

from ..corpora import VideoSample
from .caption_edits import CaptionEditor, exchange_events
from .sampling import Pair
from .word_dropping import WordDropper


class Row(NamedTuple):
    """One row of a batch before it is collated: a video and what is said of it.

    frames: `(frames uint8 (F, 3, H, W), frame_mask (F,))`, or None where the video could not be read.
    wrong: captions made from this one that are wrong for the video; None where none are made in this run.
    twin: a further row of the same batch, if there is one.
    """

    sample: VideoSample
    caption: str
    frames: tuple[torch.Tensor, torch.Tensor] | None
    wrong: Sequence[str] | None = None
    twin: "Row | None" = None


def twin_of(row: Row) -> Row | None:
    """The row with its two events exchanged: in the caption, and in the frames, of which the second half comes first.
    It is right, and only order tells it from its twin. None where the caption tells of one event."""
    exchanged = exchange_events(row.caption)
    if exchanged is None or row.frames is None:
        return None
    return row._replace(caption=exchanged, frames=exchange_halves(*row.frames), wrong=row.wrong and ())


def exchange_halves(frames: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames `(F, …)` with those of the second half first; padding, where `mask` `(F,)` is 0, stays at the end."""
    count = int((mask > 0).sum())
    order = torch.cat([torch.arange(count // 2, count), torch.arange(count // 2), torch.arange(count, len(frames))])
    return frames[order], mask


@dataclass
class PairBatch:
    """One process's share of a batch.

    inputs: arguments of `DmaeModel.forward`, one row per pair; `pixel_values_videos` still as bytes. "wrong_texts",
        where the run makes any, are the inputs of the wrong captions.
    video_ids, captions: of each row.
    """

    inputs: dict
    video_ids: list[str]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.video_ids)


class PairDataset(Dataset):
    """Item `Pair(video, caption, epoch)` is a `Row` with the caption as shown in that epoch.

    Args:
        samples: the corpus.
        frames: a `FrameReader` or `FrameMemory` of it.
        word_dropper: drops words from captions where given.
        editor: makes wrong captions where given, `edits` of each (or fewer, where no more can be made).
        twins_from: the epoch from which on a row that tells of two events has a twin.
        seed: with the pair, decides which words are dropped or replaced.
    """

    def __init__(
        self,
        samples: Sequence[VideoSample],
        frames,
        word_dropper: WordDropper | None = None,
        editor: CaptionEditor | None = None,
        edits: int = 1,
        twins_from: float = math.inf,
        seed: int = 0,
    ):
        self.samples, self.frames, self.seed = samples, frames, seed
        self.word_dropper, self.editor, self.edits = word_dropper, editor, edits
        self.twins_from = twins_from

    def __getitem__(self, pair: Pair) -> Row:
        sample = self.samples[pair.video]
        caption = sample.captions[pair.caption]
        rng = random.Random(f"{self.seed} {tuple(pair)}")
        if self.word_dropper is not None:
            caption = self.word_dropper.drop(pair.video, caption, rng)
        wrong = None if self.editor is None else self.editor.edits(pair.video, caption, self.edits, rng)
        row = Row(sample, caption, self.frames[pair.video], wrong)
        return row._replace(twin=twin_of(row)) if pair.epoch >= self.twins_from else row


class Collator:
    """Rows to a `PairBatch`; a row whose video could not be read is left out.

    Captions are encoded once and kept, since an epoch repeats them; a batch is as long as its longest caption.

    Args:
        processor: encodes captions.
        fixed_length: pad every batch to `max_words`, as is always done where the text tower needs its full length.
            Shapes that never change suit `torch.compile`; only the number of wrong captions, where there are any,
            still does.
    """

    MOST_KEPT = 1_000_000

    def __init__(self, processor: DmaeProcessor, fixed_length: bool = False):
        self.processor, self.fixed_length = processor, fixed_length
        self.encoded: dict[str, dict[str, torch.Tensor]] = {}

    def __call__(self, rows: Sequence[Row]) -> PairBatch:
        rows = [*rows, *(row.twin for row in rows if row.twin is not None)]
        readable = [(row, row.frames) for row in rows if row.frames is not None]
        captions = [row.caption for row, _ in readable]
        wrong = [caption for row, _ in readable for caption in row.wrong or ()]
        texts = self.encode(captions + wrong)  # all of one length
        inputs: dict = {name: value[: len(captions)] for name, value in texts.items()}
        if any(row.wrong is not None for row, _ in readable):  # none in this batch is told too: see `gather_features`
            inputs["wrong_texts"] = {name: value[len(captions) :] for name, value in texts.items()}
        if readable:
            inputs["pixel_values_videos"] = torch.stack([frames for _, (frames, _) in readable])
            inputs["frame_mask"] = torch.stack([mask for _, (_, mask) in readable])
        return PairBatch(inputs, [row.sample.video_id for row, _ in readable], captions)

    def encode(self, captions: Sequence[str]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask`, `word_weights`, each (captions, tokens)."""
        unknown = list(dict.fromkeys(caption for caption in captions if caption not in self.encoded))
        if unknown:
            if len(self.encoded) > self.MOST_KEPT:
                self.encoded.clear()
                unknown = list(dict.fromkeys(captions))
            batch = self.processor(text=unknown, padding="max_length", return_tensors="pt")
            for row, caption in enumerate(unknown):
                self.encoded[caption] = {name: value[row].clone() for name, value in batch.items()}
        kept = [self.encoded[caption] for caption in captions]
        if not kept:
            return {}
        inputs = {name: torch.stack([item[name] for item in kept]) for name in kept[0]}
        if self.fixed_length or self.processor.pad_to:
            return inputs
        longest = int(inputs["attention_mask"].sum(dim=1).max())
        return {name: value[:, :longest] for name, value in inputs.items()}


def to_device(inputs: dict, device: torch.device, normalize: Normalizer) -> dict:
    """What forward takes: everything on the device, frames as normalised floats."""
    inputs = send_to_device(inputs, device, non_blocking=True)
    if inputs["pixel_values_videos"].dtype == torch.uint8:
        inputs["pixel_values_videos"] = normalize(inputs["pixel_values_videos"])
    return inputs
