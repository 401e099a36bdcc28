"""The last step of the video processor, on the device: bytes to the floats that a model takes."""

import torch


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
