"""Results are printed in full where standard output lacks the letters of a file name, and as letters alone."""

import io
import json
import sys

import numpy as np
import pytest
from training_parts import tiny_model
from video_files import write_video

from dmae import cli
from dmae.retrieval import VideoIndex
from dmae.retrieval.commands.prompt import print_explanation
from dmae.retrieval.commands.search import print_hits
from dmae.retrieval.search.explanation import Explanation

NAME = "日本😀ü.mp4"
EVIL = "a\x1b[2J\x9b1m\u202eb"  # clears the screen, writes from right to left
SHOWN = r"a\u001b[2J\u009b1m\u202eb"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    for part in tiny_model():
        part.save_pretrained(folder / "model")
    (folder / "videos").mkdir()
    write_video(folder / "videos" / NAME, 8)
    (folder / "videos" / "schlecht 日.mp4").write_bytes(b"bad")
    return folder


def printed(monkeypatch, encoding: str, *argv) -> tuple[int, str]:
    buffer = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
        patch.setenv("COLUMNS", "400")  # so wide that no name is folded
        status = cli.main([str(word) for word in argv])
        sys.stdout.flush()
        return status, buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_no_result_is_lost(place, monkeypatch, encoding):
    target = ("--model", place / "model", "--index", place / "index")
    status, out = printed(monkeypatch, encoding, "index", place / "videos", *target, "--json")
    assert status == 0 and json.loads(out)["videos"] == 1 and "schlecht 日" in json.loads(out)["failed"][0][0]
    status, out = printed(monkeypatch, encoding, "search", "ein Hund 犬 😀 \udcff", *target, "--json")
    assert status == 0 and [hit["id"] for hit in json.loads(out)] == [NAME]
    status, out = printed(monkeypatch, encoding, "search", "ein Hund 犬 \udcff", *target, "--html", place / "a.html")
    assert status == 0 and ".mp4" in out and (NAME in out if encoding == "utf-8" else "\\u65e5" in out)
    assert "ein Hund 犬" in (place / "a.html").read_text(encoding="utf-8")


def test_no_name_reaches_the_terminal_as_a_command(tmp_path, monkeypatch):
    index = VideoIndex.create(tmp_path / "index", dim=2)
    index.add_embeddings([EVIL, "twin"], [[[1.0, 0.0]]] * 2)
    status, out = printed(monkeypatch, "utf-8", "duplicates", "--index", tmp_path / "index")
    assert status == 0 and SHOWN in out and EVIL not in out and "\x1b" not in out
    status, out = printed(monkeypatch, "utf-8", "duplicates", "--index", tmp_path / "index", "--json")
    assert {copy["id"] for copy in json.loads(out)[0]} == {EVIL, "twin"} and not {"\x9b", "\u202e"} & set(out)
    hits = index.search_embeddings([[1.0, 0.0]], [[[1.0, 0.0]]], [[1.0]])[0]
    show = {
        "a table": lambda: print_hits(EVIL, hits, 0, {}),
        "an explanation": lambda: print_explanation(
            EVIL, Explanation(hits[0], [EVIL], np.ones(1), np.ones((1, 1)), np.ones(1))
        ),
    }
    for name, work in show.items():
        buffer = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", buffer)
            patch.setenv("COLUMNS", "400")
            work()
        assert buffer.getvalue().count(SHOWN) >= 2 and not {"\x1b", "\x9b", "\u202e"} & set(buffer.getvalue()), name
