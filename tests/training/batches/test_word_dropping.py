import random
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from dmae.training.batches.word_dropping import WordDropper, tf_idf, words_of

CAPTIONS = [
    ["a man is cooking pasta in a kitchen", "a man is boiling noodles on a stove in the kitchen"],
    ["a dog is running on a beach", "the brown dog runs in the sand"],
    ["a woman is playing a guitar", "someone is playing an instrument on a stage"],
]


def test_weights_are_scikit_learns():
    vectorizer = TfidfVectorizer(token_pattern=r"[^\W_]+(?:['’][^\W_]+)*")
    expected = vectorizer.fit_transform([" ".join(captions) for captions in CAPTIONS]).toarray()
    names = vectorizer.get_feature_names_out()
    dropper = WordDropper(CAPTIONS)
    for row, captions in zip(expected, CAPTIONS):
        weights = tf_idf(Counter(word for caption in captions for word in words_of(caption)), dropper.idf)
        np.testing.assert_allclose([weights.get(name, 0.0) for name in names], row, atol=1e-12)


def test_only_the_least_telling_words_are_dropped_and_at_most_half():
    captions = [[f"the thing{i} moves and the {w} stands" for w in ("ball", "cube", "cone")] for i in range(200)]
    dropper = WordDropper(captions, weight_limit=0.3)
    rare = {f"thing{i}" for i in range(200)}
    assert all(1 <= len(words) <= 5 and not words & rare for words in dropper.droppable)
    rng, lengths = random.Random(0), Counter()
    for _ in range(300):
        left = dropper.drop(7, captions[7][0], rng).split()
        assert "thing7" in left
        lengths[len(left)] += 1
    assert set(lengths) == {4, 5, 6, 7}  # of seven words, none to three dropped


def test_words_keep_their_order_and_punctuation():
    dropper = WordDropper([["The cat, and the dog!"]], weight_limit=2.0, max_droppable=1)
    seen = {dropper.drop(0, "The cat, and the dog!", random.Random(seed)) for seed in range(20)}
    assert seen == {"The cat, and the dog!", "The cat, the dog!"}


def test_a_caption_of_one_word_keeps_it():
    dropper = WordDropper([["dog"]], weight_limit=2.0)
    assert {dropper.drop(0, "dog", random.Random(seed)) for seed in range(10)} == {"dog"}


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_no_word_is_dropped_below_the_limit(limit):
    dropper = WordDropper(CAPTIONS, weight_limit=limit)
    assert dropper.drop(0, CAPTIONS[0][0], random.Random(1)) == CAPTIONS[0][0]
