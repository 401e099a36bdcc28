"""A bank of texts that stand for "any other query": what a score is worth is told by theirs with the same video.

A trained model has one in its folder (`text_bank.safetensors`), of captions that it was trained on.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .errors import ModelError
from .features import TextFeatures

BANK_FILE = "text_bank.safetensors"
SAMPLES_PER_TENSOR = 64


def save_text_bank(path: Path, bank: TextFeatures, model: torch.nn.Module) -> None:
    """Writes features of texts, in float16, with a digest of the weights that they were made with."""
    tensors = {name: part.half().contiguous() for name, part in bank._asdict().items()}
    save_file(tensors, path, metadata={"text_weights": text_weights_digest(model)})


def load_text_bank(path: Path, model: torch.nn.Module) -> TextFeatures:
    """Features that `save_text_bank` wrote, in float32 on the CPU.

    Raises:
        ModelError: the file is broken, or of other weights.
    """
    try:
        with safe_open(path, "pt") as file:
            made_with = (file.metadata() or {}).get("text_weights")
            bank = TextFeatures(*(file.get_tensor(name).float() for name in TextFeatures._fields))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no bank of texts ({error}): delete it, or train the model anew") from None
    if made_with != text_weights_digest(model):
        raise ModelError(f"{path} was made with other weights: delete it, and unrelated phrases are taken instead")
    texts, words = bank.word_weights.shape if bank.word_weights.ndim == 2 else (0, 0)
    config: Any = model.config
    dim = config.projection_dim
    fit = bank.sentence_embeds.shape == (texts, dim) and bank.word_embeds.shape == (texts, words, dim)
    if not (texts and fit and all(part.isfinite().all() for part in bank)):
        raise ModelError(f"{path} is no bank of texts of {dim} dimensions: delete it, or train the model anew")
    return bank


def text_weights_digest(model: torch.nn.Module) -> str:
    """A digest of a spread of the text side's weights, the same in every precision down to bfloat16."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith("text") and tensor.is_floating_point():
            flat = tensor.detach().reshape(-1)
            spread = flat[:: max(1, flat.numel() // SAMPLES_PER_TENSOR)]
            digest.update(name.encode() + spread.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
