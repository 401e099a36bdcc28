"""Token shift: patches of a frame see those of its neighbours, without a parameter (method.md, "Provenance").

In the attention of the vision tower's last two layers, one patch token in each seventh of the picture comes whole from
the frame before, another one from the frame after, as in TS2-Net (arXiv:2207.07852) and its code. What attention gives
is added to the frame's own tokens; a frame without that neighbour keeps its own; the class token is never touched.
"""

from typing import Any

import torch

LAYERS = 2
STEPS = 7  # of the same neighbour's tokens in a picture
APART = 3  # positions between a token of the frame before and one of the frame after


def add_token_shift(tower: Any) -> None:
    """Makes a vision tower with a class token take `neighbours`, beside its own arguments, and shift by them."""
    layers = tower.encoder.layers
    for number, layer in enumerate(layers):
        shifts = number >= len(layers) - LAYERS
        layer.self_attn.register_forward_pre_hook(_shifted if shifts else _as_it_is, with_kwargs=True)


def frame_neighbours(frame_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each of the B * F frames of `(B, F)`, the numbers of the frames before and after it, each `(B * F,)`.

    A frame that lacks such a neighbour, or has padding there, is its own.
    """
    real = frame_mask > 0
    rows = torch.arange(real.numel(), device=real.device).view_as(real)
    both = real[:, 1:] & real[:, :-1]
    before = torch.cat([rows[:, :1], torch.where(both, rows[:, :-1], rows[:, 1:])], dim=1)
    after = torch.cat([torch.where(both, rows[:, 1:], rows[:, :-1]), rows[:, -1:]], dim=1)
    return before.flatten(), after.flatten()


def shift_tokens(hidden: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Token states `(B * F, 1 + patches, W)` with some of the patches from the neighbouring frames."""
    step = max(hidden.shape[1] // STEPS, APART + 1)
    shifted = hidden.clone()
    shifted[:, 1::step] = hidden[before, 1::step]
    shifted[:, 1 + APART :: step] = hidden[after, 1 + APART :: step]
    return shifted


# Neighbours travel with the call rather than in the tower: a layer whose activations are recomputed gets its own.
def _shifted(_, arguments: tuple, options: dict) -> tuple[tuple, dict]:
    before, after = options["neighbours"]
    shifted = shift_tokens(options["hidden_states"], before, after)
    return arguments, _as_it_is(_, arguments, options)[1] | {"hidden_states": shifted}


def _as_it_is(_, arguments: tuple, options: dict) -> tuple[tuple, dict]:
    return arguments, {name: value for name, value in options.items() if name != "neighbours"}
