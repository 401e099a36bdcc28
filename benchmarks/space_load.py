"""How fast is the Space? Its start, a search in a browser, and many visitors at once, alone and beside an index job.

    python benchmarks/space_load.py      # 10,000 videos, a text tower of ViT-B/32's size, 20 visitors for twice 60 s

Everything stays on this machine. Prints one table; the limits are those that the Space is built to.
"""

import argparse
import asyncio
import html
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch
from torch.nn import functional as F

from dmae.modeling import DmaeConfig, DmaeModel
from dmae.retrieval import VideoIndex
from dmae.retrieval.storage.rows import VideoFile
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.synthetic import write_corpus

CHROMIUM = "/usr/bin/chromium"
WORDS = (
    "red",
    "green",
    "star",
    "ring",
    "moves",
    "falls",
    "left",
    "small",
    "big",
    "dog",
    "cat",
    "runs",
    "ball",
    "tree",
)
FRAMES, THINK_SECONDS, WARM_QUERIES = 12, 1.0, 30
LIMITS = {"start": 10.0, "search": 1.0, "visitors": 1.0}  # seconds
SLOWER, GROWTH = 2.0, 0.02  # how much an index job may slow visitors down; how much memory may grow within a minute


def make_files(folder: Path, videos: int) -> None:
    """A model with a text tower of ViT-B/32's size, and an index of `videos` random videos over 40 real files."""
    _, processor = new_model([" ".join(WORDS)], image_size=64, num_frames=FRAMES)
    text = {"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12}
    text |= {"num_attention_heads": 8, "max_position_embeddings": 77, "eos_token_id": processor.tokenizer.eos_token_id}
    vision = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision |= {"image_size": 64, "patch_size": 16}
    torch.manual_seed(0)
    model = DmaeModel(DmaeConfig(text_config=text, vision_config=vision, projection_dim=512, num_frames=FRAMES)).eval()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    write_corpus(folder / "corpus", num_train=1, num_test=40, size=128)
    files = sorted((folder / "corpus" / "test").glob("*.mp4"))
    index = VideoIndex.create(folder / "index", model, processor)
    embeds = F.normalize(torch.randn(videos, FRAMES, 512), dim=-1)
    times = np.tile(np.linspace(0.05, 1.5, FRAMES, dtype=np.float32), (videos, 1))
    listed = [VideoFile(path=str(files[n % len(files)]), duration=1.6) for n in range(videos)]
    index.add_embeddings([f"video {n}" for n in range(videos)], embeds, None, frame_times=times, files=listed)


def start(folder: Path) -> tuple[subprocess.Popen, str, float]:
    """The server in a process of its own; seconds from its start to its first page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dmae.cli", "serve", "--port", str(port)]
    command += ["--model", str(folder / "model"), "--index", str(folder / "index")]
    began = time.perf_counter()
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    url = f"http://127.0.0.1:{port}/"
    while server.poll() is None and time.perf_counter() - began < 300:
        try:
            answer = httpx.get(url, timeout=5)
            if answer.status_code == 200 and "X-Progress" not in answer.headers:  # not the page of the loading
                return server, url, time.perf_counter() - began
        except httpx.HTTPError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


def browser_searches(url: str) -> list[float]:
    """Seconds from Enter to the results on the page, for warm queries in a real browser."""
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(reduced_motion="reduce")
        page.goto(url)
        page.wait_for_selector("#query textarea, #query input")
        for number in range(WARM_QUERIES + 3):
            page.evaluate("document.querySelectorAll('#results .card').forEach((card) => card.dataset.old = 1)")
            page.fill("#query textarea, #query input", query())
            began = time.perf_counter()
            page.keyboard.press("Enter")
            page.wait_for_selector("#results .card:not([data-old])")
            if number >= 3:
                seconds.append(time.perf_counter() - began)
            page.wait_for_function("[...document.querySelectorAll('#detail img')].every((image) => image.complete)")
        browser.close()
    return seconds


def query() -> str:
    return " ".join(random.choices(WORDS, k=6))


async def visitors(url: str, count: int, seconds: float, server: psutil.Process):
    """Visitors who search, look at four pictures, think and search again: their times, errors and memory samples."""
    times, errors, memory = [], [], []
    end = time.perf_counter() + seconds

    async def visitor(number: int):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            await asyncio.sleep(number * THINK_SECONDS / count)
            while time.perf_counter() < end:
                began = time.perf_counter()
                try:
                    await search_once(client, f"visitor{number}")
                    times.append(time.perf_counter() - began)
                except (httpx.HTTPError, ValueError) as error:
                    errors.append(repr(error))
                await asyncio.sleep(THINK_SECONDS)

    async def watch():
        while time.perf_counter() < end:
            memory.append(sum(p.memory_info().rss for p in [server, *server.children(recursive=True)]))
            await asyncio.sleep(2)

    await asyncio.gather(watch(), *(visitor(number) for number in range(count)))
    return times, errors, memory


async def search_once(client: httpx.AsyncClient, session: str) -> None:
    """What the page does: the search with its explanation, then the first pictures."""
    asked = {"data": [query(), None, None, True, True, False], "session_hash": session}
    answer = await client.post("gradio_api/call/ask", json=asked)
    answer.raise_for_status()
    events = (await client.get(f"gradio_api/call/ask/{answer.json()['event_id']}")).text
    if "event: complete" not in events:
        raise ValueError(events[:200])
    page = json.loads(events.split("data: ", 1)[1])[0]
    pictures = re.findall(r'<img src="([^"]+)"', page)[:4]
    if len(pictures) < 4:
        raise ValueError(f"{len(pictures)} pictures in {page[:200]}")
    for reply in await asyncio.gather(*(client.get(html.unescape(picture)) for picture in pictures)):
        reply.raise_for_status()


@contextmanager
def indexing(folder: Path):
    """Indexes the 40 videos into new indexes, one after the other, for as long as the block lasts; tells how many."""
    done, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            command = [sys.executable, "-m", "dmae.cli", "index", str(folder / "corpus" / "test")]
            command += ["--model", str(folder / "model"), "--index", str(folder / f"job-{len(done)}")]
            job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while job.poll() is None and not stop.wait(0.2):
                pass
            if job.poll() is None:
                job.terminate()
            elif job.returncode:
                raise RuntimeError(f"the index job ended with {job.returncode}")
            done.append(job.wait())

    thread = threading.Thread(target=work)
    thread.start()
    yield done
    stop.set()
    thread.join()


def report(rows: list[tuple[str, str, str, bool]]) -> None:
    print(f"{'what':<46}{'measured':>22}{'limit':>12}")
    for what, measured, limit, fine in rows:
        print(f"{what:<46}{measured:>22}{limit:>12}{'' if fine else '   OVER'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), args.videos)
        server, url, started = start(Path(folder))
        try:
            warm = np.percentile(browser_searches(url), [50, 95])
            process = psutil.Process(server.pid)
            load = partial(visitors, url, args.visitors, args.seconds, process)
            times, errors, memory = asyncio.run(load())
            with indexing(Path(folder)) as jobs:
                busy, busy_errors, _ = asyncio.run(load())
        finally:
            server.terminate()  # SIGINT is ignored by what a shell started in the background
            server.wait(30)
    half, p95 = np.percentile(times, [50, 95])
    slower = np.percentile(busy, 95) / p95
    errors += busy_errors
    third = len(memory) // 3
    growth = (np.mean(memory[-third:]) - np.mean(memory[third : 2 * third])) / 1e6
    size = memory[-1] / 1e6
    for error in errors[:3]:
        print("error:", error)
    report(
        [
            ("start to first page", f"{started:.1f} s", f"{LIMITS['start']:.0f} s", started <= LIMITS["start"]),
            ("warm query to rendered results, median", f"{warm[0]:.2f} s", "", True),
            ("warm query to rendered results, p95", f"{warm[1]:.2f} s", "1.0 s", warm[1] <= LIMITS["search"]),
            (f"{args.visitors} visitors: searches answered", f"{len(times)}", "", bool(times)),
            (f"{args.visitors} visitors: errors", f"{len(errors)}", "0", not errors),
            (f"{args.visitors} visitors: median", f"{half:.2f} s", "", True),
            (f"{args.visitors} visitors: p95", f"{p95:.2f} s", "1.0 s", p95 <= LIMITS["visitors"]),
            (
                "memory, last third less middle third",
                f"{growth:+.0f} of {size:.0f} MB",
                "2 %",
                growth <= GROWTH * size,
            ),
            (f"p95 while indexing ({len(jobs)} jobs), against that", f"{slower:.2f} times", "2", slower <= SLOWER),
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
