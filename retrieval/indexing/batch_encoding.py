"""From decoded videos to embeddings, with everything that can run beside the model running beside it.

The decoding processes hand over cropped bytes, a thumbnail and the file's digest. This process only puts the bytes of
several videos together; they become normalised floats on the device. On an accelerator a batch is copied and encoded
while the next one is put together.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from dmae.modeling.encoding import Normalizer, cropped_bytes, inference
from dmae.modeling.video_reading import VideoFrames

from ..storage.rows import VideoFile
from .corpus import CorpusFile
from .file_details import make_thumbnail, state_of


class DecodedVideo(NamedTuple):
    """What a decoding process hands over.

    Attributes:
        pixels: `(F, 3, H, W)` uint8, resized and cropped.
        times: seconds of the F frames; plain numbers, since each tensor between processes is a file to open.
        details: what the index keeps of the file, as the fields of `VideoFile`.
        warnings: what was not as it should be with the file.
    """

    pixels: torch.Tensor
    times: list[float]
    details: dict
    warnings: Sequence[str] = ()


class EncodedVideo(NamedTuple):
    """One video on its way into the table: `(F, D)` embeddings, `(F,)` weights and seconds, and its file."""

    file: CorpusFile
    frame_embeds: torch.Tensor
    frame_weights: torch.Tensor
    frame_times: torch.Tensor
    details: VideoFile


class Preparation:
    """What a decoding process does beside decoding, as `FrameLoader`'s `prepare`.

    Args:
        files: what is decoded, by position. longest: seconds; of a longer video only its duration is told.
    """

    def __init__(self, files: Sequence[CorpusFile], video_processor, longest: float = math.inf):
        self.files, self.video_processor, self.longest = files, video_processor, longest

    def __call__(self, position: int, frames: VideoFrames) -> DecodedVideo:
        if frames.duration > self.longest:
            return DecodedVideo(torch.zeros(0, dtype=torch.uint8), [], {"duration": float(frames.duration)})
        file, middle = self.files[position], frames.frames[len(frames.frames) // 2]
        pixels, mask = cropped_bytes(frames, self.video_processor)
        details = {"path": file.path, "duration": float(frames.duration), "thumbnail": make_thumbnail(middle)}
        count = int(mask.sum())
        times = frames.timestamps[:count].tolist()
        return DecodedVideo(pixels[:count], times, details | state_of(file), frames.warnings)


class BatchEncoder:
    """Encodes videos in batches of about as many frames.

    It holds two batches of bytes (pinned where the device is CUDA) and, on the CPU, one of floats.

    Args:
        frames: in a batch, padding included; a longer video is a batch of its own.
    """

    def __init__(self, model, processor, frames: int):
        self.model = model
        self.frames = frames
        self.device = torch.device(model.device)
        self._normalize = Normalizer(processor.video_processor)
        self._bytes: list[torch.Tensor | None] = [None, None]
        self._floats: torch.Tensor | None = None
        self._copying = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def __call__(self, items: Iterable[tuple[CorpusFile, DecodedVideo]]) -> Iterator[list[EncodedVideo]]:
        """The videos of each batch, in order."""
        started = None
        for number, batch in enumerate(self._batches(items)):
            waiting, started = started, self._start(batch, number % 2)
            if waiting is not None:
                yield self._finish(*waiting)
        if started is not None:
            yield self._finish(*started)

    def _batches(self, items) -> Iterator[list[tuple[CorpusFile, DecodedVideo]]]:
        batch, longest = [], 0
        for item in items:
            longest = max(longest, len(item[1].times))
            if batch and longest * (len(batch) + 1) > self.frames:
                yield batch
                batch, longest = [], len(item[1].times)
            batch.append(item)
        if batch:
            yield batch

    def _start(self, batch, slot: int):
        """Puts a batch on its way; the result may not be there yet."""
        pixels, mask = self._gather([video for _, video in batch], slot)
        with inference(self.model):
            if self._copying is None:
                features = self.model.get_video_features(self._floats_of(pixels), mask)
                return batch, features.to("cpu", torch.float32), None
            with torch.cuda.stream(self._copying):
                pixels = pixels.to(self.device, non_blocking=True)
                mask = mask.to(self.device, non_blocking=True)
            compute = torch.cuda.current_stream(self.device)
            compute.wait_stream(self._copying)
            pixels.record_stream(compute)
            mask.record_stream(compute)
            features = self.model.get_video_features(self._normalize(pixels), mask).to(dtype=torch.float32)
            features = type(features)(*(part.to("cpu", non_blocking=True) for part in features))
            done = torch.cuda.Event()
            done.record(compute)
        return batch, features, done

    def _finish(self, batch, features, done) -> list[EncodedVideo]:
        if done is not None:
            done.synchronize()
        found = []
        for row, (file, video) in enumerate(batch):
            count = len(video.times)
            embeds, weights = features.frame_embeds[row, :count], features.frame_mask[row, :count]
            found.append(
                EncodedVideo(
                    file, embeds, weights, torch.tensor(video.times, dtype=torch.float64), VideoFile(**video.details)
                )
            )
        return found

    def _gather(self, videos: Sequence[DecodedVideo], slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`(B, F, 3, H, W)` uint8 in a buffer that is used again, `(B, F)` mask."""
        longest = max(len(video.times) for video in videos)
        shape = (len(videos), longest, *videos[0].pixels.shape[1:])
        size = torch.Size(shape).numel()
        buffer = self._bytes[slot]
        if buffer is None or buffer.numel() < size:
            largest = max(size, self.frames * torch.Size(shape[2:]).numel())
            buffer = torch.empty(largest, dtype=torch.uint8, pin_memory=self._copying is not None)
            self._bytes[slot] = buffer
        pixels, mask = buffer[:size].view(shape), torch.zeros(shape[:2], dtype=torch.long)
        target = pixels.numpy()  # torch would wake its threads for each copy, which cost more than they save
        for row, video in enumerate(videos):
            count = len(video.times)
            target[row, :count] = video.pixels.numpy()
            target[row, count:] = 0
            mask[row, :count] = 1
        return pixels, mask

    def _floats_of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised, on the device; on the CPU in a buffer that is used again."""
        if self.device.type != "cpu":
            return self._normalize(pixels.to(self.device))
        if self._floats is None or self._floats.numel() < pixels.numel():
            self._floats = torch.empty(max(pixels.numel(), self.frames * pixels[0, 0].numel()))
        return self._normalize(pixels, out=self._floats[: pixels.numel()].view(pixels.shape))
