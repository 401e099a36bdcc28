"""A first start without a model: what is run, what the page says meanwhile, and that only a finished demo counts."""

import socket
import sys

import httpx
import pytest

from dmae.space import first_start
from dmae.space.first_start import ProgressPage, demo_paths, make_demo, run_step


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def pretend(place, script: str):
    """One step in place of the four, in a process of its own as they are."""
    return lambda _: [("Pretending <b>", [sys.executable, "-c", script.format(place=place)])]


def test_the_page_tells_the_step_and_escapes_what_it_prints(port):
    page = ProgressPage("127.0.0.1", port)
    try:
        page.tell(2, "Making a small model", "<script>alert(1)</script>")
        body = httpx.get(f"http://127.0.0.1:{port}/").text
    finally:
        page.close()
    assert "Making a small model" in body and "step 2 of 4" in body
    assert "<script>" not in body and "&lt;script&gt;" in body


def test_only_a_finished_demo_is_served(tmp_path, port, monkeypatch):
    place = tmp_path / "small"
    made = "import pathlib; p = pathlib.Path('{place}'); (p / 'index').mkdir(); (p / 'model').mkdir()\n"
    made += "(p / 'model' / 'config.json').write_text('{{}}')"
    monkeypatch.setattr(first_start, "steps", pretend(place, made + "\nraise SystemExit('no space left')"))
    assert demo_paths(tmp_path) is None
    with pytest.raises(RuntimeError, match="no space left"):
        make_demo(tmp_path, port=port)
    assert demo_paths(tmp_path) is None
    monkeypatch.setattr(first_start, "steps", pretend(place, "print('again')"))
    assert make_demo(tmp_path, port=port) == (f"{place}/model", f"{place}/index") == demo_paths(tmp_path)


def test_every_line_of_a_step_is_told():
    lines = []
    run_step([sys.executable, "-c", "print('one'); print('two\\rthree')"], lines.append)
    assert lines[0] == "one" and lines[-1] == "three"
