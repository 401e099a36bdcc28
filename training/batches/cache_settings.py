"""What a frame cache holds of each video."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmae.modeling import InputError


@dataclass(frozen=True)
class CacheSettings:
    """What a frame cache holds of each video.

    Args:
        num_frames: frames of a training example.
        candidates: frames kept of each segment, evenly spread, to draw one from at random; odd, so that one of them
            is the segment's middle. 1 with `sampling="per_second"`.
        size: side of the square frames, in pixels: the shortest edge is resized to it and the middle cropped.
        squashed: the whole picture is resized to the square instead, whatever its shape, as SigLIP's are.
        sampling: `"midpoints"` or `"per_second"`, as `read_frames` has it.
    """

    num_frames: int = 12
    candidates: int = 3
    size: int = 224
    sampling: str = "midpoints"
    squashed: bool = False

    def __post_init__(self):
        if self.num_frames < 1 or self.size < 1 or self.candidates < 1 or self.candidates % 2 == 0:
            raise InputError("num_frames and size must be positive, candidates positive and odd")
        if self.sampling == "per_second" and self.candidates != 1:
            raise InputError('sampling="per_second" has no segments to draw from: use candidates=1')


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """In words in what two settings differ: `size=224 there, 112 here`."""
    return ", ".join(f"{name}={theirs[name]} there, {ours[name]} here" for name in ours if theirs[name] != ours[name])
