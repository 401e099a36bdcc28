"""What is left of an index when its writer is killed, again and again, at random moments?

    python benchmarks/index_crashes.py                              # 100 drawn videos, a small model, 20 kills
    python benchmarks/index_crashes.py ~/clips --model runs/mine --kills 50

Each round a process adds the corpus, one commit per video, and gets SIGKILL at a random moment after its first;
another then opens the index and searches it. At the end one more finishes the rest. Prints one JSON object. Every
step runs in a fork of its own, made before this process has touched the index.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from dmae.modeling.loading import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.synthetic import write_corpus

PATIENCE = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings(
        "ignore", message="lancedb fork support"
    )  # no operation is under way when this process forks
    with tempfile.TemporaryDirectory() as folder:
        corpus = args.corpus or write_corpus(Path(folder, "videos"), num_train=90, num_test=10)
        model, processor = load_pretrained(args.model) if args.model else new_model(["a red star"])
        print(json.dumps(crash(Path(folder, "index"), corpus, (model.eval(), processor), args)))


def crash(uri: Path, corpus: Path, parts: tuple, args: argparse.Namespace) -> dict:
    rng = random.Random(args.seed)
    in_fork(lambda: len(VideoIndex.create(uri, *parts)))
    rows, kills, complete = [], 0, True
    for _ in range(args.kills):
        kills += kill_writer(uri, corpus, parts, rng)
        state = in_fork(lambda: examine(uri, parts))
        complete &= state["distinct"] == state["rows"] == state["scored"] and state["rows"] >= max(rows, default=0)
        rows.append(state["rows"])
    report = in_fork(lambda: vars(VideoIndex.open(uri, *parts).add(corpus, progress=False)))
    state = in_fork(lambda: examine(uri, parts))
    return {
        "kills": kills,
        "rows_after_each": rows,
        "whole_after_each": complete,
        "added_last": report["added"],
        "unchanged_last": report["unchanged"],
        "final": state,
    }


def kill_writer(uri: Path, corpus: Path, parts, rng: random.Random) -> bool:
    """Starts a writer and kills it; False where it had finished before."""
    commits = lambda: len(os.listdir(uri / "videos.lance" / "_versions"))  # noqa: E731
    target = commits() + rng.randint(1, 3)
    process = os.fork()
    if not process:
        status = 1
        try:
            VideoIndex.open(uri, *parts).add(corpus, commit_every=1, batch_size=1, progress=False)
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + PATIENCE
    finished = False
    while commits() < target and not finished and time.monotonic() < deadline:
        time.sleep(0.005)
        finished = os.waitpid(process, os.WNOHANG)[0] == process
    if finished:
        return False
    time.sleep(rng.uniform(0, 0.05))
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def examine(uri: Path, parts) -> dict:
    """Videos, distinct ids, and videos that a search scores: all equal where every video is whole."""
    index = VideoIndex.open(uri, *parts)
    ids = index.table.videos(["id"])["id"].to_pylist()
    return {"rows": len(ids), "distinct": len(set(ids)), "scored": len(index.search("red", k=max(1, len(ids))))}


def in_fork(work):
    """The JSON value of `work()` in a process of its own."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.write(write, json.dumps(work()).encode())
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(process, 0)
    return json.loads(text)


if __name__ == "__main__":
    main()
