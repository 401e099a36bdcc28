"""Long films of synthetic scenes with known spans (`dmae synthetic --films`).

DEST/spec.json         what the films were made with
DEST/film_1.mp4         scenes of the test split, one after another
DEST/moments.jsonl     a line per film: video, duration, moments: a caption with its start and end in seconds
"""

import json
import os
import random
from pathlib import Path

import numpy as np

from ..corpora import CorpusError
from .captions import describe
from .rendering import FPS, render, write_video
from .scenes import Scene, sample_scenes

MOMENTS = "moments.jsonl"
SPEC = "spec.json"
FORMAT = 2  # raise it when the same spec would no longer give the same films


def write_films(
    destination: str | os.PathLike, *, films: int = 1, scenes: int = 120, seed: int = 0, size: int = 64
) -> Path:
    """Writes films, or those of them that an interrupted call left unwritten. The same arguments give the same bytes.

    Args:
        films: how many. scenes: in each of them, 2 to 3 seconds long; no two of all of them fit one caption.
        size: side of the square pictures in pixels, even, at least 32.

    Raises:
        CorpusError: an argument is out of range, or the folder holds something else.
    """
    spec = {"format": FORMAT, "films": films, "scenes": scenes, "seed": seed, "size": size}
    if films < 1 or scenes < 1 or size < 32 or size % 2:
        raise CorpusError(
            f"films and scenes must be at least 1 and size even and at least 32, not {films}, {scenes} and {size}"
        )
    root = Path(destination).expanduser()
    _claim(root, spec)
    drawn = list(sample_scenes("test", films * scenes, random.Random(f"{seed} film scenes")))
    words = random.Random(f"{seed} film words")
    rows = []
    for number in range(films):
        own = drawn[number * scenes : (number + 1) * scenes]
        row = {"video": f"film_{number + 1}.mp4", **_describe(own, words)}
        path = root / row["video"]
        if not path.exists():
            write_video(path, np.concatenate([render(scene, size) for scene in own]))
        rows.append(row)
    (root / MOMENTS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def _describe(scenes: list[Scene], words: random.Random) -> dict:
    moments, start = [], 0
    for scene in scenes:
        stop = start + round(scene.duration * FPS)
        moments.append({"caption": describe(scene, 1, words)["captions"][0], "start": start / FPS, "end": stop / FPS})
        start = stop
    return {"duration": start / FPS, "moments": moments}


def _claim(root: Path, spec: dict) -> None:
    """Makes the folder these films' own, or refuses one with anything else in it."""
    path = root / SPEC
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != spec:
            raise CorpusError(f"{root} holds films of another spec ({SPEC}): delete it or name another folder")
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise CorpusError(f"{root} is there and does not hold films of ours: name a new or empty folder")
    root.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
