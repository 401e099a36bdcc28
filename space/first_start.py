"""A demo made on first start, where no model and no index are named: a corpus drawn by code and a model trained on it.

The training is that of the `dmae` command in processes of its own, and a page tells how far it is.
"""

import html
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

from dmae.modeling import DmaeError

FOLDER = Path("demo")
EXAMPLES = "a red ring moves left|a purple triangle sinks and a circle rises|a big yellow star next to a triangle"
TRAIN, TEST = 1200, 60
STILLS, STEPS = 600, 250
REFRESH_SECONDS = 2
HEADER = "X-Progress"  # by which the page tells itself from the one that follows
_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>
<title>Getting ready</title>
<style>
:root {{ color-scheme: light dark; accent-color: #2563eb }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem }}
progress {{ width: 100%; height: 1rem }}
code {{ display: block; min-height: 3em; font-size: .8rem; overflow-wrap: anywhere; opacity: .75 }}
</style>
</head>
<body>
<h1>Getting ready</h1>
<p>No model is set, so a small one is being trained on videos drawn by code. This happens once and takes minutes.</p>
<main>
<p role="status"><strong>{title}</strong> (step {number} of {total})</p>
<progress max="{total}" value="{done:.2f}" aria-label="Progress"></progress>
<p><code>{line}</code></p>
</main>
<script>
// Stays while nobody listens, between this page and the one that follows, and gives way as soon as that answers.
setInterval(async () => {{
  try {{
    const answer = await fetch(location.href, {{ cache: "no-store" }});
    if (!answer.ok) return;
    if (!answer.headers.has("{header}")) return location.reload();
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(now.querySelector("main"));
  }} catch {{}}
}}, 1000 * {seconds});
</script>
</body>
</html>
"""


@contextmanager
def demo(host: str, port: int, folder: Path = FOLDER) -> Iterator[tuple[str, str]]:
    """Model and index of the demo, made first where there is none; takes up where an interrupted start left off.

    While it is made, a page at `port` tells how far it is. The page stays until the block ends, so that what is still
    to be loaded is waited for on it, too.

    Raises:
        DmaeError: a step failed; the message is its last line.
    """
    ready = demo_paths(folder)
    if ready:
        yield ready
    else:
        with ProgressPage(host, port) as page:
            yield make_demo(folder / "small", page.tell)


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


def make_demo(place: Path, tell: Callable[[int, str, str], None]) -> tuple[str, str]:
    """Makes the small demo under `place`, telling the number and title of each step and every line it prints."""
    place.mkdir(parents=True, exist_ok=True)
    _unfinished(place).touch()
    for number, (title, command) in enumerate(steps(place), 1):
        tell(number, title, "")
        run_step(command, lambda line, number=number, title=title: tell(number, title, line))
    _unfinished(place).unlink()
    tell(number + 1, "Opening the page", "")
    return str(place / "model"), str(place / "index")


def steps(place: Path) -> list[tuple[str, list[str]]]:
    """What is run, in order: title and command."""
    dmae = [sys.executable, "-m", "dmae.cli"]
    corpus, start, model = f"{place}/corpus", f"{place}/start", f"{place}/model"
    recipe = [str(files("dmae.training.configs") / "demo.yaml"), f"model={start}", f"dataset={corpus}"]
    recipe += [f"output_dir={model}", f"max_steps={STEPS}", "batch_size=32"]
    return [
        ("Drawing videos", [*dmae, "synthetic", corpus, "--train", str(TRAIN), "--test", str(TEST)]),
        ("Training a small model on pictures", [*dmae, "init", start, "--captions", corpus, "--stills", str(STILLS)]),
        ("Training it on videos", [*dmae, "train", *recipe]),
        ("Indexing the videos", [*dmae, "index", f"{corpus}/test", "--model", model, "--index", f"{place}/index"]),
    ]


def run_step(command: list[str], tell: Callable[[str], None]) -> None:
    """Runs a command, passing on each line it prints."""
    print("$", " ".join(command), flush=True)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1
    )
    last = ""
    try:
        for line in process.stdout:  # text mode: the carriage returns of progress bars end lines too
            last = line.strip() or last
            tell(last)
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
    if process.returncode:
        raise DmaeError(f"making the demo failed at `{' '.join(command)}`: {last}")


class ProgressPage:
    """A page at the port of the Space that says what is being made, until the Space itself answers there."""

    def __init__(self, host: str, port: int):
        self._now = (0, "Starting", "")
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = page.html().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header(HEADER, "1")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "ProgressPage":
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tell(self, number: int, title: str, line: str) -> None:
        self._now = (number, title, line)

    def html(self) -> str:
        number, title, line = self._now
        percent = re.search(r"(\d{1,3})%", line)
        return _HTML.format(
            seconds=REFRESH_SECONDS,
            header=HEADER,
            title=html.escape(title),
            number=number,
            total=len(steps(FOLDER)) + 1,
            done=max(number - 1, 0) + (int(percent[1]) / 100 if percent else 0),
            line=html.escape(line[-200:]),
        )


def _unfinished(place: Path) -> Path:
    return place / ".unfinished"
