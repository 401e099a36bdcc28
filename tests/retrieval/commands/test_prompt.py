"""`dmae search` without a query, on a terminal of its own."""

import sys
from pathlib import Path

import pytest
from terminal import Terminal
from training_parts import tiny_model
from video_files import write_video

from dmae.modeling import read_frames
from dmae.retrieval import VideoIndex

CTRL_C, CTRL_D, FIRST_OF_HISTORY = "\x03", "\x04", "\x1b<"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model, an index of three videos, and the history of an earlier conversation."""
    folder = tmp_path_factory.mktemp("prompt")
    model, processor = tiny_model()
    for part in (model, processor):
        part.save_pretrained(folder / "model")
    (folder / "videos").mkdir()
    for number in range(3):
        write_video(folder / "videos" / f"{number}.mp4", 8 + number)
    VideoIndex.create(folder / "index", model.eval(), processor).add(folder / "videos", workers=0)
    (folder / "cache" / "dmae").mkdir(parents=True)
    (folder / "cache" / "dmae" / "history").write_text("a blue ring\n")
    return folder


def one_line(shown: str) -> str:
    """What is shown below the line that was typed, which must be one line."""
    _, *lines = shown.strip().splitlines()
    assert len(lines) == 1, shown
    return lines[0]


def test_a_conversation_loads_once_and_outlives_every_mistake(place):
    argv = [sys.executable, "-m", "dmae.cli", "search", "-k", "2"]
    argv += ["--model", str(place / "model"), "--index", str(place / "index")]
    with Terminal(argv, "search> ", XDG_CACHE_HOME=str(place / "cache")) as terminal:
        assert ":help" in terminal.wait()
        assert "type one first" in one_line(terminal.type(":more\n"))
        assert "type a query first" in one_line(terminal.type(":explain 1\n"))
        for command in (":more", ":explain N", ":cut N [FOLDER]", ":help", ":quit"):
            assert command in terminal.type(":help\n")
        found = terminal.type("a red [bold] square\n")
        assert "a red [bold] square" in found and "│ 2 │" in found and "│ 3 │" not in found
        assert one_line(terminal.type("misspelt.mp4\n")).startswith("no file misspelt.mp4")
        assert ":help lists them" in one_line(terminal.type(":nonsense\n"))
        more = terminal.type(":more\n")
        assert "│ 3 │" in more and "│ 2 │" not in more
        assert one_line(terminal.type(":more\n")) == "no more results for 'a red [bold] square'"
        why = terminal.type(":explain 3\n")
        assert "the whole query" in why and "│ [bold] " in why
        for number in ("4", "0", "x", ""):
            assert "a result that is shown, 1 to 3" in one_line(terminal.type(f":explain {number}\n"))
        clip = one_line(terminal.type(f":cut 3 {place / 'my clips'}\n"))
        assert Path(clip).parent == place / "my clips" and len(read_frames(clip, 2).frames) == 2
        assert "my clips" not in terminal.type(f"half a line{CTRL_C}")
        assert "a blue ring" in terminal.type(f"{FIRST_OF_HISTORY}\n")  # a line of before
        assert terminal.end(CTRL_D) == 0
    lines = (place / "cache" / "dmae" / "history").read_text().splitlines()
    assert lines[0] == lines[-1] == "a blue ring" and "a red [bold] square" in lines and "half a line" not in lines
