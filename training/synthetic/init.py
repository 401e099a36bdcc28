"""A small model from random weights with a tokenizer of its own, to train on a corpus (`dmae init`)."""

import string
from collections import Counter
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from dmae.modeling import DmaeConfig, DmaeModel, DmaeProcessor

LETTERS = string.ascii_lowercase + string.digits + string.punctuation
PAD, BOS, EOS, UNK = "<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|unk|>"


def make_tokenizer(captions: Iterable[str], vocab_size: int = 2000, max_length: int = 32) -> PreTrainedTokenizerFast:
    """A lower-casing tokenizer that keeps the commonest words of `captions` whole and spells any other word.

    The same captions give the same ids, which a trained byte-pair vocabulary does not promise.
    """
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word for caption in captions for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(caption))
    )
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    # The end token is not at id 2, which CLIP's text tower reads as its legacy pooling.
    vocabulary = [PAD, UNK, BOS, EOS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *words][:vocab_size]
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNK))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, ids[BOS]), (EOS, ids[EOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=max_length,
        padding_side="right",
    )


def new_model(
    captions: Iterable[str],
    *,
    image_size: int = 64,
    patch_size: int = 16,
    width: int = 128,
    vision_layers: int = 4,
    text_layers: int = 2,
    num_frames: int = 4,
    max_words: int = 32,
    seed: int = 0,
    **config,
) -> tuple[DmaeModel, DmaeProcessor]:
    """A randomly initialised CLIP-shaped DMAE model and the processor that belongs to it.

    Args:
        captions: texts whose words become the vocabulary.
        image_size, patch_size: of the vision tower, pixels. width: of both towers and of the embeddings.
        config: further fields of `DmaeConfig`. Unless given, the logit scale starts at 20 and is learned (100 from
            the first step stalls random weights) and μ is 0.1 (cosine gaps of 0.6 do not come about).
    """
    config = {"logit_scale": 20.0, "learn_logit_scale": True, "tpm_margin": 0.1, **config}
    tokenizer = make_tokenizer(captions, max_length=max_words)
    # "gelu" is one fused kernel on the CPU, CLIP's "quick_gelu" three.
    tower = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": max(1, width // 32),
        "hidden_act": "gelu",
    }
    torch.manual_seed(seed)
    model = DmaeModel(
        DmaeConfig(
            text_config=tower
            | {
                "num_hidden_layers": text_layers,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": max_words,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            vision_config=tower
            | {"num_hidden_layers": vision_layers, "image_size": image_size, "patch_size": patch_size},
            projection_dim=width,
            num_frames=num_frames,
            max_words=max_words,
            **config,
        )
    )
    # As large as the patches that they are added to. CLIP's are a twentieth of that, and what a picture shows is then
    # learned without where it shows it, which motion is made of.
    torch.nn.init.normal_(model.vision_model.embeddings.position_embedding.weight, std=0.5)
    return model, DmaeProcessor.for_config(model.config, tokenizer)
