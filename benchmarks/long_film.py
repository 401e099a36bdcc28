"""What does it take to index a film of ten hours, and what is encoded again after the process was killed on the way?

    python benchmarks/long_film.py                     # films of 10, 60 and 600 minutes, a small model
    python benchmarks/long_film.py --kills 0.33 0.66   # the longest of them, killed at these shares and gone on with
    python benchmarks/long_film.py --still             # ten minutes that stand still, a tower of ViT-B/32's size

Every film is indexed at a frame per second by a process of its own, whose peak memory is told beside that of the
process that reads for it. With `--still`: ten minutes of a picture that moves beside a static camera and slides, as
they are and with every frame encoded; then each film is asked for its own pictures.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from dmae.modeling.loading import load_pretrained
from dmae.retrieval import VideoIndex
from dmae.retrieval.indexing import film_frames
from dmae.training.evaluation.moments import interval_iou
from dmae.training.synthetic.init import new_model

TEXT = "a red star"
SMALL = {"image_size": 32, "patch_size": 32, "width": 512, "vision_layers": 1, "text_layers": 1, "num_frames": 12}
VIT_B32 = {"image_size": 224, "patch_size": 32, "width": 768, "vision_layers": 12, "text_layers": 1, "num_frames": 12}
SCENE = 3, 9  # seconds, at least and at most
SLIDES = 10
NOISE = 1.5  # of 255, standard deviation: a camera's in ordinary light
POLL = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 60, 600])
    parser.add_argument("--kills", type=float, nargs="+", metavar="SHARE")
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--model", help="of --still (default: random weights)")
    parser.add_argument("--folder", type=Path, help="where to keep the films for a further run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch, "films")
        folder.mkdir(parents=True, exist_ok=True)
        if args.still:
            compare_still(folder, Path(scratch), args)
        elif args.kills:
            kill(film_of(folder, max(args.minutes)), Path(scratch, "index"), sorted(args.kills))
        else:
            compare_lengths([(minutes, film_of(folder, minutes)) for minutes in args.minutes], Path(scratch))


# --- films


def film_of(folder: Path, minutes: int) -> Path:
    path = folder / f"{minutes}-minutes.mp4"
    if not path.exists():
        write_film(path, moving(60 * minutes, rate=3, width=64, height=48), rate=3)
    return path


def write_film(path: Path, pictures: Iterator[np.ndarray], rate: int) -> Path:
    """Writes `(H, W, 3)` uint8 pictures, whole or not at all."""
    partial = path.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options={"preset": "ultrafast", "g": "60"})
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return partial.replace(path)


def moving(seconds: int, rate: int, width: int, height: int) -> Iterator[np.ndarray]:
    """Scenes of coloured blocks through which a bar moves, so that no frame looks like the one before."""
    rng, left = np.random.default_rng(0), seconds * rate
    while left > 0:
        count = min(left, int(rng.integers(SCENE[0] * rate, SCENE[1] * rate)))
        scene = blocks(rng, width, height)
        for frame in range(count):
            picture, place = scene.copy(), frame * width // 7 % (width - width // 8)
            picture[:, place : place + width // 8] = 255
            yield picture
        left -= count


def standing(seconds: int, rate: int, width: int, height: int, slides: int) -> Iterator[np.ndarray]:
    """So many pictures for equal times, seen by a camera that does not move."""
    rng = np.random.default_rng(1)
    noise = [rng.normal(0, NOISE, (height, width, 3)).round().astype(np.int16) for _ in range(32)]
    for _ in range(slides):
        slide = blocks(rng, width, height).astype(np.int16)
        for frame in range(seconds * rate // slides):
            yield np.clip(slide + noise[frame % len(noise)], 0, 255).astype(np.uint8)


def blocks(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    return rng.integers(0, 255, (3, 4, 3), np.uint8).repeat(height // 3, 0).repeat(width // 4, 1)


# --- length


def compare_lengths(films: list[tuple[int, Path]], scratch: Path) -> None:
    table = Table("film", "frames encoded", "segments", "seconds", "frames/s", "MB at most", "MB at most, reading")
    for minutes, film in films:
        run = Run(film, scratch / f"{minutes}.index")
        found = run.finish()
        table.add_row(
            f"{minutes} min",
            f"{run.encoded}",
            f"{found['segments']}",
            f"{found['seconds']:.1f}",
            f"{run.encoded / found['seconds']:.0f}",
            f"{found['memory']:.0f}",
            f"{found['memory_reading']:.0f}",
        )
    Console().print(table)


def kill(film: Path, uri: Path, shares: list[float]) -> None:
    """Indexes a film with a SIGKILL at each of the shares."""
    encoded, found = 0, None
    for share in [*shares, None]:
        run = Run(film, uri)
        if share is None:
            found = run.finish()
            print(f"finished: {run.encoded} frames encoded")
        else:
            reached = run.kill_at(share)
            print(f"killed at {reached:.3f}: {run.encoded} frames encoded", flush=True)
        encoded += run.encoded
    assert found is not None
    again = encoded - found["frames"]
    print(f"{again} of {found['frames']} frames encoded again ({again / found['frames']:.1%})")
    print(f"{found['segments']} segments, without a gap from the first second to the last: {found['whole']}")


class Run:
    """A process that indexes a film, from what another one left where there is such."""

    def __init__(self, film: Path, uri: Path):
        context = get_context("spawn")
        # Without locks, which a killed process would hold for ever.
        self._encoded, self._share = context.RawValue("q"), context.RawValue("d")
        self._results = context.SimpleQueue()
        arguments = film, uri, self._encoded, self._share, self._results
        self._process = context.Process(target=index_film, args=arguments)
        self._process.start()

    @property
    def encoded(self) -> int:
        return self._encoded.value

    def finish(self) -> dict:
        self._process.join()
        assert self._process.exitcode == 0, "the process that indexes ended in an error"
        return self._results.get()

    def kill_at(self, share: float) -> float:
        """Kills the process once it is so far, and returns how far it was."""
        while self._share.value < share and self._process.is_alive():
            time.sleep(POLL)
        self._process.kill()
        self._process.join()
        return self._share.value


def index_film(film: Path, uri: Path, encoded, share, results) -> None:
    model, processor = new_model([TEXT], **SMALL)
    encode = model.get_frame_features

    def counted(pixel_values_videos, **inputs):
        features = encode(pixel_values_videos, **inputs)
        encoded.value += pixel_values_videos.shape[1]
        return features

    def tell(_, reached: float) -> None:
        share.value = reached

    model.get_frame_features = counted  # pyright: ignore[reportAttributeAccessIssue]
    model.eval()
    if VideoIndex.exists(uri):
        index = VideoIndex.open(uri, model, processor)
    else:
        index = VideoIndex.create(uri, model, processor, frames_per_second=1.0)
    report = index.add(film, workers=1, tell=tell, progress=False)
    assert report.added == 1, report
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    results.put({**described(index), "seconds": report.seconds, "memory": peaks[0], "memory_reading": peaks[1]})


def described(index: VideoIndex) -> dict:
    columns = ["segment_number", "segment_start", "segment_end", "frame_times", "duration"]
    rows = sorted(index.table.scan(columns).to_pylist(), key=lambda row: row["segment_number"])
    joined = all(one["segment_end"] == next_one["segment_start"] for one, next_one in pairwise(rows))
    ends = rows[0]["segment_start"] == 0 and abs(rows[-1]["segment_end"] - rows[0]["duration"]) < 1e-6
    numbered = [row["segment_number"] for row in rows] == list(range(len(rows)))
    frames = sum(len(row["frame_times"]) for row in rows)
    return {"segments": len(rows), "frames": frames, "whole": bool(joined and ends and numbered)}


# --- stillness


def compare_still(folder: Path, scratch: Path, args: argparse.Namespace) -> None:
    shape, seconds = {"rate": 10, "width": 320, "height": 240}, 600
    kinds = {
        "moving": lambda: moving(seconds, **shape),
        "static camera": lambda: standing(seconds, **shape, slides=1),
        f"{SLIDES} slides": lambda: standing(seconds, **shape, slides=SLIDES),
    }
    parts = load_pretrained(args.model) if args.model else new_model([TEXT], **VIT_B32)
    parts[0].eval()
    table = Table(
        "film of 10 minutes", "seconds", "every frame", "of moving", "of every frame", "same hits", "score ±"
    )
    whole = None
    for name, pictures in kinds.items():
        path = folder / f"{name.replace(' ', '-')}.mp4"
        if not path.exists():
            write_film(path, pictures(), shape["rate"])
        index, own = timed_index(path, scratch / f"{name}.index", parts)
        whole = own if whole is None else whole
        if name == "moving":
            table.add_row(name, f"{own:.1f}", "", "", "", "", "")
            continue
        same, film_frames.SAME = film_frames.SAME, -1.0
        every, all_ = timed_index(path, scratch / f"{name}-every.index", parts)
        film_frames.SAME = same
        agree, apart = compare_hits(index, every, path)
        ratios = f"1/{whole / own:.1f}", f"1/{all_ / own:.1f}"
        table.add_row(name, f"{own:.1f}", f"{all_:.1f}", *ratios, f"{agree} of {SLIDES}", f"{apart:.4f}")
    Console().print(table)


def timed_index(film: Path, uri: Path, parts) -> tuple[VideoIndex, float]:
    index = VideoIndex.create(uri, *parts, frames_per_second=1.0)
    report = index.add(film, workers=1, progress=False)
    assert report.added == 1, report
    return index, report.seconds


def compare_hits(first: VideoIndex, second: VideoIndex, film: Path) -> tuple[int, float]:
    """How many of the film's own pictures lead to the same span in both, and by how much their scores differ."""
    with av.open(str(film)) as container:
        length = float(container.duration / av.time_base)
        moments = [(number + 0.5) * length / SLIDES for number in range(SLIDES)]
        pictures = []
        for moment in moments:
            container.seek(round(moment * av.time_base))
            pictures.append(next(container.decode(video=0)).to_image())
    same, apart = 0, 0.0
    for picture in pictures:
        one, other = first.search(picture, k=1)[0], second.search(picture, k=1)[0]
        spans = [(hit.start or 0.0, hit.end or 0.0) for hit in (one, other)]
        same += interval_iou(*spans) > 0.9
        apart = max(apart, abs(one.score - other.score))
    return same, apart


if __name__ == "__main__":
    main()
