import csv
import random
from collections import Counter

import pytest
from places import ANNOTATIONS, needs_annotations

from dmae.training.batches.word_dropping import WordDropper, keyword_weights, words_of

COOKING = ["a man is cooking pasta in a kitchen", "a man is boiling noodles on a stove in the kitchen"]


def test_weights_are_those_of_the_extractor_that_the_release_uses():
    analyse = pytest.importorskip("jieba.analyse", reason="jieba is not installed")
    rng = random.Random(0)
    words = [f"{a}{b}" for a in ("", "x", "man", "dog") for b in ("one", "it", "s", "ball", "Kitchen", "of", "you")]
    texts = [COOKING, *([" ".join(rng.choices(words, k=9)) for _ in range(20)] for _ in range(20))]
    for captions in texts:
        expected = dict(analyse.extract_tags(" ".join(captions).lower(), topK=200, withWeight=True))
        assert keyword_weights(captions) == pytest.approx(expected, abs=1e-9)


def test_the_five_lightest_words_of_the_caption_may_go():
    dropper = WordDropper([COOKING])
    caption = words_of("the man is in a kitchen on a stove")
    assert dropper.droppable(0, caption) == ["the", "is", "in", "a", "on"]  # stop words and letters, in their order
    assert dropper.droppable(0, words_of("man cooking pasta")) == []  # each more than 0.84 % of the video's words
    many = [" ".join(f"word{i}" for i in range(150))]
    assert WordDropper([many]).droppable(0, ["word1", "word2"]) == ["word1", "word2"]


def test_at_most_half_of_the_words_are_drawn_and_none_more_often_than_another():
    dropper = WordDropper([["the cat of the house is on it"]])
    rng, lengths, gone = random.Random(0), Counter(), Counter()
    for _ in range(2000):
        left = dropper.drop(0, "red cat is on blue mat of tim", rng).split()
        lengths[8 - len(left)] += 1
        gone.update({"is", "on", "of"} - set(left))
        assert {"red", "cat", "blue", "mat", "tim"} >= set(left) - {"is", "on", "of"}
    assert set(lengths) == {0, 1, 2, 3, 4}  # five may go of eight: the lightest three, and two that the video lacks
    assert max(gone.values()) - min(gone.values()) < 120


def test_a_word_that_is_drawn_goes_wherever_it_stands():
    dropper = WordDropper([["a dog and a cat meet"]])
    seen = {dropper.drop(0, "A dog and a cat!", random.Random(seed)) for seed in range(50)}
    assert seen == {"A dog and a cat!", "dog and cat!", "A dog a cat!", "dog cat!"}


@pytest.mark.parametrize("caption", ["dog", "a", "is", "a a", "it is", "the A the a"])
def test_something_is_always_left(caption):
    dropper = WordDropper([["a dog is here"]])
    assert all(dropper.drop(0, caption, random.Random(seed)) for seed in range(30))


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_no_word_is_dropped_below_the_limit(limit):
    dropper = WordDropper([COOKING], weight_limit=limit)
    assert dropper.drop(0, COOKING[0], random.Random(1)) == COOKING[0]


@needs_annotations
def test_a_fifth_of_the_words_of_real_captions_goes():
    """MSR-VTT's captions, twenty together as each of its training videos has."""
    with open(ANNOTATIONS / "msrvtt" / "MSRVTT_JSFUSION_test.csv", encoding="utf-8") as file:
        captions = [row["sentence"] for row in csv.DictReader(file)]
    groups = [captions[start : start + 20] for start in range(0, len(captions), 20)]
    dropper, rng, before, after, can = WordDropper(groups), random.Random(0), 0, 0, 0
    for video, group in enumerate(groups):
        for caption in group:
            before += len(words_of(caption))
            after += len(words_of(dropper.drop(video, caption, rng)))
            can += bool(dropper.droppable(video, words_of(caption)))
    assert 0.20 < 1 - after / before < 0.23
    assert can / len(captions) > 0.97
