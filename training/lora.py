"""Low-rank adapters in the encoder's towers by PEFT (arXiv:2106.09685): few weights train, and merge into the rest."""

import math
from typing import Any

import torch
from torch import nn

from dmae.modeling import DmaeModel
from dmae.modeling.errors import MissingPackageError, one_line
from dmae.modeling.modeling_dmae import TOWERS

from .config import ConfigError, check_names
from .optimization import is_adapter

KEYS = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora")
# The attention of both towers, as each type of encoder names it. Not SigLIP's pooling head, which is one torch module.
ATTENTION = r"(text_model|vision_model)\..*\blayers?\.\d+\..*\b(q_proj|k_proj|v_proj|out_proj|query|key|value)"


def add_lora(model: DmaeModel, options: dict[str, Any]) -> None:
    """Puts adapters into linear layers of the towers, whose own weights are frozen; what is new trains as before.

    Args:
        options: of `peft.LoraConfig`, those in `KEYS`. `r` is the rank; `target_modules` is a list of names or a
            regular expression, the attention of both towers by default.

    Raises:
        ConfigError: an option that PEFT does not take, or no layer of that name. MissingPackageError: no PEFT.
    """
    check_names(options, KEYS, "lora.")
    if type(options.get("r")) is not int or options["r"] < 1:
        raise ConfigError(f"lora.r={options.get('r')!r}: it is the rank of the adapters, a whole number of at least 1")
    for name in ("lora_alpha", "lora_dropout"):
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"lora.{name}={value!r}: it must be a number")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingPackageError("lora needs PEFT: pip install 'dmae-video-search[lora]'") from None
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    try:
        inject_adapter_in_model(LoraConfig(**{"target_modules": ATTENTION, **options}), model)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"lora={options}: {one_line(error, 200)}") from None
    for name, parameter in model.named_parameters():  # PEFT leaves nothing but adapters to be trained
        parameter.requires_grad_(is_adapter(name) or (name in trainable and not name.startswith(TOWERS)))


def merged_state(model: DmaeModel, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of `model` as they are without PEFT: every adapter added to the layer that it stands in.

    Args:
        state: all weights of the model, as `state_dict` names them.
    """
    merged = {name.replace(".base_layer.", "."): value for name, value in state.items() if not is_adapter(name)}
    for name, scale in _adapted_layers(model).items():
        down, up = (state[f"{name}.lora_{part}.default.weight"] for part in "AB")
        own = state[f"{name}.base_layer.weight"]
        merged[f"{name}.weight"] = own + (scale * (up.double() @ down.double())).to(own.dtype)
    return merged


def _adapted_layers(model: nn.Module) -> dict[str, float]:
    """Names of the layers with an adapter, and what its product is multiplied by."""
    parts: dict[str, Any] = dict(model.named_modules())
    return {name: part.scaling["default"] for name, part in parts.items() if hasattr(part, "lora_A")}
