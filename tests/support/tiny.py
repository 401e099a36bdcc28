"""Tiny models and processors that tests share: built in milliseconds, real in every other respect."""

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from dmae.modeling import DmaeConfig, DmaeModel

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "bos_token_id": 62,
    "eos_token_id": 63,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 16,
}


def tiny_config(**options) -> DmaeConfig:
    defaults = {"text_config": TEXT, "vision_config": VISION, "projection_dim": 32, "num_frames": 4, "max_words": 16}
    return DmaeConfig(**{**defaults, **options})


def tiny_model(seed: int = 0, **options) -> DmaeModel:
    torch.manual_seed(seed)
    return DmaeModel(tiny_config(**options)).eval()


def tiny_batch(batch: int = 3, words: int = 7, frames: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of `tiny_model`: text i belongs to video i."""
    g = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(1, 60, (batch, words), generator=g)
    input_ids[:, 0], input_ids[:, -1] = TEXT["bos_token_id"], TEXT["eos_token_id"]
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones(batch, words, dtype=torch.long),
        "word_weights": torch.randint(1, 3, (batch, words), generator=g).float(),
        "pixel_values_videos": torch.randn(batch, frames, 3, 32, 32, generator=g),
        "frame_mask": torch.ones(batch, frames, dtype=torch.long),
    }


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """OpenAI's CLIP tokenizer, rebuilt from the byte-pair vocabulary that open_clip's wheel carries."""
    source = Path(find_spec("open_clip").origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    with gzip.open(source, "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    tokens = alphabet + [a + "</w>" for a in alphabet] + ["".join(m.split()) for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 49408
    return tokenizer
