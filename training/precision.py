"""Mixed precision where this machine gains by it: `mixed_precision: auto`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from accelerate.state import AcceleratorState
from transformers import PreTrainedModel

from dmae.modeling.precision import default_precision

from .config import TrainConfig

# On CPUs torch's fused attention takes ten times as long backward in bfloat16 as in float32 (2.13); this does not.
CPU_ATTENTION = "eager"


def multiplies_bf16(device: str) -> bool:
    """Whether the device multiplies matrices of bfloat16 itself; emulated, that is slower than float32."""
    if device != "cpu":
        return default_precision(device) == "bf16"
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def settled(config: TrainConfig) -> TrainConfig:
    """The configuration with what `auto` is on this machine."""
    if config.mixed_precision != "auto":
        return config
    accelerator = None if config.cpu else torch.accelerator.current_accelerator()
    device = accelerator.type if accelerator else "cpu"
    if not multiplies_bf16(device):
        return replace(config, mixed_precision="no")
    attention = CPU_ATTENTION if device == "cpu" else None
    return replace(config, mixed_precision="bf16", attn_implementation=config.attn_implementation or attention)


@contextmanager
def precision_of_its_own() -> Iterator[None]:
    """Lets a run have another precision than one before it: Accelerate keeps the first of a process for all of them.

    What was kept is there again afterwards, for an `Accelerator` that the caller has.
    """
    state = AcceleratorState._shared_state  # the same dictionary for all that share it
    kept = dict(state)
    state.clear()
    try:
        yield
    finally:
        state.clear()
        state.update(kept)


@contextmanager
def bf16_on_cpu(model: PreTrainedModel) -> Iterator[None]:
    """Computes forward passes in bfloat16 where this processor multiplies it; where not, in what they are in."""
    if not multiplies_bf16("cpu"):
        yield
        return
    attention = model.config._attn_implementation or CPU_ATTENTION  # it always has one
    model.set_attn_implementation(CPU_ATTENTION)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        model.set_attn_implementation(attention)
