"""The frames of training videos as bytes: decoded when asked for, or once and kept."""

import logging
import signal
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from dmae.modeling import DmaeVideoProcessor, VideoDecodeError

from .corpora import CorpusError, VideoSample

logger = logging.getLogger(__name__)


class FrameReader(torch.utils.data.Dataset):
    """Item i is `(frames uint8 (F, 3, H, W), frame_mask (F,))` of video i, resized and cropped, not yet normalised.

    Bytes are a quarter of the floats to keep and to send between processes; `Normalizer` makes them floats on the
    device. A video that cannot be read gives None and one warning.
    """

    def __init__(self, samples: Sequence[VideoSample], video_processor: DmaeVideoProcessor):
        self.samples, self.video_processor = samples, video_processor

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        return read_video(self.samples[index], self.video_processor)


class FrameMemory(torch.utils.data.Dataset):
    """As `FrameReader`, with every video decoded once, at the start, by `num_workers` processes."""

    def __init__(self, reader: FrameReader, num_workers: int, progress: bool):
        loader = DataLoader(
            reader,
            batch_size=None,
            num_workers=num_workers,
            worker_init_fn=leave_signals_to_parent,
            generator=torch.Generator(),
        )
        self.items = []
        self.frames = self.mask = None
        for index, item in enumerate(tqdm(loader, desc="decode", unit="video", disable=not progress)):
            if item is not None and self.frames is None:
                self.frames = torch.empty(len(reader), *item[0].shape, dtype=torch.uint8)
                self.mask = torch.empty(len(reader), *item[1].shape, dtype=item[1].dtype)
            if item is not None:
                self.frames[index], self.mask[index] = item
            self.items.append(item is not None)
        if not any(self.items):
            raise CorpusError(f"none of the {len(reader)} training videos can be decoded")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        return (self.frames[index], self.mask[index]) if self.items[index] else None


def read_video(sample: VideoSample, video_processor: DmaeVideoProcessor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """`(frames uint8 (F, 3, H, W), frame_mask (F,))`, or None and a warning where the file cannot be read."""
    try:
        frames = video_processor.read(sample.video, start=sample.start, end=sample.end, threads=1)
    except (VideoDecodeError, ValueError) as error:
        logger.warning("left out: %s", error)
        return None
    processed = video_processor([frames], do_rescale=False, do_normalize=False, return_tensors="pt")
    return processed["pixel_values_videos"][0], processed["frame_mask"][0]


def leave_signals_to_parent(_: int) -> None:
    """A terminal sends Ctrl-C to worker processes too; only the parent decides when they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Normalizer:
    """What the video processor does last: bytes to normalised floats, in one pass on the frames' device."""

    def __init__(self, video_processor: DmaeVideoProcessor):
        mean = torch.tensor(video_processor.image_mean if video_processor.do_normalize else [0.0] * 3)
        std = torch.tensor(video_processor.image_std if video_processor.do_normalize else [1.0] * 3)
        factor = video_processor.rescale_factor if video_processor.do_rescale else 1.0
        self.scale, self.shift = (factor / std).view(3, 1, 1), (-mean / std).view(3, 1, 1)

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        scale, shift = self.scale.to(frames.device), self.shift.to(frames.device)
        return torch.addcmul(shift, frames.float(), scale)
