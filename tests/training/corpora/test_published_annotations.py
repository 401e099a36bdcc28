"""The benchmarks' published annotation files, read whole: how many videos and sentences, and the texts of each video
as the field's codes have them. Skipped where those files are not beside this checkout."""

import csv
import json
import os
import re

import pytest
from places import ANNOTATIONS, needs_annotations

from dmae.training.corpora import load_samples
from dmae.training.corpora.benchmarks import BENCHMARKS

pytestmark = needs_annotations


def published(source, split, videos="/nowhere", **options):
    """A split with its captions, whether or not its videos are there."""
    return load_samples(source, split, annotations=str(ANNOTATIONS / source), videos=videos, missing="keep", **options)


def words(text):
    return re.sub(r"\s+", " ", text).strip()


def joined_in_file_order(source, split):
    """What the field's codes make of the files: every listed video's sentences, joined by blanks as they come."""
    if source == "activitynet":
        rows = json.loads((ANNOTATIONS / source / "val_1.json").read_text())
        return {video: words(" ".join(row["sentences"])) for video, row in rows.items()}
    listed = set((ANNOTATIONS / source / f"{split}_list.txt").read_text().split("\n"))
    texts = {}
    for row in json.loads((ANNOTATIONS / source / f"{split}_data.json").read_text()):
        if row["video"] in listed:
            texts.setdefault(row["video"], []).append(row["description"])
    return {video: words(" ".join(sentences)) for video, sentences in texts.items()}


@pytest.mark.parametrize(
    "source, split, num_videos, sorted_differently",
    [("didemo", "test", 1004, 851), ("didemo", "val", 1065, None), ("activitynet", "test", 4917, 293)],
)
def test_paragraphs_are_the_published_ones(source, split, num_videos, sorted_differently):
    samples = published(source, split)
    assert len(samples) == num_videos == BENCHMARKS[source].num_videos[split]
    assert {sample.video_id: words(*sample.captions) for sample in samples} == joined_in_file_order(source, split)
    if sorted_differently:
        by_time = published(source, split, sentence_order="time")
        assert sum(a.captions != b.captions for a, b in zip(samples, by_time)) == sorted_differently


def test_msrvtt_1k_a():
    samples = published("msrvtt", "test")
    with open(ANNOTATIONS / "msrvtt" / "MSRVTT_JSFUSION_test.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(sample.video_id, sample.captions) for sample in samples] == [
        (row["video_id"], (row["sentence"].strip(),)) for row in rows
    ]
    assert len(samples) == 1000


@pytest.mark.parametrize("source, split", [("msvd", "train"), ("msvd", "val"), ("msvd", "test"), ("didemo", "train")])
def test_lists_name_as_many_videos_as_published(source, split):
    names = (ANNOTATIONS / source / f"{split}_list.txt").read_text().split("\n")
    assert len(list(filter(None, names))) == BENCHMARKS[source].num_videos[split]


def test_activitynets_ids_add_nothing_to_its_captions():
    described = json.loads((ANNOTATIONS / "activitynet" / "val_1.json").read_text()).keys()
    assert described <= set(json.loads((ANNOTATIONS / "activitynet" / "val_ids.json").read_text()))


@pytest.mark.parametrize("named", ["{name}", "{name}.mp4", "{stem}.mp4"])
@pytest.mark.parametrize("split", ["test", "val"])
def test_every_didemo_video_is_found_however_the_files_are_named(tmp_path, split, named):
    """As published, as the dataset's own script writes them, and converted; in nested folders."""
    names = (ANNOTATIONS / "didemo" / f"{split}_list.txt").read_text().split()
    for number, name in enumerate(names):
        folder = tmp_path / f"part{number % 3}"
        folder.mkdir(exist_ok=True)
        (folder / named.format(name=name, stem=os.path.splitext(name)[0])).touch()
    samples = load_samples("didemo", split, annotations=str(ANNOTATIONS / "didemo"), videos=str(tmp_path))
    assert [sample.video_id for sample in samples] == names
