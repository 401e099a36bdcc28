"""The synthetic diagnostic corpus on disk: real mp4 files with captions and hard negatives (`dmae synthetic`).

DEST/spec.json                     what the corpus was made with
DEST/{train,test}/000001.mp4       H.264, two objects that move
DEST/{train,test}/captions.jsonl   a line per video: video, captions, hard_negatives, attributes
"""

import json
import os
import random
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tqdm.auto import tqdm

from ..corpora import CorpusError
from .captions import PHRASINGS, describe, phrases
from .rendering import render, write_video
from .scenes import Scene, sample_groups, sample_scenes

SPLITS = ("train", "test")
CAPTIONS = "captions.jsonl"
SPEC, UNFINISHED = "spec.json", ".unfinished.json"
FORMAT = 1  # raise it when the same spec would no longer give the same corpus


def write_corpus(
    destination: str | os.PathLike,
    *,
    num_train: int = 3000,
    num_test: int = 500,
    seed: int = 0,
    size: int = 64,
    captions_per_train_video: int = 5,
    captions_per_test_video: int = 1,
    phrases_per_train_video: int = 0,
    group: int = 1,
    unseen_forms: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes the corpus, or the part of it that an interrupted call left unwritten.

    The same arguments give the same bytes. A second call with them writes nothing.

    Args:
        num_train, num_test: videos; no pair of objects (by colour and shape) is in both splits, and no two test
            videos fit the same caption.
        size: side of the square pictures in pixels, even, at least 32.
        phrases_per_train_video: short texts such as "a red circle" among the captions of a training video; all else
            is the same with and without them.
        group: videos that follow one another and differ in one attribute only, near-duplicates; 1: none on purpose.
        unseen_forms: so many of the six forms of sentence are for test captions, the others for training captions.
        workers: processes that draw and encode; all cores by default.

    Returns:
        The folder, as a path.

    Raises:
        ValueError: an argument is out of range, or the folder holds something else.
    """
    spec = {
        "format": FORMAT,
        "seed": seed,
        "size": size,
        "num_train": num_train,
        "num_test": num_test,
        "captions_per_train_video": captions_per_train_video,
        "captions_per_test_video": captions_per_test_video,
    }
    # A corpus without these has the spec that it always had.
    spec |= {"phrases_per_train_video": phrases_per_train_video} if phrases_per_train_video else {}
    spec |= {"group": group} if group != 1 else {}
    spec |= {"unseen_forms": unseen_forms} if unseen_forms else {}
    _check(spec)
    root = Path(destination).expanduser()
    rows = {split: list(_rows(split, spec)) for split in SPLITS}
    _claim(root, spec)
    _write_rows(root, rows, size, workers or os.cpu_count() or 1, progress)
    if (root / UNFINISHED).is_file():
        os.replace(root / UNFINISHED, root / SPEC)
    return root


def _write_rows(
    root: Path, rows: dict[str, list[tuple[Scene, dict]]], size: int, workers: int, progress: bool
) -> None:
    """The videos that are not there yet, and the tables."""
    missing = [
        (scene, size, path)
        for split in SPLITS
        for scene, row in rows[split]
        if not (path := root / split / row["video"]).exists()
    ]
    for split in SPLITS:
        (root / split).mkdir(exist_ok=True)
    _write_videos(missing, workers, progress)
    for split in SPLITS:
        lines = "".join(json.dumps(row) + "\n" for _, row in rows[split])
        _write_text(root / split / CAPTIONS, lines)


def _check(spec: dict) -> None:
    for name, value in spec.items():
        if name not in ("seed", "size") and value < 1:
            raise CorpusError(f"{name} must be at least 1, not {value}")
    if not 0 <= spec.get("unseen_forms", 0) < min(map(len, PHRASINGS.values())):
        raise CorpusError(f"unseen_forms must leave at least one form to train on, not {spec['unseen_forms']}")
    if spec["size"] < 32 or spec["size"] % 2:
        raise CorpusError(f"size must be an even number of pixels, at least 32, not {spec['size']}")


def _claim(root: Path, spec: dict) -> None:
    """Makes the folder this corpus' own, or refuses one with anything else in it."""
    for name in (SPEC, UNFINISHED):
        if (root / name).is_file():
            if _read_json(root / name) != spec:
                raise CorpusError(f"{root} holds a corpus of another spec ({name}): delete it or name another folder")
            return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise CorpusError(f"{root} is there and is not a synthetic corpus: name a new or empty folder")
    root.mkdir(parents=True, exist_ok=True)
    _write_text(root / UNFINISHED, json.dumps(spec, indent=2) + "\n")


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _rows(split: str, spec: dict) -> Iterator[tuple[Scene, dict]]:
    scenes = random.Random(f"{spec['seed']} {split} scenes")
    words = random.Random(f"{spec['seed']} {split} words")
    short = random.Random(f"{spec['seed']} {split} phrases")
    count, group = spec[f"num_{split}"], spec.get("group", 1)
    forms = _forms(split, spec.get("unseen_forms", 0))
    drawn = sample_scenes(split, count, scenes) if group == 1 else sample_groups(split, count, group, scenes)
    for number, scene in enumerate(drawn, 1):
        text = describe(scene, spec[f"captions_per_{split}_video"], words, forms)
        text["captions"] += phrases(scene, spec.get(f"phrases_per_{split}_video", 0), short)
        yield scene, {"video": f"{number:06d}.mp4", **text}


def _forms(split: str, unseen: int) -> range | None:
    """Which forms of sentence a split's captions may have; None for all."""
    first = min(map(len, PHRASINGS.values())) - unseen
    return None if not unseen else range(first) if split == "train" else range(first, first + unseen)


def _write_videos(jobs: list[tuple[Scene, int, Path]], workers: int, progress: bool) -> None:
    with tqdm(total=len(jobs), desc="Writing videos", unit="video", disable=not progress or not jobs) as bar:
        for _ in _write_all(jobs, min(workers, len(jobs))):
            bar.update()


def _write_all(jobs: list, workers: int) -> Iterable[None]:
    if workers <= 1:
        yield from map(_write_one, jobs)
        return
    # Spawned, not forked: the caller may hold threads (torch, a decoder), and a fork would copy their locks.
    # Ctrl-C is the caller's to answer.
    quiet = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=signal.signal, initargs=quiet)
    try:
        yield from pool.map(_write_one, jobs, chunksize=16)
    finally:
        pool.shutdown(cancel_futures=True)


def _write_one(job: tuple[Scene, int, Path]) -> None:
    scene, size, path = job
    write_video(path, render(scene, size))


def _write_text(path: Path, text: str) -> None:
    """Replaces the file at once, and only where the text differs."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
