"""The frames of training videos as bytes: decoded when asked for, or once and kept."""

import logging
import signal
from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from dmae.modeling import DmaeError, DmaeVideoProcessor, read_frames
from dmae.modeling.encoding import cropped_bytes
from dmae.modeling.frame_loader import FrameLoader, end_with_parent

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
        frames_of_all = mask_of_all = None
        self.readable = [False] * len(samples)
        for video in tqdm(loader, desc="decode", unit="video", disable=not progress):
            if video.frames is None:
                logger.warning("left out: %s", video.error)
                continue
            frames, mask = cropped_bytes(video.frames, video_processor)
            if frames_of_all is None or mask_of_all is None:
                frames_of_all = frames.new_empty(len(samples), *frames.shape)
                mask_of_all = mask.new_empty(len(samples), *mask.shape)
            frames_of_all[video.index], mask_of_all[video.index] = frames, mask
            self.readable[video.index] = True
        if frames_of_all is None or mask_of_all is None:
            raise CorpusError(f"none of the {len(samples)} training videos can be decoded")
        self.frames, self.mask = frames_of_all, mask_of_all

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
    return cropped_bytes(frames, video_processor)


def leave_signals_to_parent(worker: int) -> None:
    """A terminal sends Ctrl-C to worker processes too; only the parent decides when they end."""
    end_with_parent(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
