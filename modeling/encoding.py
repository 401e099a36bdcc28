"""The one way from texts and videos to their features, for search, indexing and evaluation alike.

Pixels travel as bytes; the last step of the video processor, to the floats that a model takes, is done on the device.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .errors import InputError
from .features import TextFeatures, VideoFeatures

TEXT_BATCH = 256
VIDEO_BATCH = 16


@contextmanager
def inference(model: torch.nn.Module) -> Iterator[None]:
    """No gradients and no dropout; the model is given back in the mode in which it came."""
    training = model.training
    if training:  # else it is left alone: to walk through its modules takes as long as some batches
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if training:
            model.train()


def encode_texts(
    model, processor, texts: Sequence[str], *, batch_size: int = TEXT_BATCH, done: Callable[[int], Any] | None = None
) -> TextFeatures:
    """Features of texts in their order, words padded to the longest, on the CPU in float32.

    Args:
        model, processor: a `DmaeModel`, on the device that it shall run on, and its `DmaeProcessor`.
        texts: A non-empty strings.
        batch_size: texts encoded at once.
        done: called after each batch with the number of texts in it, for a progress bar.

    Raises:
        ValueError: there is no text, or one is empty.
    """
    if not len(texts):
        raise InputError("there is no text to encode: give at least one")
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # batches of one length pad little
    batches = []
    with inference(model):
        for start in range(0, len(texts), batch_size):
            chosen = [texts[index] for index in by_length[start : start + batch_size]]
            inputs = processor(text=chosen, return_tensors="pt").to(model.device)
            batches.append(model.get_text_features(**inputs).to("cpu", torch.float32))
            if done is not None:
                done(len(chosen))
    return TextFeatures.cat(batches)[torch.tensor(by_length).argsort()]


def encode_videos(model, processor, videos: Sequence[Any], *, batch_size: int = VIDEO_BATCH) -> VideoFeatures:
    """Features of videos in their order, frames padded to the longest, on the CPU in float32.

    Args:
        videos: B of anything that the processor takes: `VideoFrames`, paths, bytes, arrays.
        batch_size: videos encoded at once.

    Raises:
        ValueError: there is no video. VideoDecodeError: one cannot be read.
    """
    if not len(videos):
        raise InputError("there is no video to encode: give at least one")
    batches, normalize = [], Normalizer(processor.video_processor)
    with inference(model):
        for start in range(0, len(videos), batch_size):
            chosen = list(videos[start : start + batch_size])
            inputs = processor.video_processor(chosen, do_rescale=False, do_normalize=False, return_tensors="pt")
            inputs = inputs.to(model.device)  # as bytes
            inputs["pixel_values_videos"] = normalize(inputs["pixel_values_videos"])
            batches.append(model.get_video_features(**inputs).to("cpu", torch.float32))
    return VideoFeatures.cat(batches)


class Normalizer:
    """Rescales and normalises frames in one pass where they are: bytes are a quarter of the floats to keep, to send
    between processes and to copy to a device.

    Args:
        video_processor: the `DmaeVideoProcessor` whose `do_rescale` and `do_normalize` this does.
    """

    def __init__(self, video_processor):
        mean = torch.tensor(video_processor.image_mean if video_processor.do_normalize else [0.0] * 3)
        std = torch.tensor(video_processor.image_std if video_processor.do_normalize else [1.0] * 3)
        factor = video_processor.rescale_factor if video_processor.do_rescale else 1.0
        self.scale, self.shift = (factor / std).view(3, 1, 1), (-mean / std).view(3, 1, 1)

    def __call__(self, frames: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """`(..., 3, H, W)` of any type to float32, into `out` where that is given."""
        scale, shift = self.scale.to(frames.device), self.shift.to(frames.device)
        return torch.mul(frames, scale, out=out).add_(shift)


def cropped_bytes(frames, video_processor) -> tuple[torch.Tensor, torch.Tensor]:
    """One video as the video processor resizes and crops it, not yet normalised: `(F, 3, H, W)` uint8, `(F,)` mask."""
    processed = video_processor([frames], do_rescale=False, do_normalize=False, return_tensors="pt")
    return processed["pixel_values_videos"][0], processed["frame_mask"][0]
