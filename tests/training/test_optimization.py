import math

import pytest
import torch
from training_parts import random_inputs, tiny_model

from dmae.training.config import TrainConfig
from dmae.training.optimization import freeze_clip, learning_rates, make_optimizer, make_scheduler

CONFIG = TrainConfig(clip_learning_rate=1e-7, learning_rate=1e-4, weight_decay=0.2, warmup_ratio=0.1)


@pytest.fixture
def model():
    return tiny_model(temporal_layers=1, learn_logit_scale=True, learned_token_weights=True)[0]


def test_every_trained_parameter_is_in_one_group(model):
    groups = {group["name"]: group for group in make_optimizer(model, CONFIG).param_groups}
    assert set(groups) == {"clip", "clip_no_decay", "new", "new_no_decay"}
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    names = {group: {name_of[id(p)] for p in groups[group]["params"]} for group in groups}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(map(len, names.values())) == len(trained) and set.union(*names.values()) == trained
    assert "text_projection.weight" in names["clip"]
    assert "vision_model.post_layernorm.weight" in names["clip_no_decay"]
    assert {"frame_transformer.position_embedding.weight", "word_predictor.query_mix.weight"} <= names["new"]
    assert "logit_scale" in names["new_no_decay"]
    assert {group["lr"] for name, group in groups.items() if name.startswith("clip")} == {1e-7}
    assert groups["new"]["weight_decay"] == 0.2 and groups["new_no_decay"]["weight_decay"] == 0


def test_first_step_is_adamws_by_hand(model):
    """From zero moments Adam moves by lr * g / (|g| + eps), after decay by lr * weight_decay."""
    optimizer = make_optimizer(model, CONFIG)
    model(**random_inputs(4), return_loss=True).loss.backward()
    weight = model.word_predictor.hidden.weight
    before, gradient = weight.detach().clone(), weight.grad.clone()
    optimizer.step()
    expected = before * (1 - 1e-4 * 0.2) - 1e-4 * gradient / (gradient.abs() + 1e-6)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=1e-12)


def test_cosine_with_warm_up(model):
    optimizer = make_optimizer(model, CONFIG)
    scheduler = make_scheduler(optimizer, CONFIG, total_steps=100)
    rates = []
    for _ in range(100):
        rates.append(learning_rates(optimizer))
        optimizer.step()
        scheduler.step()
    assert rates[0]["learning_rate"] == 0 and rates[5]["learning_rate"] == pytest.approx(5e-5)
    assert rates[10] == {"clip_learning_rate": pytest.approx(1e-7), "learning_rate": pytest.approx(1e-4)}
    assert rates[55]["learning_rate"] == pytest.approx(1e-4 * (1 + math.cos(math.pi / 2)) / 2)
    assert learning_rates(optimizer)["learning_rate"] == pytest.approx(0, abs=1e-12)


def test_frozen_clip_leaves_new_modules_only(model):
    freeze_clip(model)
    assert {group["name"] for group in make_optimizer(model, CONFIG).param_groups} == {"new", "new_no_decay"}
