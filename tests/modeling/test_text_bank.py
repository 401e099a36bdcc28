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


@pytest.mark.parametrize(
    "shapes",
    [((5, 16), (5, 7, 16), (5, 7)), ((0, 32), (0, 7, 32), (0, 7)), ((5, 32), (4, 7, 32), (4, 7)), ((5,), (5,), (5,))],
    ids=["of another dimension", "empty", "of parts that do not fit", "flat"],
)
def test_features_that_are_no_texts_of_the_model_are_refused(tmp_path, shapes):
    model, path = tiny_model(seed=0), tmp_path / "text_bank.safetensors"
    save_text_bank(path, TextFeatures(*(torch.ones(shape) for shape in shapes)), model)
    with pytest.raises(ModelError, match="no bank of texts of 32 dimensions: delete it"):
        load_text_bank(path, model)


def test_features_that_are_no_numbers_are_refused(tmp_path):
    model, path = tiny_model(seed=0), tmp_path / "text_bank.safetensors"
    save_text_bank(path, TextFeatures(torch.ones(2, 32), torch.full((2, 3, 32), torch.nan), torch.ones(2, 3)), model)
    with pytest.raises(ModelError, match="no bank of texts"):
        load_text_bank(path, model)
