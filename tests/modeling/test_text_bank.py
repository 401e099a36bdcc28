"""The bank of texts in a model's folder: the same features come back, and only for the weights they were made with."""

import pytest
import torch
from tiny import tiny_model

from dmae.modeling.errors import ModelError
from dmae.modeling.features import TextFeatures
from dmae.modeling.text_bank import load_text_bank, save_text_bank


def test_a_bank_comes_back_and_belongs_to_one_model(tmp_path):
    model, other = tiny_model(seed=0), tiny_model(seed=1)
    generator = torch.Generator().manual_seed(0)
    shapes = ((5, 32), (5, 7, 32), (5, 7))
    bank = TextFeatures(*(torch.randn(*shape, generator=generator) for shape in shapes))
    path = tmp_path / "text_bank.safetensors"
    save_text_bank(path, bank, model)
    for part, same in zip(bank, load_text_bank(path, model.to(torch.bfloat16))):
        torch.testing.assert_close(part, same, atol=1e-2, rtol=1e-2)
    with pytest.raises(ModelError, match="other weights"):
        load_text_bank(path, other)
    path.write_bytes(b"torn")
    with pytest.raises(ModelError, match="no bank of texts"):
        load_text_bank(path, model)
