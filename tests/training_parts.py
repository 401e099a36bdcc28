"""A tiny model and random batches for the tests of training."""

import torch

from dmae.training.scratch import new_model

WORDS = "red green blue round square small large moves stands left right up down fast slow"


def tiny_model(**config):
    """A float64 model of 32 dimensions on 32 pixels and 2 frames, always of the same weights, and its processor."""
    options = {"image_size": 32, "patch_size": 16, "width": 32, "vision_layers": 1, "text_layers": 1} | config
    model, processor = new_model([WORDS], **{"num_frames": 2, "max_words": 8, "seed": 0, **options})
    return model.double().train(), processor


def random_inputs(rows: int, seed: int = 0, words: int = 8, frames: int = 2, size: int = 32) -> dict:
    """Arguments of `DmaeModel.forward` for `rows` pairs, in float64: captions of random length, some frames padded."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, words + 1, (rows, 1), generator=rng)
    attention_mask = (torch.arange(words) < lengths).long()
    input_ids = torch.randint(4, 40, (rows, words), generator=rng)
    input_ids[:, 0] = 2
    input_ids.scatter_(1, lengths - 1, 3)
    frame_mask = torch.ones(rows, frames, dtype=torch.long)
    frame_mask[::3, -1] = 0
    return {
        "input_ids": input_ids * attention_mask,
        "attention_mask": attention_mask,
        "word_weights": attention_mask * torch.randint(1, 3, (rows, words), generator=rng).float(),
        "pixel_values_videos": torch.randn(rows, frames, 3, size, size, generator=rng).double(),
        "frame_mask": frame_mask,
    }


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def relative_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest relative difference, in norm, between two models' gradients by parameter.

    A gradient that is zero but for rounding (of attention's key biases) is compared with all of them together.
    """
    assert ours.keys() == theirs.keys() and ours
    total = torch.stack([gradient.norm() for gradient in theirs.values()]).norm()
    assert total > 1
    return max(
        ((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-6 * total)).item() for name in theirs
    )
