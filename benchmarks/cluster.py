"""What a Ray cluster of this machine loses when parts of it die, and what a search through it costs.

    python benchmarks/cluster.py                     # three nodes of one CPU, a small random model
    python benchmarks/cluster.py --only faults

Faults: a corpus is indexed by two encoders, and something is killed once the first rows are there. Rows, doubled rows,
lost rows, videos that were encoded twice, seconds. Search: an index in three shards behind HTTP, beside a direct call
to one index over everything; then a shard's process is killed under four clients, with one replica of each shard and
with two: answers, wrong ones (not what the shards that answered hold), failed ones, those that say that they are
partial, the longest wait, and the seconds until every answer is whole again.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import requests
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from ray_nodes import processes_of, ray_cluster

from dmae.modeling.loading import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.retrieval.indexing import cluster as indexing
from dmae.retrieval.serving import build
from dmae.retrieval.storage.sharding import split
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.synthetic import write_corpus

CLIENTS = 4
QUERY = "a red star moves to the left"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--rows", type=int, default=10_000, help="random videos that are searched")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", choices=("faults", "search"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in new_model([QUERY], image_size=32, width=64, vision_layers=1, text_layers=1, num_frames=4):
            part.save_pretrained(folder / "model")
        if args.only != "search":
            faults(folder, write_corpus(folder / "videos", num_train=1, num_test=args.videos, progress=False) / "test")
        if args.only != "faults":
            for replicas in args.replicas:
                search(folder, args.rows, replicas)


def faults(folder: Path, corpus: Path) -> None:
    model = load_pretrained(folder / "model")
    count = len(list(corpus.glob("*.mp4")))
    again = Again()
    print(f"{'fault':20} {'rows':>6} {'doubled':>8} {'lost':>6} {'twice':>6} {'seconds':>8}", flush=True)
    with ray_cluster(nodes=2) as cluster:

        def node() -> None:
            cluster.remove(cluster.nodes[0])

        for name, kill in (
            ("none", None),
            ("an encoder", lambda: processes_of("Encoder")[0].kill()),
            ("a node", node),
        ):
            index = VideoIndex.create(folder / name, *model)
            threading.Thread(target=when_there_are_rows, args=(index, kill), daemon=True).start()
            again.videos, started = 0, time.monotonic()
            index.add(corpus, ray=cluster.address, workers=0, commit_every=4, progress=False)
            tell(name, index, count, again.videos, started)
        cluster.add()

        index = VideoIndex.create(folder / "driver", *model)
        command = [
            sys.executable,
            "-m",
            "dmae.cli",
            "index",
            corpus,
            "--model",
            folder / "model",
            "--index",
            index.uri,
        ]
        command += ["--ray", cluster.address, "--workers", "0", "--commit-every", "4"]
        started = time.monotonic()
        first = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        when_there_are_rows(index, lambda: first.send_signal(signal.SIGKILL))
        first.wait()
        kept = len(index)
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        tell("the driver", index, count, None, started, f"({kept} kept)")


class Again:
    """Counts the videos whose chunk was lost, which are encoded once more."""

    def __init__(self):
        self.videos = 0
        bury = indexing.Team._bury

        def counted(team, chunk, error, bar):
            self.videos += 0 if chunk is None else len(chunk.files)
            bury(team, chunk, error, bar)

        setattr(indexing.Team, "_bury", counted)  # noqa: B010  which type checkers take


def when_there_are_rows(index, kill) -> None:
    if kill is None:
        return
    while not len(index):
        time.sleep(0.02)
    kill()


def tell(name: str, index, count: int, again: int | None, started: float, note: str = "") -> None:
    ids = index.table.scan(["id"])["id"].to_pylist()
    lost, twice = count - len(set(ids)), "-" if again is None else again
    seconds = time.monotonic() - started
    print(f"{name:20} {len(ids):6} {len(ids) - len(set(ids)):8} {lost:6} {twice:>6} {seconds:8.1f} {note}", flush=True)


def search(folder: Path, rows: int, replicas: int) -> None:
    from ray import serve

    torch.manual_seed(0)
    index = VideoIndex.create(folder / f"whole-{replicas}", *load_pretrained(folder / "model"))
    embeds = F.normalize(torch.randn(rows, 1, 64) + 0.5 * torch.randn(rows, 4, 64), dim=-1)
    index.add_embeddings([f"v{n}" for n in range(rows)], embeds)
    shards = split(index.table, str(folder / f"shards-{replicas}"), 3)
    held = {shard.uri: set(shard.scan(["id"])["id"].to_pylist()) for shard in shards}
    with ray_cluster(nodes=3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        small = {"shard_cpus": 0.1, "encoder_cpus": 0.1, "ingress_cpus": 0.1, "timeout": 5.0}
        options = {"model": str(folder / "model"), "shards": list(held), "replicas": replicas, **small}
        serve.run(build(options), name="search")
        try:
            measure_search(f"http://127.0.0.1:{port}/search", index, held, replicas)
        finally:
            serve.shutdown()


def measure_search(url: str, index, held: dict, replicas: int) -> None:
    ask = lambda: requests.get(url, params={"query": QUERY, "k": 10}, timeout=60)  # noqa: E731
    whole = ask().json()["hits"]
    assert [hit["id"] for hit in whole] == [hit.id for hit in index.search(QUERY, k=10)]
    deep = requests.get(url, params={"query": QUERY, "k": 200}, timeout=60).json()["hits"]
    if replicas == 1:
        print(f"\nmedian of 50: direct {median(lambda: index.search(QUERY, k=10)):.1f} ms, HTTP {median(ask):.1f} ms")
    answers: list[tuple[float, float, int, dict]] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            started = time.monotonic()
            try:
                answer = ask()
                answers.append((started, time.monotonic(), answer.status_code, answer.json()))
            except (requests.RequestException, ValueError):
                answers.append((started, time.monotonic(), 0, {}))

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    time.sleep(2)
    killed = time.monotonic()
    os.kill(processes_of("shard-0")[0].pid, signal.SIGKILL)
    while time.monotonic() < killed + 60:
        time.sleep(1)
        late = [answer for answer in answers if answer[0] > time.monotonic() - 3]
        if time.monotonic() > killed + 8 and late and all(a[2] == 200 and not a[3]["partial"] for a in late):
            break
    stop.set()
    for thread in clients:
        thread.join()
    failed = sum(status != 200 for *_, status, _ in answers)
    good = [answer for answer in answers if answer[2] == 200]
    partial = [answer for answer in good if answer[3]["partial"]]
    wrong = sum(not_as_held(answer[3], deep, held) for answer in good)
    again = max((answer[1] for answer in partial), default=killed) - killed
    longest = max(end - start for start, end, *_ in answers)
    print(
        f"replicas {replicas}: {len(answers)} answers, {wrong} wrong, {failed} failed, {len(partial)} partial;",
        end=" ",
    )
    print(f"longest {longest:.2f} s, the last partial one {again:.1f} s after the kill", flush=True)


def not_as_held(answer: dict, deep: list[dict], held: dict) -> bool:
    """Whether an answer is not what the shards that it does not name hold."""
    silent = set().union(*(held[name] for name in answer["partial"]))
    right = [hit for hit in deep if hit["id"] not in silent][: len(answer["hits"])]
    wrong = [hit["id"] for hit in answer["hits"]] != [hit["id"] for hit in right] or any(
        abs(hit["score"] - other["score"]) > 2e-6 for hit, other in zip(answer["hits"], right)
    )
    if wrong:
        told = [(hit["id"], hit["score"]) for hit in answer["hits"]]
        print(f"wrong, without {answer['partial']}: {told}", file=sys.stderr)
    return wrong


def median(work) -> float:
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds))


if __name__ == "__main__":
    main()
