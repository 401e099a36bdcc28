"""Arrays as callers give them."""

import numpy as np
import torch

from .errors import VideoIndexError


def as_tensor(values, name: str) -> torch.Tensor:
    """A caller's numbers (numpy, torch or nested lists, of any layout) as a tensor on the CPU."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu()
    try:
        return torch.from_numpy(np.require(values, requirements=("C", "W")))
    except (TypeError, ValueError):
        raise VideoIndexError(
            f"{name} must be an array of numbers (numpy or torch), got {type(values).__name__} {values!r:.60}"
        ) from None
