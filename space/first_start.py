"""A demo made on first start, where no model and no index are named: a corpus drawn by code and a model trained on it.

The training is that of the `dmae` command in processes of its own, and a page tells how far it is.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from dmae.modeling import DmaeError

from .progress_page import ProgressPage

FOLDER = Path("demo")
# The best moment of the first lies in the film.
EXAMPLES = (
    "a large red star slides to the left as a large green circle rests"
    "|a red ring moves left|a purple triangle sinks and a circle rises|a big yellow star next to a triangle"
)
TRAIN, TEST = 1200, 60
STILLS, STEPS = 600, 250


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
        with ProgressPage(host, port, "why_demo", total=len(steps(folder)) + 1) as page:
            yield make_demo(folder / "small", page.tell)


def is_drawn(index: str) -> bool:
    """Whether an index is that of a corpus drawn by code, which lies beside it."""
    place = Path(index)
    return place.name == "index" and (place.parent / "corpus" / "spec.json").is_file()


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
    """Makes the small demo under `place`, telling the number and name of each step and every line it prints."""
    place.mkdir(parents=True, exist_ok=True)
    _unfinished(place).touch()
    for number, (step, command) in enumerate(steps(place), 1):
        tell(number, step, "")
        run_step(command, lambda line, number=number, step=step: tell(number, step, line))
    _unfinished(place).unlink()
    tell(number + 1, "step_page", "")
    return str(place / "model"), str(place / "index")


def steps(place: Path) -> list[tuple[str, list[str]]]:
    """What is run, in order: the key of a step's name, and its command. It is the recipe of `make demo`, smaller."""
    dmae = [sys.executable, "-m", "dmae.cli"]
    corpus, films, start, model = f"{place}/corpus", f"{place}/films", f"{place}/start", f"{place}/model"
    videos = [f"{corpus}/test", films]
    recipe = [str(files("dmae.training.configs") / "demo.yaml"), f"model={start}", f"dataset={corpus}"]
    recipe += [f"output_dir={model}", f"max_steps={STEPS}", "batch_size=32"]
    return [
        ("step_drawing", [*dmae, "synthetic", corpus, "--train", str(TRAIN), "--test", str(TEST)]),
        ("step_film", [*dmae, "synthetic", films, "--films", "1"]),
        ("step_stills", [*dmae, "init", start, "--captions", corpus, "--stills", str(STILLS), "--short-share", "0.3"]),
        ("step_training", [*dmae, "train", *recipe]),
        ("step_indexing", [*dmae, "index", *videos, "--model", model, "--index", f"{place}/index"]),
    ]


def run_step(command: list[str], tell: Callable[[str], None]) -> None:
    """Runs a command, passing on each line it prints."""
    print("$", " ".join(command), flush=True)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1
    )
    last = ""
    try:
        for line in process.stdout or ():  # text mode: the carriage returns of progress bars end lines too
            last = line.strip() or last
            tell(last)
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
    if process.returncode:
        raise DmaeError(f"making the demo failed at `{' '.join(command)}`: {last}")


def _unfinished(place: Path) -> Path:
    return place / ".unfinished"
