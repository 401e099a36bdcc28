"""The bank of texts beside a trained model, by which a search tells how much a score is worth."""

import random
from collections.abc import Iterable
from pathlib import Path

from dmae.modeling.encoding import encode_texts
from dmae.modeling.loading import load_pretrained
from dmae.modeling.text_bank import BANK_FILE, save_text_bank

BANK_SIZE = 512


def write_text_bank(model_folder: Path, captions: Iterable[str], seed: int = 0) -> None:
    """Writes the features of at most `BANK_SIZE` of the captions, drawn at random, into the model's folder.

    Without captions there is no file, and a search compares with everyday phrases.
    """
    distinct = sorted({caption for caption in captions if caption.strip()})
    chosen = random.Random(seed).sample(distinct, min(BANK_SIZE, len(distinct)))
    if chosen:
        model, processor = load_pretrained(model_folder)
        save_text_bank(model_folder / BANK_FILE, encode_texts(model, processor, chosen), model)
