"""Wrong captions made from right ones."""

import random

import pytest

from dmae.training.batches.caption_edits import MOST_ALTERNATIVES, CaptionEditor, exchange_events
from dmae.training.batches.word_dropping import words_of
from dmae.training.synthetic.captions import describe
from dmae.training.synthetic.scenes import COLOURS, SHAPES, sample_scenes

CAPTIONS = [
    ("a big red star moves left", "a large red star goes left"),
    ("a big blue star moves right", "a large blue star goes right"),
    ("a small red ring moves right", "a tiny red ring goes right"),
    ("a small blue ring moves left", "a tiny blue ring goes left"),
    ("a big green ring moves left", "a large green ring goes left"),
    ("a small green star moves right", "a tiny green star goes right"),
]


def test_replacements_are_words_of_the_same_place_that_are_no_synonyms():
    replacements = CaptionEditor(CAPTIONS).replacements
    assert replacements["red"] == ["blue"]  # "green" never stands where it does
    assert replacements["star"] == ["ring"] and replacements["left"] == ["right"]
    assert "large" not in replacements["big"] and "goes" not in replacements.get("moves", ())


def test_an_edit_changes_one_word_to_one_that_no_caption_of_the_video_uses():
    editor = CaptionEditor(CAPTIONS)
    for video, texts in enumerate(CAPTIONS):
        used = {word for text in texts for word in words_of(text)}
        seen = set()
        for seed in range(50):
            wrong = editor.edit(video, texts[0], random.Random(seed))
            assert wrong == editor.edit(video, texts[0], random.Random(seed))
            (new,) = [ours for ours, theirs in zip(words_of(wrong), words_of(texts[0])) if ours != theirs]
            assert new not in used
            seen.add(wrong)
        assert len(seen) > 3


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog barks, then a cat runs", "a cat runs, then a dog barks"),
        ("first a dog barks and then a cat runs", "first a cat runs and then a dog barks"),
        ("A dog barks, and once it stops a cat runs", "A cat runs, and once it stops a dog barks"),
        ("he talks once they finish eating", None),
        ("a dog barks before a cat runs", "a cat runs before a dog barks"),
        ("a dog barks, followed by a cat", "a cat, followed by a dog barks"),
        ("A dog barks, then a cat runs.", "A cat runs, then a dog barks."),
        ("First a dog barks, then a cat runs", "First a cat runs, then a dog barks"),
        ("a man claps, then a man claps", None),
        ("dogs jump one after another", None),
        ("a dog barks while a cat runs", None),
        ("a dog barks, then runs, then sleeps", None),
    ],
)
def test_two_events_are_exchanged(caption, expected):
    assert exchange_events(caption) == expected
    editor = CaptionEditor([[caption], ["something else"]], exchange_share=1.0)
    assert editor.edit(0, caption, random.Random(0)) == expected


def test_a_place_where_any_word_may_stand_stays_small():
    """The commonest words of a place replace each other: all pairs of thousands would fill the memory."""
    captions = [(f"look at a {word} now",) for number in range(3000) for word in (f"thing{number}", "dog", "cat")]
    replacements = CaptionEditor(captions).replacements
    assert "cat" in replacements["dog"]
    assert sum(map(len, replacements.values())) <= MOST_ALTERNATIVES * (MOST_ALTERNATIVES - 1)


def test_nothing_to_replace_gives_nothing():
    editor = CaptionEditor([["hello"], ["world and more"]])
    assert editor.edit(0, "hello", random.Random(0)) is None
    assert editor.edits(0, "hello", 3, random.Random(0)) == []


def test_several_edits_of_a_caption_differ():
    editor, caption = CaptionEditor(CAPTIONS), CAPTIONS[0][0]
    several = [editor.edits(0, caption, 3, random.Random(seed)) for seed in range(20)]
    assert all(len(set(wrong)) == len(wrong) and caption not in wrong for wrong in several)
    assert max(map(len, several)) == 3
    assert several[0][0] == editor.edit(0, caption, random.Random(0))


def test_synonyms_of_the_synthetic_corpus_are_found_out():
    rng = random.Random(0)
    captions = [describe(scene, 5, rng)["captions"] for scene in sample_scenes("train", 1000, rng)]
    editor = CaptionEditor(captions)
    for group in (["big", "large"], ["small", "tiny"], ["up", "rises"], ["moves", "goes", "slides"], ["while", "as"]):
        for word in group:
            assert not set(group) & set(editor.replacements.get(word, ()))
    assert set(editor.replacements["red"]) == set(COLOURS) - {"red"}
    assert set(editor.replacements["ring"]) == set(SHAPES) - {"ring"}
    assert {"sinks", "rests"} <= set(editor.replacements["rises"])
    edits = [editor.edit(video, texts[0], random.Random(video)) for video, texts in enumerate(captions)]
    assert all(edit is not None and edit not in texts for edit, texts in zip(edits, captions))
