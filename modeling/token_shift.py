"""Token shift: patches of a frame see those of its neighbours, without a parameter (method.md, "Provenance").

Before each of the vision tower's last two layers, an eighth of every patch token's channels comes from the same patch
of the frame before, another eighth from the frame after. A frame without that neighbour keeps its own channels, and
the class token is never touched. The eighths are TSM's (arXiv:1811.08383), as is the shift along time. TS2-Net
(arXiv:2207.07852) shifts in these layers too, but its abstract speaks of whole tokens where channels are shifted here.
"""

from typing import Any

import torch

LAYERS = 2
SHARE = 8


def add_token_shift(tower: Any) -> None:
    """Makes a vision tower with a class token take `neighbours`, beside its own arguments, and shift by them."""
    layers = tower.encoder.layers
    for number, layer in enumerate(layers):
        shifts = number >= len(layers) - LAYERS
        layer.register_forward_pre_hook(_shifted_input if shifts else _plain_input, with_kwargs=True)


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
    """Token states `(B * F, 1 + patches, W)` with the shifted channels of their neighbours."""
    share = hidden.shape[2] // SHARE
    patches = hidden[:, 1:]
    parts = (patches[before, :, :share], patches[after, :, share : 2 * share], patches[:, :, 2 * share :])
    return torch.cat([hidden[:, :1], torch.cat(parts, dim=2)], dim=1)


# Neighbours travel with the call rather than in the tower: a layer whose activations are recomputed gets its own.
def _shifted_input(_, arguments: tuple, options: dict) -> tuple[tuple, dict]:
    hidden, *others = arguments
    before, after = options["neighbours"]
    return (shift_tokens(hidden, before, after), *others), _plain_input(_, arguments, options)[1]


def _plain_input(_, arguments: tuple, options: dict) -> tuple[tuple, dict]:
    return arguments, {name: value for name, value in options.items() if name != "neighbours"}
