"""Results are printed in full where standard output lacks the letters of a file name."""

import io
import json
import sys

import pytest
from training_parts import tiny_model
from video_files import write_video

from dmae import cli

NAME = "日本😀ü.mp4"


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
