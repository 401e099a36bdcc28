"""Stills to train towers on: what they are said to show, and that training on them changes only the towers."""

import random
import re
import warnings

import pytest
import torch

from dmae.training.synthetic.captions import SIZE_WORDS
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.scenes import COLOURS, SHAPES
from dmae.training.synthetic.stills import Stills, train_towers, vocabulary, where


@pytest.fixture(scope="module")
def stills():
    return Stills("train", 20, 32, per_scene=2)


def test_places_are_where_the_colours_are(stills):
    """The mean place of the pixels nearest to the colour, against the place that is told."""
    checked = 0
    for still in range(len(stills)):
        for thing in stills.scenes[still].things:
            number = list(COLOURS).index(thing.colour)
            if not stills.known[still, number] or thing.colour == "white":
                continue
            palette = torch.tensor([*COLOURS.values(), (40, 40, 40)], dtype=torch.float)
            pixels = stills.pixels[still].permute(1, 2, 0).float()
            nearest = torch.cdist(pixels.flatten(0, 1), palette).argmin(dim=1).view(32, 32)
            rows, columns = torch.nonzero(nearest == number, as_tuple=True)
            if len(rows) < 20:
                continue
            found = torch.tensor([columns.float().mean() + 0.5, rows.float().mean() + 0.5]) / 32 - 0.5
            torch.testing.assert_close(found, stills.places[still, number], atol=0.06, rtol=0)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    ("centre", "words"),
    [
        ((0.2, 0.2), " up to the left"),
        ((0.8, 0.8), " down to the right"),
        ((0.5, 0.9), " down"),
        ((0.5, 0.5), ""),
        (None, ""),
    ],
)
def test_places_in_words(centre, words):
    assert where(centre) == words


def test_a_wrong_caption_differs_in_places_alone(stills):
    rng = random.Random(0)
    different = short = 0
    for still in range(len(stills)):
        right, wrong = stills.describe(still, rng, short_share=0.3)
        looks = [re.sub(r" (up|down|to the left|to the right)\b", "", text) for text in (right, wrong)]
        assert looks[0] == looks[1] and right.count(" to the ") == wrong.count(" to the ")
        short += " and " not in right
        for look in looks[0].split(" and "):
            said = set(look.split()) - {"a", "something"}
            things = stills.scenes[still].things
            assert any(said <= {thing.colour, thing.shape, *SIZE_WORDS[thing.size]} for thing in things), look
        if right != wrong:
            different += 1
            exchange = {"left": "right", "right": "left", "up": "down", "down": "up"}
            sides = [word for word in right.split() if word in ("left", "right")]
            heights = [word for word in right.split() if word in ("up", "down")]
            others = [word for word in wrong.split() if word in ("left", "right")]
            other_heights = [word for word in wrong.split() if word in ("up", "down")]
            mirrored = ([exchange[w] for w in sides] == others, [exchange[w] for w in heights] == other_heights)
            assert any(mirrored) and (others == sides or other_heights == heights)
    assert different > len(stills) // 3 and 0 < short < len(stills)


def test_shapes_are_those_of_the_objects_of_each_colour(stills):
    for still, scene in enumerate(stills.scenes):
        for thing in scene.things:
            number = list(COLOURS).index(thing.colour)
            if stills.known[still, number]:
                assert SHAPES[stills.shapes[still, number]] == thing.shape


def test_training_changes_the_towers_alone():
    model, processor = new_model(
        ["of something else", *vocabulary()], image_size=32, width=32, vision_layers=1, temporal_layers=1
    )
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a caption is cut, spelled letter by letter
        records = train_towers(model, processor, 3, scenes=10, batch_size=8, progress=False)
    assert [record["step"] for record in records] == [3] and 0 <= records[0]["R@1"] <= 100
    # α is kept where a checkpoint of CLIP's keeps it, and where a fixed one is.
    assert model.logit_scale.exp().item() == pytest.approx(model.config.logit_scale, rel=1e-5)
    assert model.config.logit_scale == pytest.approx(records[0]["logit_scale"], abs=1e-3) != 20
    changed = {name for name, weight in model.state_dict().items() if not weight.equal(before[name])}
    changed.remove("logit_scale")
    assert changed
    assert all(name.startswith(("text_", "vision_", "visual_")) for name in changed), changed
    assert "vision_model.embeddings.patch_embedding.weight" in changed and "text_projection.weight" in changed
    assert not model.training
