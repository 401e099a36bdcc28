"""The frames of training videos as bytes: decoded when asked for, or once and kept."""

import logging
import signal
from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from dmae.modeling import DmaeError, DmaeVideoProcessor, VideoFrames, read_frames
from dmae.modeling.frame_loader import FrameLoader

from ..corpora import CorpusError, VideoSample

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

    def __init__(
        self, samples: Sequence[VideoSample], video_processor: DmaeVideoProcessor, num_workers: int, progress: bool
    ):
        loader = FrameLoader(
            [sample.video for sample in samples],
            video_processor,
            windows=[(sample.start, sample.end) for sample in samples],
            workers=num_workers,
        )
        self.frames = self.mask = None
        self.readable = [False] * len(samples)
        for video in tqdm(loader, desc="decode", unit="video", disable=not progress):
            if video.frames is None:
                logger.warning("left out: %s", video.error)
                continue
            frames, mask = resized_and_cropped(video.frames, video_processor)
            if self.frames is None:
                self.frames = frames.new_empty(len(samples), *frames.shape)
                self.mask = mask.new_empty(len(samples), *mask.shape)
            self.frames[video.index], self.mask[video.index] = frames, mask
            self.readable[video.index] = True
        if not any(self.readable):
            raise CorpusError(f"none of the {len(samples)} training videos can be decoded")

    def __len__(self) -> int:
        return len(self.readable)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        return (self.frames[index], self.mask[index]) if self.readable[index] else None


def read_video(sample: VideoSample, video_processor: DmaeVideoProcessor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """`(frames uint8 (F, 3, H, W), frame_mask (F,))`, or None and a warning where the file cannot be read."""
    try:
        options = video_processor.read_options
        frames = read_frames(sample.video, start=sample.start, end=sample.end, threads=1, **options)
    except DmaeError as error:
        logger.warning("left out: %s", error)
        return None
    return resized_and_cropped(frames, video_processor)


def resized_and_cropped(frames: VideoFrames, video_processor: DmaeVideoProcessor) -> tuple[torch.Tensor, torch.Tensor]:
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
