"""The optimizer and its schedule: AdamW, a learning rate for CLIP and one for new modules, cosine with warm-up.

The numbers are the paper's (section 4.1); the algorithm is PyTorch's. TS2-Net, whose code made the paper's figures,
has CLIP4Clip's BertAdam: no bias correction; besides the clipping of all gradients together, each parameter's own to
norm 1; weight decay as here; and a cosine over all steps that is not stretched to those after the warm-up, so that it
begins at 0.976 of the rate where ours begins at 1. It keeps CLIP's weights in half precision, ours are in float32.
"""

import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from dmae.modeling.modeling_dmae import TOWERS

from .config import TrainConfig


def is_clip_parameter(name: str) -> bool:
    """Whether a parameter of a DmaeModel comes from its encoder, CLIP or another (also under a wrapper's name)."""
    bare = name.removeprefix("module.").removeprefix("_orig_mod.")
    return bare.startswith(TOWERS) and not is_adapter(bare)


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter, by its name."""
    return ".lora_" in name


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict]:
    """Four groups: "clip", the encoder's own, and "new", each with and without weight decay (none on biases, norms and
    scalars)."""
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((is_clip_parameter(name), parameter.ndim >= 2), []).append(parameter)
    return [
        {
            "name": f"{'clip' if clip else 'new'}{'' if decays else '_no_decay'}",
            "params": parameters,
            "lr": config.clip_learning_rate if clip else config.learning_rate,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (clip, decays), parameters in sorted(groups.items(), reverse=True)
    ]


def freeze_clip(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if is_clip_parameter(name):
            parameter.requires_grad_(False)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameter_groups(model, config),
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=True,
    )


def make_scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig, total_steps: int):
    warmup = round(config.warmup_ratio * total_steps)
    return get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=warmup, num_training_steps=total_steps)


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The present learning rates, `clip_learning_rate` and `learning_rate` (of new modules), where there are such."""
    found = {}
    for group in optimizer.param_groups:
        found["clip_learning_rate" if group["name"].startswith("clip") else "learning_rate"] = group["lr"]
    return found
