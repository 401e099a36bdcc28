"""A first start without a model: what is run, what the page says meanwhile, and that only a finished demo counts."""

import re
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

import httpx
import pytest

from dmae.modeling import DmaeError
from dmae.space import first_start, progress_page, services
from dmae.space.first_start import demo, demo_paths, is_drawn, run_step
from dmae.space.progress_page import ProgressPage
from dmae.space.serve import serve
from dmae.space.services import open_library
from dmae.space.settings import Settings


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def pretend(place, script: str):
    """One step in place of all, in a process of its own as they are."""
    return lambda _: [("step_model", [sys.executable, "-c", script.format(place=place)])]


def test_the_page_tells_the_step_and_escapes_what_it_prints(port):
    with ProgressPage("127.0.0.1", port, "why_demo", total=5) as page:
        page.tell(2, "step_stills", "<script>alert(1)</script> 40%")
        body = httpx.get(f"http://127.0.0.1:{port}/").text
    assert "Training a small model on pictures" in body and "step 2 of 5" in body and 'value="1.40"' in body
    assert "videos drawn by code" in body
    assert "<script>alert" not in body and "&lt;script&gt;alert" in body


@pytest.mark.parametrize(
    ("accepted", "language", "words"),
    [
        ("de-AT,en;q=0.5", "de", ("Wird vorbereitet", "Der Index wird gelesen", "Schritt 3 von 4")),
        ("zh-CN", "zh", ("正在准备", "正在读取索引", "第 3 步，共 4 步")),
        ("fr", "en", ("Getting ready", "Reading the index", "step 3 of 4")),
    ],
)
def test_the_page_speaks_the_language_of_the_browser(port, accepted, language, words):
    with ProgressPage("127.0.0.1", port, "why_loading", total=4) as page:
        page.tell(3, "step_index", "4,096 / 10,000 (41%)")
        body = httpx.get(f"http://127.0.0.1:{port}/", headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in body and all(word in body for word in words)
    assert "4,096 / 10,000 (41%)" in body and 'value="2.41"' in body


def test_reading_an_index_is_told_in_percent(space, monkeypatch):
    monkeypatch.setattr("dmae.retrieval.search.resident.LOAD_BATCH", 5)
    told = []
    settings = Settings(model=str(space.folder / "model"), index=str(space.folder / "index"))
    open_library(settings, lambda number, step, line="": told.append((step, line)))
    first, *lines = [line for step, line in told if step == "step_index"]
    assert first == "" and lines[0] == "5 / 14 (36%)" and lines[-1] == "14 / 14 (100%)"
    assert lines == sorted(lines, key=lambda line: int(line.split()[0])) and len(lines) > 2


@pytest.mark.browser
def test_the_page_gives_way_to_what_follows_at_its_address(port, browser, monkeypatch):
    class Follower(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<h1>Find the moment</h1>")

        def log_message(self, *args):
            pass

    monkeypatch.setattr(progress_page, "REFRESH_SECONDS", 0.1)
    visitor = browser.new_page()
    with ProgressPage("127.0.0.1", port, "why_demo", total=5) as page:
        visitor.goto(f"http://127.0.0.1:{port}/")
        page.tell(3, "step_training", "loss=1")
        visitor.wait_for_selector("main:has-text('Training it')")
    visitor.wait_for_timeout(400)  # nobody listens: what was told last stays
    assert "Training it" in visitor.inner_text("main")
    follower = HTTPServer(("127.0.0.1", port), Follower)
    Thread(target=follower.serve_forever, daemon=True).start()
    visitor.wait_for_selector("h1:has-text('Find the moment')")
    visitor.close()
    follower.shutdown()
    follower.server_close()


def test_the_page_is_there_before_any_large_library():
    probe = "import sys, dmae.space.serve, dmae.space.settings, dmae.space.first_start; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert "dmae.space.first_start" in loaded
    assert not {"torch", "gradio", "transformers", "numpy", "lancedb"} & set(loaded)


def test_gradio_comes_whole_without_renewing_its_stubs():
    probe = """
import ast, gc, inspect
from dmae.space.serve import quick_imports
parse, getfile, parsed = ast.parse, inspect.getfile, []
ast.parse = lambda source, *args, **kwargs: (parsed.append(str(source)), parse(source, *args, **kwargs))[1]
with quick_imports():
    assert not gc.isenabled()
    import gradio
assert gc.isenabled() and inspect.getfile is getfile
assert gradio.Textbox(label="x").submit and inspect.getfile(gradio.Textbox).endswith("textbox.py")
print(sum("class Textbox(" in source for source in parsed))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_a_taken_port_and_half_of_a_pair_are_told_before_anything_is_loaded(port):
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(OSError, match=f"port {port} cannot be used.*--port"),
    ):
        serve(Settings(model="m", index="i"), "127.0.0.1", port, block=False)
    with pytest.raises(ValueError, match="give --index"):
        serve(Settings(model="m"), "127.0.0.1", port, block=False)


def test_only_a_finished_demo_is_served(tmp_path, port, monkeypatch):
    place = tmp_path / "small"
    made = "import pathlib; p = pathlib.Path('{place}'); (p / 'index').mkdir(); (p / 'model').mkdir()\n"
    made += "(p / 'model' / 'config.json').write_text('{{}}')"
    monkeypatch.setattr(first_start, "steps", pretend(place, made + "\nraise SystemExit('no space left')"))
    assert demo_paths(tmp_path) is None
    with pytest.raises(DmaeError, match="no space left"), demo("127.0.0.1", port, tmp_path):
        pass
    assert demo_paths(tmp_path) is None
    monkeypatch.setattr(first_start, "steps", pretend(place, "print('again')"))
    with demo("127.0.0.1", port, tmp_path) as made:
        assert made == (f"{place}/model", f"{place}/index") == demo_paths(tmp_path)
        assert "Opening the page" in httpx.get(f"http://127.0.0.1:{port}/").text
    with demo("127.0.0.1", port, tmp_path) as again, pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")
    assert again == made


def test_every_line_of_a_step_is_told():
    lines = []
    run_step([sys.executable, "-c", "print('one'); print('two\\rthree')"], lines.append)
    assert lines[0] == "one" and lines[-1] == "three"


def test_a_drawn_corpus_is_known_by_what_lies_beside_its_index(tmp_path):
    (tmp_path / "corpus").mkdir()
    assert not is_drawn(str(tmp_path / "index"))
    (tmp_path / "corpus" / "spec.json").write_text("{}")
    assert is_drawn(str(tmp_path / "index"))
    assert not is_drawn(str(tmp_path / "index-1234"))  # one's own videos, indexed beside the demo
    assert not is_drawn("s3://bucket/other") and not is_drawn("owner/index")


def test_the_opening_is_told_where_the_page_will_be(port, space_files, monkeypatch):
    settings = Settings(model=str(space_files / "model"), index=str(space_files / "index"))
    told, heard, open_index = [], Event(), services.open_index

    def open_when_heard(*arguments, **options):
        assert heard.wait(30)
        return open_index(*arguments, **options)

    monkeypatch.setattr(services, "open_index", open_when_heard)

    def listen():
        while not told or told[-1] != "ready":
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
                told.append(answer.text if "X-Progress" in answer.headers else "ready")
                if "Reading the index" in told[-1]:
                    heard.set()
            except httpx.HTTPError:
                time.sleep(0.005)

    listener = Thread(target=listen, daemon=True)
    listener.start()
    page, running = serve(settings, "127.0.0.1", port, block=False)
    listener.join(30)
    page.close()
    running.close()
    steps = [re.search(r"<strong>(.*)</strong>", text)[1] for text in told[:-1]]
    assert told[-1] == "ready" and "Reading the index" in steps
    assert steps == sorted(
        steps,
        key=["Starting", "Loading the libraries", "Loading the model", "Reading the index", "Opening the page"].index,
    )
    assert not any(str(space_files) in text for text in told)
