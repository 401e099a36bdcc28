"""A demo made on first start, where no model and no index are named: a corpus drawn by code and a model trained on it.

The training is that of the `dmae` command in processes of its own, and a page tells how far it is.
"""

import html
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path("demo")
EXAMPLES = "a red star moves to the left|a big green circle goes up|a small blue square rises, followed by a triangle"
TRAIN, TEST, STEPS = 600, 60, 200
REFRESH_SECONDS = 2
_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="{seconds}">
<title>Getting ready</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem }}
progress {{ width: 100% }}
code {{ font-size: .8rem; overflow-wrap: anywhere; opacity: .7 }}
</style>
<h1>Getting ready</h1>
<p>No model is set, so a small one is being trained on videos drawn by code. This happens once and takes minutes.</p>
<p role="status"><strong>{title}</strong> (step {number} of {total})</p>
<progress max="{total}" value="{number}" aria-label="Progress"></progress>
<p><code>{line}</code></p>
</html>
"""


def demo_paths(folder: Path = FOLDER) -> tuple[str, str] | None:
    """Model and index of a demo that is there: that of `make demo`, or one made by an earlier first start."""
    for place in (folder, folder / "small"):
        if (
            (place / "model" / "config.json").is_file()
            and (place / "index").is_dir()
            and not _unfinished(place).exists()
        ):
            return str(place / "model"), str(place / "index")
    return None


def make_demo(folder: Path = FOLDER, host: str = "127.0.0.1", port: int = 7860) -> tuple[str, str]:
    """Makes the small demo with a progress page at `port`; takes up where an interrupted start left off.

    Raises:
        RuntimeError: a step failed; the message is its last line.
    """
    place = folder / "small"
    place.mkdir(parents=True, exist_ok=True)
    _unfinished(place).touch()
    page = ProgressPage(host, port)
    try:
        for number, (title, command) in enumerate(steps(place), 1):
            page.tell(number, title, "")
            run_step(command, lambda line, number=number, title=title: page.tell(number, title, line))
    finally:
        page.close()
    _unfinished(place).unlink()
    return str(place / "model"), str(place / "index")


def steps(place: Path) -> list[tuple[str, list[str]]]:
    """What is run, in order: title and command."""
    dmae = [sys.executable, "-m", "dmae.retrieval.cli"]
    corpus, untrained, model = f"{place}/corpus", f"{place}/untrained", f"{place}/model"
    recipe = [f"model={untrained}", f"dataset={corpus}", f"output_dir={model}", "train_split=train", "eval_split=test"]
    recipe += [f"max_steps={STEPS}", "batch_size=32", "clip_learning_rate=1e-3", "learning_rate=1e-3", "eval_every=-1"]
    return [
        ("Drawing videos", [*dmae, "synthetic", corpus, "--train", str(TRAIN), "--test", str(TEST)]),
        ("Making a small model", [*dmae, "init", untrained, "--captions", corpus]),
        ("Training it", [*dmae, "train", *recipe, "cpu=true", "word_dropping=false"]),
        ("Indexing the videos", [*dmae, "index", f"{corpus}/test", "--model", model, "--index", f"{place}/index"]),
    ]


def run_step(command: list[str], tell: Callable[[str], None]) -> None:
    """Runs a command, passing on each line it prints."""
    print("$", " ".join(command), flush=True)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1
    )
    last = ""
    for line in process.stdout:  # text mode: the carriage returns of progress bars end lines too
        last = line.strip() or last
        tell(last)
    if process.wait():
        raise RuntimeError(f"making the demo failed at `{' '.join(command)}`: {last}")


class ProgressPage:
    """A page at the port of the Space that says what is being made and reloads itself until the Space is there."""

    def __init__(self, host: str, port: int):
        self._now = (0, "Starting", "")
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = page.html().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def tell(self, number: int, title: str, line: str) -> None:
        self._now = (number, title, line)

    def html(self) -> str:
        number, title, line = self._now
        total = len(steps(FOLDER))
        return _HTML.format(
            seconds=REFRESH_SECONDS,
            title=html.escape(title),
            number=number,
            total=total,
            line=html.escape(line[-200:]),
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _unfinished(place: Path) -> Path:
    return place / ".unfinished"
