"""A Space for the tests: a small untrained model, a few videos, and the real server in this process."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from video_files import write_video

from dmae.retrieval import VideoIndex
from dmae.space.serve import serve
from dmae.space.settings import Settings
from dmae.training.synthetic.init import new_model

CHROMIUM = Path("/usr/bin/chromium")
ARTIFACTS = ROOT / "tests" / "artifacts"
QUERY = "a red star moves to the left"
HOSTILE = "<img src=x onerror='window.hacked=1'>{{7*7}}${7*7}"
CAPTIONS = [QUERY, "a big green circle goes up", "two blue squares fall, then a ring rises"]
FIRST = CAPTIONS[2]  # what the page opens with
SECONDS = {"short": 2, "long": 4}  # lengths of the videos, at ten frames a second


@dataclass
class Space:
    """A running Space: its address, what it serves, and the folder with model, index and videos."""

    url: str
    services: object
    folder: Path

    @property
    def index(self) -> VideoIndex:
        return self.services.library.index

    def ids(self, query: str, k: int, **options) -> list[str]:
        return [hit.id for hit in self.index.search(query, k=k, **options)]


def moving_square(number: int, seconds: int) -> list[np.ndarray]:
    """Pictures of a square that moves, in colours of its own, so that no two frames are alike."""
    rng = np.random.default_rng(number)
    colour, background = rng.integers(0, 255, (2, 3), dtype=np.uint8)
    pictures = []
    for step in range(10 * seconds):
        picture = np.tile(background, (64, 96, 1))
        left = (step * 80) // (10 * seconds)
        picture[20:44, left : left + 16] = colour
        pictures.append(picture)
    return pictures


def make_space_files(folder: Path, count: int = 14) -> None:
    """Model, videos (every other one long, one with a hostile title) and their index under a folder."""
    model, processor = new_model(CAPTIONS, image_size=32, width=64, vision_layers=1, text_layers=1, num_frames=6)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    (folder / "videos").mkdir()
    names = [f"clip_{n:02d}_{'short' if n % 2 else 'long'}.mp4" for n in range(count - 1)] + ["hostile_short.mp4"]
    for number, name in enumerate(names):
        seconds = SECONDS["short" if "short" in name else "long"]
        write_video(folder / "videos" / name, moving_square(number, seconds), rate=10, options={"g": "5"})
    index = VideoIndex.create(folder / "index", model.eval(), processor)
    report = index.add(folder / "videos", workers=0)
    assert report.added == count, report.failed
    row = index.table.scan(
        ["id", "frames", "frame_times", "path", "duration"], "id = 'hostile_short.mp4'"
    ).to_pylist()[0]
    frames = np.array(row["frames"], dtype=np.float32).reshape(1, -1, 64)
    metadata = [{"title": HOSTILE, "path": row["path"], "duration": row["duration"]}]
    index.add_embeddings([row["id"]], frames, None, metadata, frame_times=np.array([row["frame_times"]]))


def start_space(folder: Path, **settings) -> tuple[Space, object]:
    """Serves the files of `make_space_files`, or what a `backend` has of them; returns the Space and its `gr.Blocks`,
    which the caller closes."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {} if "backend" in settings else {"model": str(folder / "model"), "index": str(folder / "index")}
    chosen = Settings(examples=f"{FIRST}|{QUERY}", **own, **settings)
    page, services = serve(chosen, "127.0.0.1", port, block=False)
    for video in list((folder / "videos").glob("*.mp4"))[:1]:  # waits until the decoder has started
        services.decoder.picture(str(video), 0.0)
    return Space(f"http://127.0.0.1:{port}/", services, folder), page


def launch_chromium(playwright):
    """The browser; where there is none, a failure in CI and a skip elsewhere."""
    if not CHROMIUM.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing: .ci/run installs it")
        pytest.skip(f"no browser at {CHROMIUM}")
    return playwright.chromium.launch(executable_path=str(CHROMIUM))
