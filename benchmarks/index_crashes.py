"""What is left of an index when its writer is killed, again and again, at random moments?

    python benchmarks/index_crashes.py                              # 100 drawn videos, a small model, 20 kills
    python benchmarks/index_crashes.py ~/clips --model runs/mine --kills 50
    python benchmarks/index_crashes.py --films                      # long videos, each of many segments
    python benchmarks/index_crashes.py --migration                  # `dmae migrate` of an index of format 1

Each round a process adds the corpus, one commit per video, and gets SIGKILL at a random moment after its first (of
films: every other round at a moment of its work on one); another then opens the index and searches it. At the end one
more finishes the rest. A migration is killed in copies of one index, and what is there then is compared with what was.
Prints one JSON object. Every step runs in a fork of its own, made before this process has touched the index.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from long_film import moving, write_film
from torch.nn.functional import normalize

from dmae.modeling.loading import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.retrieval.storage.migration import migrate
from dmae.retrieval.storage.rows import make_rows
from dmae.retrieval.storage.schema import IndexSettings
from dmae.retrieval.storage.table import VideoTable, table_names
from dmae.training.synthetic.init import new_model
from dmae.training.synthetic.synthetic import write_corpus

PATIENCE = 60.0
FILM_SECONDS, FILM_RATE = 40, 8  # of which the index takes every frame
FILMS_PER_KILL, MORE_FILMS = 1.3, 4  # about as many as get whole from one kill to the next, and some to be left
OLD_ROWS, OLD_FRAMES, OLD_DIM = 1000, 12, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--films", action="store_true")
    parser.add_argument("--migration", action="store_true")
    parser.add_argument("--rows", type=int, default=20, help="of the index that is migrated, in thousands")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings(
        "ignore", message="lancedb fork support"
    )  # no operation is under way when this process forks
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.migration:
            print(json.dumps(crash_migration(folder, args)))
            return
        small = {"image_size": 32, "vision_layers": 1} if args.films else {}
        model, processor = load_pretrained(args.model) if args.model else new_model(["a red star"], **small)
        parts = model.eval(), processor
        if args.corpus:
            corpus = args.corpus
        elif args.films:
            corpus = write_films(folder / "films", count=round(FILMS_PER_KILL * args.kills) + MORE_FILMS)
        else:
            corpus = write_corpus(folder / "videos", num_train=90, num_test=10)
        print(json.dumps(crash(folder / "index", corpus, parts, args)))


def write_films(folder: Path, count: int) -> Path:
    folder.mkdir()
    film = write_film(folder / "film.mp4", moving(FILM_SECONDS, FILM_RATE, width=64, height=48), FILM_RATE)
    for number in range(1, count):
        shutil.copy(film, folder / f"film-{number}.mp4")
    return folder


# --- a corpus


def crash(uri: Path, corpus: Path, parts: tuple, args: argparse.Namespace) -> dict:
    rng = random.Random(args.seed)
    rate = float(FILM_RATE) if args.films else 1.0
    in_fork(lambda: len(VideoIndex.create(uri, *parts, frames_per_second=rate)))
    pace = 0.0
    if args.films:  # how long one takes
        trial = uri.with_name("trial")
        in_fork(lambda: len(VideoIndex.create(trial, *parts, frames_per_second=rate)))
        pace = in_fork(lambda: add(trial, next(corpus.iterdir()), parts).seconds)
    rows, unfinished, kills, complete = [], [], 0, True
    for round_ in range(args.kills):
        if args.films and round_ % 2:
            begun, seconds = journal_written(uri), rng.uniform(0, 2 * pace)
        else:
            begun, seconds = committed(uri, 1 if args.films else rng.randint(1, 3)), rng.uniform(0, 0.05)
        kills += kill(lambda: add(uri, corpus, parts), begun, seconds)
        state = in_fork(lambda: examine(uri, parts))
        complete &= is_complete(state) and state["rows"] >= max(rows, default=0)
        rows.append(state["rows"])
        unfinished.append(state["unfinished"])
    report = in_fork(lambda: vars(add(uri, corpus, parts)))
    final = in_fork(lambda: examine(uri, parts))
    return {
        "kills": kills,
        "rows_after_each": rows,
        "unfinished_after_each": unfinished,
        "whole_after_each": complete,
        "added_last": report["added"],
        "unchanged_last": report["unchanged"],
        "final": final,
    }


def add(uri: Path, corpus: Path, parts: tuple):
    index = VideoIndex.open(uri, *parts)
    return index.add(corpus, commit_every=1, commit_seconds=0.0, batch_size=1, progress=False)


def committed(uri: Path, count: int) -> Callable[[], bool]:
    """Tells whether the table has had so many commits since now."""
    versions = lambda: len(os.listdir(uri / "videos.lance" / "_versions"))  # noqa: E731
    target = versions() + count
    return lambda: versions() >= target


def journal_written(uri: Path) -> Callable[[], bool]:
    """Tells whether part of a film was written since now."""
    versions = lambda: {str(path) for path in uri.glob("journal_*/_versions/*")}  # noqa: E731
    before = versions()
    return lambda: bool(versions() - before)


def kill(work: Callable[[], object], begun: Callable[[], bool], seconds: float) -> bool:
    """Starts a process and kills it so many seconds after it has begun; False where it had finished before."""
    process = os.fork()
    if not process:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    deadline, finished = time.monotonic() + PATIENCE, False
    while not finished and not begun() and time.monotonic() < deadline:
        time.sleep(0.005)
        finished = os.waitpid(process, os.WNOHANG)[0] == process
    if finished:
        return False
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def examine(uri: Path, parts: tuple) -> dict:
    """Videos, distinct ids, videos that a search scores, and videos whose segments are all there: as many each, where
    every video is whole. And how many are half encoded, beside the table."""
    index = VideoIndex.open(uri, *parts)
    ids = index.table.videos(["id"])["id"].to_pylist()
    segments: dict[str, list[dict]] = {}
    columns = ["id", "segment_number", "segment_start", "segment_end", "duration"]
    for row in index.table.scan(columns).to_pylist():
        segments.setdefault(row["id"], []).append(row)
    return {
        "rows": len(ids),
        "distinct": len(set(ids)),
        "scored": len(index.search("red", k=max(1, len(ids)))),
        "whole": sum(map(is_whole, segments.values())),
        "unfinished": sum(name.startswith("journal_") for name in table_names(index.table.database)),
    }


def is_complete(state: dict) -> bool:
    return state["rows"] == state["distinct"] == state["scored"] == state["whole"]


def is_whole(segments: list[dict]) -> bool:
    """Whether a video's segments reach from its beginning to its end without a gap."""
    segments.sort(key=lambda row: row["segment_number"])
    numbered = [row["segment_number"] for row in segments] == list(range(len(segments)))
    joined = all(one["segment_end"] == other["segment_start"] for one, other in pairwise(segments))
    first, last = segments[0], segments[-1]
    return numbered and joined and first["segment_start"] == 0 and abs(last["segment_end"] - last["duration"]) < 1e-6


# --- a migration


def crash_migration(folder: Path, args: argparse.Namespace) -> dict:
    rng = random.Random(args.seed)
    old, uri, trial = folder / "old", folder / "index", folder / "trial"
    in_fork(lambda: write_old(old, args.rows))
    before = in_fork(lambda: contents(old))
    shutil.copytree(old, trial)
    seconds = in_fork(lambda: migrated(trial))
    kills, formats, complete = 0, [], True
    shutil.copytree(old, uri)
    while kills < args.kills:
        kills += kill(lambda: migrated(uri), lambda: True, rng.uniform(0, 1.2 * seconds))
        after = in_fork(lambda: contents(uri))
        formats.append(after.pop("format"))
        complete &= after == {name: value for name, value in before.items() if name != "format"}
        if formats[-1] == 2:
            shutil.rmtree(uri)
            shutil.copytree(old, uri)
    in_fork(lambda: migrated(uri))
    return {
        "kills": kills,
        "format_after_each": formats,
        "whole_after_each": complete,
        "before": before,
        "final": in_fork(lambda: contents(uri)),
    }


def write_old(uri: Path, thousands: int) -> None:
    """An index of format 1, half of its videos longer than a segment."""
    table = VideoTable.create(uri, IndexSettings(OLD_DIM, format=1))
    generator = torch.Generator().manual_seed(0)
    for part in range(thousands):
        embeds = normalize(torch.randn(OLD_ROWS, OLD_FRAMES, OLD_DIM, generator=generator), dim=-1)
        ids = [f"{part}/{number}.mp4" for number in range(OLD_ROWS)]
        metadata = [{"duration": 5.0 + 20 * (number % 2), "kind": "old"} for number in range(OLD_ROWS)]
        table.append(make_rows(table.settings, ids, embeds, None, metadata=metadata))


def migrated(uri: Path) -> float:
    """Brings an index to the newest format and returns how long that took, in seconds."""
    started = time.monotonic()
    migrate(VideoTable.open(uri), frames_per_second=1.0, segment_frames=OLD_FRAMES)
    return time.monotonic() - started


def contents(uri: Path) -> dict:
    """What an index holds, whatever its format."""
    table = VideoTable.open(uri)
    rows = table.scan(["id", "frames", "frame_weights", "pooled", "duration", "kind"]).sort_by("id").combine_chunks()
    digest = hashlib.blake2b(digest_size=8)
    for name in ("frames", "frame_weights", "pooled"):
        digest.update(rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).tobytes())
    digest.update(json.dumps(rows.select(["id", "duration", "kind"]).to_pydict()).encode())
    return {"format": table.settings.format, "videos": table.count(), "digest": digest.hexdigest()}


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
