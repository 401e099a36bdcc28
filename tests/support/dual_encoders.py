"""Tiny dual encoders of every type as checkpoints: model, tokenizer and image processor."""

import json
from pathlib import Path

import torch
import transformers
from tiny import TEXT, VISION
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import BertTokenizer, PreTrainedTokenizerFast, Siglip2Tokenizer

SENTENCES = [
    "A dog runs over the green grass.",
    "two men ride a red bicycle",
    "Eine Katze schläft auf dem Sofa",
    "собака бежит по траве",
    "一只狗在草地上跑",
    "犬が芝生の上を走る",
]
TYPES = ("clip", "metaclip_2", "siglip", "siglip2", "altclip", "chinese_clip")
IMAGES = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25], "do_convert_rgb": True}
SQUARE = {"height": 32, "width": 32}
_SAME_WIDTH = {**VISION, "hidden_size": 32}
_PATCHES = {name: value for name, value in _SAME_WIDTH.items() if name != "image_size"} | {"num_patches": 4}


def _subword_tokenizer(begin: str | None, end: str, pad: str, specials: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level vocabulary learned from the sentences; a text stands between `begin`, where given, and `end`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([*SENTENCES, *(s.lower() for s in SENTENCES)] * 2, trainer)
    marks = [(token, tokenizer.token_to_id(token)) for token in (begin, end) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin or ''} $A {end}".strip(), special_tokens=marks
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad)


def _gemma_tokenizer() -> Siglip2Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    tokenizer.train_from_iterator([s.lower() for s in SENTENCES] * 2, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    return Siglip2Tokenizer(vocab=learned["vocab"], merges=merges, padding_side="right")


def _bert_tokenizer() -> BertTokenizer:
    characters = sorted({c for s in SENTENCES for c in s.lower() if not c.isspace()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    return BertTokenizer(vocab={token: at for at, token in enumerate(vocabulary)})


def make_tokenizer(model_type: str):
    """A small tokenizer with the special tokens, and their ids, of that type's checkpoints."""
    if model_type == "clip":
        return _subword_tokenizer("<s>", "</s>", "<pad>", ["<pad>", "<unk>", "<s>", "</s>"])
    if model_type in ("metaclip_2", "altclip"):  # XLM-R's: 0 begins, 1 pads, 2 ends
        return _subword_tokenizer("<s>", "</s>", "<pad>", ["<s>", "<pad>", "</s>", "<unk>"])
    if model_type == "siglip2":
        return _gemma_tokenizer()
    if model_type == "siglip":  # as SigLIP 2's of this type: no beginning
        return _subword_tokenizer(None, "<eos>", "<pad>", ["<pad>", "<eos>", "<bos>", "<unk>"])
    return _bert_tokenizer()


def _config(model_type: str, tokenizer):
    text = TEXT | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text["max_position_embeddings"] = {"siglip": 24, "siglip2": 24, "altclip": 80, "chinese_clip": 90}.get(
        model_type, 77
    )
    both = {"text_config": text, "vision_config": VISION}
    if model_type == "clip":
        return transformers.CLIPConfig(**both, projection_dim=32)
    if model_type == "metaclip_2":
        return transformers.MetaClip2Config(**both, projection_dim=32)
    if model_type == "siglip":
        return transformers.SiglipConfig(text_config=text, vision_config=_SAME_WIDTH)
    if model_type == "siglip2":
        return transformers.Siglip2Config(text_config=text, vision_config=_PATCHES)
    if model_type == "altclip":
        # Weights of its text tower are drawn with deviation 0.02 * initializer_factor, 0.02 by default.
        return transformers.AltCLIPConfig(
            text_config=text | {"project_dim": 24, "initializer_factor": 1.0}, vision_config=VISION, projection_dim=32
        )
    return transformers.ChineseCLIPConfig(**both, projection_dim=32)


def _image_processor(model_type: str):
    if model_type == "siglip":
        return transformers.SiglipImageProcessorPil(size=SQUARE, **IMAGES)
    if model_type == "siglip2":
        return transformers.Siglip2ImageProcessorPil(patch_size=16, max_num_patches=4, **IMAGES)
    if model_type == "chinese_clip":
        return transformers.ChineseCLIPImageProcessorPil(size=SQUARE, do_center_crop=False, **IMAGES)
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE, **IMAGES)


def save_dual_encoder(model_type: str, folder: Path) -> nn.Module:
    """Writes a checkpoint of that type into `folder` and returns the model, of its own class, in evaluation mode."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(model_type)
    model = transformers.AutoModel.from_config(_config(model_type, tokenizer)).eval()
    with torch.no_grad():  # drawn so small that all texts would be alike
        for parameter in model.text_model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _image_processor(model_type).save_pretrained(folder)
    return model


def own_text_embeds(model: nn.Module, tokenizer, texts: list[str]) -> torch.Tensor:
    """What the model itself makes of texts, prepared as its documentation says; unit norm."""
    if model.config.model_type in ("siglip", "siglip2"):
        length = model.config.text_config.max_position_embeddings
        lowered = [text.lower() for text in texts]
        inputs = tokenizer(lowered, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        inputs = {"input_ids": inputs["input_ids"]}
    else:
        length = {"chinese_clip": 52}.get(model.config.model_type, 77)
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
    with torch.no_grad():
        return nn.functional.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)


def own_frame_embeds(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """What the model itself makes of pictures `(N, 3, 32, 32)`; unit norm."""
    inputs = {"pixel_values": pixels}
    if model.config.model_type == "siglip2":
        patches = [
            transformers.models.siglip2.image_processing_pil_siglip2.convert_image_to_patches(p.numpy(), 16)
            for p in pixels
        ]
        inputs = {
            "pixel_values": torch.stack([torch.from_numpy(p) for p in patches]),
            "pixel_attention_mask": torch.ones(len(pixels), 4, dtype=torch.long),
            "spatial_shapes": torch.tensor([[2, 2]] * len(pixels)),
        }
    with torch.no_grad():
        return nn.functional.normalize(model.get_image_features(**inputs).pooler_output, dim=-1)
