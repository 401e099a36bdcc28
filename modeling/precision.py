"""In which floating-point numbers a model computes embeddings.

Similarities are always taken in float32; what is rounded are the towers. By default bfloat16 on an accelerator that
computes with it, where it is several times faster, and float32 elsewhere.
"""

from typing import Any

import torch
from torch import nn

from .errors import InputError, one_line

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# By about how much scores, between -1 and 1, differ from float32's: the largest of 512 pairs of texts and videos, with
# random weights in towers of the sizes of CLIP ViT-B/32 and SigLIP base, was 0.0014 in bf16 and 0.00016 in fp16.
SCORE_DIFFERENCE = {"fp32": 0.0, "bf16": 0.002, "fp16": 0.0002}

SAMPLES_PER_TENSOR = 256


def default_precision(device: torch.device | str) -> str:
    """`"bf16"` on an accelerator that computes with it, `"fp32"` elsewhere."""
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    if device.type == "xpu" and torch.xpu.is_bf16_supported():
        return "bf16"
    return "fp32"


def place(model: Any, device: torch.device | str, precision: str | None = None) -> Any:
    """The model on a device, its weights in a precision: a key of `PRECISIONS`, the device's default where None.

    For computing embeddings: the weights are rounded for good.

    Raises:
        InputError: there is no such precision, or no such device here.
    """
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    device = _usable(device)
    dtype = PRECISIONS[precision or default_precision(device)]
    if dtype != next(model.parameters()).dtype:
        model.weight_samples = weight_samples(model)
    return model.to(device=device, dtype=dtype)


def _usable(device: torch.device | str) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # how torch says that it was built without one, or finds none
        said = one_line(error, 200)
        raise InputError(f"the device {str(device)!r} cannot be used here ({said}): 'cpu' always can") from None


def precision_of(model: nn.Module) -> str:
    """The key of `PRECISIONS` that the model's weights have; the type's own name where there is none."""
    dtype = next(model.parameters()).dtype
    return next((name for name, known in PRECISIONS.items() if known == dtype), str(dtype).removeprefix("torch."))


def difference_note(made_in: str | None, computes_in: str) -> str | None:
    """What to know of scores where videos were embedded in one precision and queries are in another; None if nothing.

    Args:
        made_in: None where it is not known.
    """
    if made_in is None or made_in == computes_in:
        return None
    most = SCORE_DIFFERENCE.get(made_in, 0.0) + SCORE_DIFFERENCE.get(computes_in, 0.0)
    return f"its videos were embedded in {made_in}, queries are in {computes_in}: scores may differ by about {most:g}"


def weight_samples(model: nn.Module) -> dict[str, tuple[torch.Size, torch.Tensor]]:
    """Of every weight its shape and a spread of its values in bfloat16, which tell a model whatever its precision.

    Those of the checkpoint, where `place` has rounded the weights since.
    """
    kept = getattr(model, "weight_samples", None)
    if kept is not None:
        return kept
    samples = {}
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().reshape(-1)
        step = max(1, flat.numel() // SAMPLES_PER_TENSOR)
        samples[name] = (tensor.shape, flat[::step].to("cpu", torch.float32).to(torch.bfloat16))
    return samples
