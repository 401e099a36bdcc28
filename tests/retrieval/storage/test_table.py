"""The table under an index."""

import os
import time

import pytest
import torch

from dmae import VideoIndex
from dmae.retrieval.storage import table as tables
from dmae.retrieval.storage.table import VideoTable


@pytest.fixture
def place(tmp_path):
    index = VideoIndex.create(tmp_path / "index", dim=4)
    index.add_embeddings(["a"], torch.eye(4)[None, :2])
    return tmp_path / "index"


def add(place, name: str) -> None:
    VideoIndex.open(place).add_embeddings([name], torch.eye(4)[None, :2])


def test_a_reader_sees_every_commit_of_another(place):
    reader = VideoTable.open(place)
    seen = [reader.version]
    for number in range(5):  # as fast as they go: the clock of the file system may not tell them apart
        add(place, f"video {number}")
        seen.append(reader.version)
    assert seen == sorted(set(seen))


def test_a_table_that_nobody_changed_is_not_asked_again(place, monkeypatch):
    folder = place / "videos.lance" / "_versions"
    assert folder.is_dir()
    reader = VideoTable.open(place)
    long_ago = time.time_ns() - 2 * tables.SETTLED
    os.utime(folder, ns=(long_ago, long_ago))
    version = reader.version
    engine = reader._table
    monkeypatch.setattr(reader, "_table", None)
    assert reader.version == version
    monkeypatch.setattr(reader, "_table", engine)
    add(place, "b")
    assert reader.version > version
