"""The synthetic corpus: real videos that show what their captions say, and captions that tell them apart."""

import argparse
import json
import random
import re

import av
import numpy as np
import pytest

from dmae.training.commands import synthetic as command
from dmae.training.synthetic.captions import MOTION_WORDS, SIZE_WORDS, describe, phrases
from dmae.training.synthetic.rendering import FPS, render
from dmae.training.synthetic.scenes import (
    COLOURS,
    DIRECTIONS,
    SHAPES,
    Scene,
    Thing,
    capacity,
    sample_groups,
    sample_scenes,
)
from dmae.training.synthetic.synthetic import write_corpus

SIZES = {"num_train": 6, "num_test": 5, "seed": 3, "progress": False}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("synthetic") / "corpus", workers=2, **SIZES)


@pytest.fixture(scope="module")
def described():
    """Scenes and rows of the default corpus' size, by split."""
    rng = random.Random(0)
    return {
        split: [(scene, describe(scene, captions, rng)) for scene in sample_scenes(split, count, rng)]
        for split, count, captions in (("train", 3000, 5), ("test", 500, 1))
    }


def rows(folder):
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.average_rate) == ("h264", 64, FPS)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def centre_of(colour, frame):
    """Where (x, y in pixels) the pixels nearer to this colour than to any other, or to the background, are."""
    palette = np.array([COLOURS[colour], *(rgb for name, rgb in COLOURS.items() if name != colour)], float)
    shades = np.array([[grey] * 3 for grey in range(0, 90, 10)], float)
    distance = np.linalg.norm(frame[:, :, None] - np.concatenate([palette, shades]), axis=-1)
    rows, columns = np.nonzero(distance.argmin(-1) == 0)
    return np.array([columns.mean(), rows.mean()])


def direction(start, end):
    step = end - start
    if np.abs(step).max() < 3:
        return "still"
    return max(DIRECTIONS, key=lambda name: float(step @ np.array(DIRECTIONS[name])))


def test_files_show_what_the_captions_say(corpus):
    checked = 0
    for split in ("train", "test"):
        for row in rows(corpus / split):
            first, second = row["attributes"]["objects"]
            if first["colour"] == second["colour"]:
                continue
            frames = decode(corpus / split / row["video"])
            assert 2.0 <= len(frames) / FPS <= 3.0
            middle, last = len(frames) // 2, len(frames) - 1
            for thing in (first, second):
                start, half, end = (centre_of(thing["colour"], frames[number]) for number in (0, middle, last))
                assert direction(start, end) == thing["motion"], row
                if row["attributes"]["order"] == "then":
                    moving, resting = ((start, half), (half, end))[:: 1 if thing is first else -1]
                    assert np.abs(moving[1] - moving[0]).max() > 3 * np.abs(resting[1] - resting[0]).max()
            assert all(first["colour"] in caption and second["shape"] in caption for caption in row["captions"])
            checked += 1
    assert checked >= 6


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_sizes_differ_in_the_picture(shape):
    def covered(shape, size):
        thing = Thing("white", shape, size, "still", start=(0.3, 0.3))
        away = Thing("red", "circle", "small", "still", start=(0.8, 0.8))
        return render(Scene((thing, away), "together"), 64)[0, :36, :36, 0] > 128

    assert covered(shape, "big").sum() > 2 * covered(shape, "small").sum()
    for size in ("big", "small"):
        others = [covered(other, size) for other in SHAPES if other != shape]
        differing = min((covered(shape, size) != other).sum() for other in others)
        assert differing >= 0.08 * covered("circle", size).sum()


def test_test_scenes_combine_what_training_never_combines(described):
    def pairs(split):
        return {frozenset(thing.look for thing in scene.things) for scene, _ in described[split]}

    def captions(split):
        return {caption for _, row in described[split] for caption in row["captions"]}

    assert all(len(pair) == 2 for pair in pairs("train") | pairs("test"))
    assert not pairs("train") & pairs("test")
    assert not captions("train") & captions("test")
    looks = {look for pair in pairs("train") for look in pair}
    assert {look for pair in pairs("test") for look in pair} <= looks  # every object alone was seen


def test_a_test_caption_identifies_its_video(described):
    meanings = [scene.meaning() for scene, _ in described["test"]]
    captions = [caption for _, row in described["test"] for caption in row["captions"]]
    assert len(set(meanings)) == len(set(captions)) == len(meanings) == 500
    swapped = Scene((Thing("red", "ring", "big", "up"), Thing("blue", "star", "big", "up")), "together")
    assert swapped.meaning() == swapped.change("order", random.Random(0)).meaning()  # no order to tell them apart


def words_of(caption):
    """The words of a caption, every wording of a size or a motion as one word for it."""
    for motion, forms in MOTION_WORDS.items():
        for form in sorted((form for pair in forms for form in pair), key=len, reverse=True):
            caption = re.sub(rf"\b{form}\b", motion.upper(), caption)
    for size, names in SIZE_WORDS.items():
        caption = re.sub(rf"\b({'|'.join(names)})\b", size.upper(), caption)
    return caption.replace(",", " ,").split()


def test_hard_negatives_differ_in_exactly_one_attribute(described):
    vocabulary = {
        "colour": set(COLOURS),
        "shape": set(SHAPES),
        "size": {size.upper() for size in SIZE_WORDS},
        "motion": {motion.upper() for motion in MOTION_WORDS},
    }
    counts = dict.fromkeys([*vocabulary, "order"], 0)
    for _, row in described["train"][:800]:
        kinds = [negative["kind"] for negative in row["hard_negatives"]]
        assert kinds == list(counts)[: 5 if row["attributes"]["order"] == "then" else 4]
        for negative in row["hard_negatives"]:
            assert negative["positive"] in row["captions"] and negative["caption"] not in row["captions"]
            right, wrong = words_of(negative["positive"]), words_of(negative["caption"])
            changed = [pair for pair in zip(right, wrong, strict=True) if pair[0] != pair[1]]
            counts[negative["kind"]] += 1
            if negative["kind"] == "order":
                assert sorted(right) == sorted(wrong) and changed
            else:
                assert len(changed) == 1 and set(changed[0]) <= vocabulary[negative["kind"]], negative
    assert counts["order"] > 200 and counts["motion"] == 800


def test_phrases_are_right_for_their_scene_and_change_nothing_else(corpus, tmp_path):
    rng = random.Random(0)
    kinds = set()
    for scene in sample_scenes("train", 200, rng):
        found = phrases(scene, 6, rng)
        assert len(set(found)) == len(found) == 6
        for text in found:
            said = set(words_of(text)) - {"a", "something"}
            true = [{thing.colour, thing.shape, thing.size.upper(), thing.motion.upper()} for thing in scene.things]
            assert said and any(said <= words for words in true), (text, scene)
            kinds.add(len(said))
    assert kinds == {1, 2, 3} and phrases(scene, 0, rng) == []
    short = write_corpus(tmp_path / "short", workers=2, phrases_per_train_video=2, **SIZES)
    before, after = contents(corpus), contents(short)
    changed = {str(path) for path in before if before[path] != after[path]}
    assert changed == {"spec.json", "train/captions.jsonl"} and before.keys() == after.keys()
    for plain, row in zip(rows(corpus / "train"), rows(short / "train")):
        more = row["captions"][len(plain["captions"]) :]
        assert row["captions"][: len(plain["captions"])] == plain["captions"] and len(more) == 2
        assert row["hard_negatives"] == plain["hard_negatives"]


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    again = write_corpus(tmp_path / "again", workers=1, **SIZES)
    assert contents(again) == contents(corpus)
    other = write_corpus(tmp_path / "other", workers=1, **(SIZES | {"seed": 4}))
    assert (
        contents(other)[(again / "train/000001.mp4").relative_to(again)] != (again / "train/000001.mp4").read_bytes()
    )


def test_an_interrupted_corpus_is_completed_and_a_complete_one_left_alone(corpus, tmp_path, monkeypatch):
    def stop_after_four(*args, done=[]):  # noqa: B006
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(1)
        write_video(*args)

    from dmae.training.synthetic import synthetic

    write_video = synthetic.write_video
    root = tmp_path / "corpus"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(synthetic, "write_video", stop_after_four)
        write_corpus(root, workers=1, **SIZES)
    assert len(list(root.rglob("*.mp4"))) == 4 and not list(root.rglob("captions.jsonl"))
    assert not (root / "spec.json").exists()  # what make takes for complete
    with pytest.raises(ValueError, match="another spec"):
        write_corpus(root, workers=1, **(SIZES | {"seed": 9}))
    write_corpus(root, workers=1, **SIZES)
    assert contents(root) == contents(corpus)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_corpus(root, **SIZES)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == stamps


def test_a_failed_encode_leaves_no_file(tmp_path, monkeypatch):
    from dmae.training.synthetic import rendering

    monkeypatch.setattr(rendering, "ENCODER_OPTIONS", {"preset": "no such preset"})
    with pytest.raises(av.error.FFmpegError):
        rendering.write_video(tmp_path / "a.mp4", np.zeros((4, 64, 64, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_refuses_what_it_cannot_write(corpus, tmp_path):
    with pytest.raises(ValueError, match="another spec"):
        write_corpus(corpus, **(SIZES | {"num_train": 7}))
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(ValueError, match="not a synthetic corpus"):
        write_corpus(tmp_path, **SIZES)
    for wrong in ({"size": 33}, {"size": 16}, {"num_test": 0}, {"num_test": capacity("test")}):
        with pytest.raises(ValueError, match=next(iter(wrong)) if "size" in wrong else "num_test|test videos"):
            write_corpus(tmp_path / "new", **(SIZES | wrong))
    with pytest.raises(ValueError, match="phrases_per_train_video"):
        write_corpus(tmp_path / "new", phrases_per_train_video=-1, **SIZES)
    assert not (tmp_path / "new").exists()


def test_command_writes_the_corpus(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    sizes = ["--train", "2", "--test", "1", "--phrases", "3", "--workers", "1"]
    assert command.run(parser.parse_args([str(tmp_path / "c"), *sizes])) == 0
    assert "2 training and 1 test" in capsys.readouterr().out
    assert [len(row["captions"]) for row in rows(tmp_path / "c" / "train")] == [8, 8]


@pytest.mark.parametrize("split", ["train", "test"])
def test_near_duplicates_differ_in_one_attribute(split):
    scenes = list(sample_groups(split, 202, 4, random.Random(1)))
    assert len(scenes) == 202
    known = {
        frozenset(thing.look for thing in scene.things) for scene in sample_scenes("train", 6000, random.Random(2))
    }
    for number in range(0, 200, 4):
        first, *copies = scenes[number : number + 4]
        meanings = {scene.meaning() for scene in (first, *copies)}
        assert len(meanings) == 4
        for copy in copies:
            exchanged = [(0, 0), (1, 1)] if first.meaning()[1:] != copy.meaning()[:0:-1] else [(0, 1), (1, 0)]
            differing = sum(
                getattr(first.things[one], name) != getattr(copy.things[other], name)
                for one, other in exchanged
                for name in ("colour", "shape", "size", "motion")
            )
            assert differing == (exchanged == [(0, 0), (1, 1)]), (first, copy)
        assert split == "train" or not {frozenset(t.look for t in scene.things) for scene in copies} & known
    if split == "test":
        assert len({scene.meaning() for scene in scenes}) == 202  # a caption still fits one video


def test_a_corpus_of_near_duplicates_is_another_corpus(tmp_path, capsys):
    root = tmp_path / "corpus"
    write_corpus(root, group=2, workers=0, **SIZES)
    assert json.loads((root / "spec.json").read_text())["group"] == 2
    with pytest.raises(ValueError, match="holds a corpus of another spec"):
        write_corpus(root, workers=0, **SIZES)
    with pytest.raises(ValueError, match="group must be at least 1, not 0"):
        write_corpus(tmp_path / "other", group=0, workers=0, **SIZES)


def test_test_captions_may_have_forms_that_training_never_has(tmp_path):
    root = write_corpus(
        tmp_path / "corpus", num_train=40, num_test=40, seed=1, unseen_forms=2, workers=0, progress=False
    )
    forms = {
        split: {form(caption) for row in rows(root / split) for caption in row["captions"]}
        for split in ("train", "test")
    }
    assert forms["test"] and not forms["test"] & forms["train"] and len(forms["train"]) == 8
    with pytest.raises(ValueError, match="unseen_forms must leave at least one form"):
        write_corpus(tmp_path / "other", unseen_forms=6, workers=0, **SIZES)


def form(caption: str) -> str:
    """The words of a caption that stay when the objects and their motions are taken out."""
    looks = re.compile(rf"a (?:{'|'.join(word for words in SIZE_WORDS.values() for word in words)}) \w+ \w+")
    motions = sorted(
        (text for pairs in MOTION_WORDS.values() for pair in pairs for text in pair), key=len, reverse=True
    )
    finite = {pair[0] for pairs in MOTION_WORDS.values() for pair in pairs}
    bare = looks.sub("X", caption)
    for text in motions:
        bare = re.sub(rf"\b{text}\b", "does" if text in finite else "doing", bare)
    return bare
