"""`DmaeVideoProcessor`: any video in, `pixel_values_videos` and `frame_mask` out, without torchvision."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.image_utils import get_image_size_for_max_height_width as fit_inside
from transformers.processing_utils import VideosKwargs
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.video_processing_utils import BaseVideoProcessor

from .errors import InputError
from .picture_reading import upright_rgb
from .video_pixels import resize, shortest_edge_size
from .video_reading import VideoFrames, read_frames
from .video_source import is_video_source

FILTERS = {PILImageResampling.BILINEAR: "bilinear", PILImageResampling.BICUBIC: "bicubic"}


class DmaeVideoKwargs(VideosKwargs, total=False):
    """What `transformers` knows, and `sampling`: `"midpoints"` or `"per_second"`, see `read_frames`."""

    sampling: str | None


class DmaeVideoProcessor(BaseVideoProcessor):
    """Reads, samples, resizes and normalises videos as CLIP's image processor does each frame.

    `processor(videos, return_tensors="pt")` takes one video or a list of them. A video is a path, the bytes of a file,
    a binary file, a `datasets` row (`{"path": ..., "bytes": ...}`), `VideoFrames`, an array or tensor (F, H, W, 3) or
    (F, 3, H, W), or a list of PIL images. It returns `pixel_values_videos`, float32 (B, F, 3, H, W), and `frame_mask`,
    int64 (B, F), 0 where a video has no frame. F is `num_frames`, or the longest video's with `do_sample_frames=False`
    where that is more.

    Raises `VideoDecodeError`, naming the file, where one of the videos cannot be read; `FrameLoader` reads on past it.
    """

    valid_kwargs = DmaeVideoKwargs
    model_input_names: ClassVar = ["pixel_values_videos", "frame_mask"]
    do_sample_frames = True
    num_frames = 12
    sampling = "midpoints"
    do_convert_rgb = True
    do_resize = True
    size: ClassVar = {"shortest_edge": 224}
    default_to_square = False
    resample = PILImageResampling.BICUBIC
    do_center_crop = True
    crop_size: ClassVar = {"height": 224, "width": 224}
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD

    @property
    def read_options(self) -> dict[str, Any]:
        """What to give `read_frames` so that its frames need no resizing here."""
        edges: Any = self.size  # a SizeDict since the processor was made
        direct = self.do_resize and edges.shortest_edge and not edges.longest_edge
        size = edges.shortest_edge if direct and FILTERS.get(self.resample) == "bicubic" else None
        return {"num_frames": self.num_frames, "sampling": self.sampling, "size": size}

    def _decode_and_sample_videos(
        self,
        videos: Any,
        video_metadata: Any = None,
        do_sample_frames: bool | None = None,
        sample_indices_fn: Callable | None = None,
    ) -> tuple[list[torch.Tensor], list[dict]]:
        asked = sample_indices_fn.keywords if sample_indices_fn is not None else {}
        videos = _as_batch(videos)
        described = video_metadata if isinstance(video_metadata, list) else [video_metadata] * len(videos)
        decoded, metadata = [], []
        for video, known in zip(videos, described, strict=True):
            if is_video_source(video):
                video = self._read_as_asked(video, asked)
            frames, moments = self._sample(video, known, asked, bool(do_sample_frames))
            decoded.append(frames)
            metadata.append(moments)
        return decoded, metadata

    def _read_as_asked(self, source: Any, asked: Mapping) -> VideoFrames:
        options = {name: asked[name] for name in ("num_frames", "sampling") if asked.get(name) is not None}
        same_resizing = all(asked.get(name) == getattr(self, name) for name in ("do_resize", "size", "resample"))
        if asked and not same_resizing:
            options["size"] = None
        return read_frames(source, **{**self.read_options, **options})

    def _sample(self, video: Any, known: Any, asked: Mapping, do_sample: bool) -> tuple[torch.Tensor, dict]:
        """The chosen frames, (F, 3, H, W), and where in the video they come from."""
        fps = getattr(video, "fps", None) or (
            known.get("fps") if isinstance(known, Mapping) else getattr(known, "fps", None)
        )
        times = video.timestamps if isinstance(video, VideoFrames) else None
        duration = video.duration if isinstance(video, VideoFrames) else None
        frames = _as_tensor(video)
        num_frames = asked.get("num_frames") or self.num_frames
        sampling = asked.get("sampling") or self.sampling
        already_sampled = isinstance(video, VideoFrames) and len(frames) <= num_frames
        if do_sample and not (already_sampled and (sampling == "per_second" or len(frames) == num_frames)):
            chosen = _indices(len(frames), num_frames, sampling, None if isinstance(video, VideoFrames) else fps)
            frames, times = frames[chosen], None if times is None else times[chosen]
        if times is None and fps and not do_sample:
            times = np.arange(len(frames)) / fps
        return frames, {"fps": fps, "duration": duration, "timestamps": times}

    def convert_to_rgb(self, video: torch.Tensor) -> torch.Tensor:
        if video.shape[1] == 1:
            return video.expand(-1, 3, -1, -1)
        return video[:, :3]

    def _prepare_input_videos(self, videos, do_convert_rgb=None, input_data_format=None, device=None):
        return super()._prepare_input_videos(videos, do_convert_rgb, input_data_format or "channels_first", device)

    def _preprocess(
        self,
        videos: list[torch.Tensor],
        do_resize: bool,
        size: SizeDict,
        resample: Any,
        do_center_crop: bool,
        crop_size: SizeDict,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: Any,
        image_std: Any,
        num_frames: int | None = None,
        return_tensors: Any = None,
        **kwargs,
    ) -> BatchFeature:
        processed = []
        for video in videos:
            if do_resize:
                video = resize(video, _target_size(video, size), FILTERS.get(resample, "bicubic"))
            if do_center_crop:
                video = _center_crop(video, crop_size)
            processed.append(
                self.rescale_and_normalize(video, do_rescale, rescale_factor, do_normalize, image_mean, image_std)
            )
        length = max([num_frames or 0, *map(len, processed)])
        mask = torch.tensor([[int(index < len(video)) for index in range(length)] for video in processed])
        padded = [torch.nn.functional.pad(video, (0,) * 7 + (length - len(video),)) for video in processed]
        return BatchFeature({"pixel_values_videos": padded, "frame_mask": mask}, tensor_type=return_tensors)

    def normalize(self, image: torch.Tensor, mean, std, inplace: bool = False, **kwargs) -> torch.Tensor:
        mean, std = (torch.as_tensor(value, device=image.device).view(-1, 1, 1) for value in (mean, std))
        return (image - mean) / std


def _as_batch(videos: Any) -> list:
    """A list of videos, from one video or a list of them; a list of pictures is one video."""
    if is_video_source(videos) or isinstance(videos, VideoFrames):
        return [videos]
    if isinstance(videos, np.ndarray | torch.Tensor):
        return list(videos) if videos.ndim == 5 else [videos]
    if not isinstance(videos, list | tuple) or not len(videos):
        raise InputError(f"expected a video or a non-empty list of videos, not {type(videos).__name__}")
    first = videos[0]
    is_picture = isinstance(first, Image.Image) or getattr(first, "ndim", None) in (2, 3)
    return [list(videos)] if is_picture else list(videos)


def _as_tensor(video: Any) -> torch.Tensor:
    """(F, C, H, W) of uint8 or floats, from arrays, pictures or read frames."""
    if isinstance(video, VideoFrames):
        video = video.frames
    if isinstance(video, list | tuple):
        if not video:
            raise InputError("a video given as a list of pictures needs at least one picture")
        video = np.stack([np.asarray(upright_rgb(p)) if isinstance(p, Image.Image) else np.asarray(p) for p in video])
    if isinstance(video, np.ndarray):
        video = torch.from_numpy(np.ascontiguousarray(video))
    if not isinstance(video, torch.Tensor) or video.ndim != 4 or not len(video):
        shape = tuple(getattr(video, "shape", ()))
        raise InputError(f"expected frames of shape (F, H, W, 3) or (F, 3, H, W), not {type(video).__name__} {shape}")
    return video.permute(0, 3, 1, 2) if video.shape[-1] in (1, 3, 4) else video


def _indices(available: int, num_frames: int, sampling: str, fps: float | None) -> np.ndarray:
    """Which of `available` frames a sampling takes; without a rate, `per_second` takes them for one per second."""
    if sampling == "midpoints":
        return (2 * np.arange(num_frames) + 1) * available // (2 * num_frames)
    seconds = np.arange(available) if not fps else np.floor(np.arange(0, available / fps) * fps + 1e-6).astype(int)
    return seconds if len(seconds) <= num_frames else seconds[np.linspace(0, len(seconds) - 1, num_frames, dtype=int)]


def _target_size(video: torch.Tensor, size: SizeDict) -> tuple[int, int]:
    height, width = video.shape[-2:]
    if size.shortest_edge:
        return shortest_edge_size(height, width, size.shortest_edge)
    if size.height and size.width:
        return size.height, size.width
    if size.max_height and size.max_width:
        return fit_inside((height, width), size.max_height, size.max_width)
    raise InputError(
        f"size needs 'shortest_edge', or 'height' and 'width', or 'max_height' and 'max_width'; got {size}"
    )


def _center_crop(video: torch.Tensor, size: SizeDict) -> torch.Tensor:
    """The middle of each frame, with black around frames that are smaller."""
    height, width = video.shape[-2:]
    wanted_h, wanted_w = size.height or height, size.width or width
    missing_h, missing_w = max(wanted_h - height, 0), max(wanted_w - width, 0)
    if missing_h or missing_w:
        around = (missing_w // 2, missing_w - missing_w // 2, missing_h // 2, missing_h - missing_h // 2)
        video = torch.nn.functional.pad(video, around)
        height, width = video.shape[-2:]
    top, left = (height - wanted_h) // 2, (width - wanted_w) // 2
    return video[..., top : top + wanted_h, left : left + wanted_w]


DmaeVideoProcessor.register_for_auto_class("AutoVideoProcessor")
