"""The largest inverse temperature that training may reach, CLIP's."""

import torch

MAX_LOGIT_SCALE = 100.0


class CappedScale(torch.autograd.Function):
    """`min(scale, 100)`. At the cap the gradient still lowers the scale; a clamp's would be 0 and hold it for good."""

    @staticmethod
    def forward(ctx, scale: torch.Tensor) -> torch.Tensor:
        ctx.at_cap = scale >= MAX_LOGIT_SCALE
        return scale.clamp(max=MAX_LOGIT_SCALE)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return torch.where(ctx.at_cap, gradient.clamp(min=0), gradient)
