"""How long do twelve frames of a video take, against decoding everything and against the other readers of the field?

    python benchmarks/decode.py --clips ../shared/clips

Films of moving texture are encoded on the spot (x264, a keyframe every 250 frames, 3 B frames; the long ones repeat
17 seconds, so that what is asked for lies anywhere between keyframes). Every reader takes the middles of twelve equal
segments at full size; each number is the best of `--repeats` rounds in which the readers take turns, divided by
decoding everything with PyAV. Readers that are not installed show as missing; to measure them: `pip install --no-deps
decord opencv-python-headless torchcodec==0.12.0`, with FFmpeg's libraries from the system, outside the project's
environment (PYTHONPATH).
"""

import argparse
import importlib
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from dmae.modeling.frame_loader import FrameLoader
from dmae.modeling.video_reading import read_frames

FRAMES, RATE, LOOP = 12, 25, 17
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# name -> (seconds, width, height)
FILMS = {
    "10 s, 240p": (10, 320, 240),
    "15 s, 360p": (15, 640, 360),
    "10 s, 720p": (10, 1280, 720),
    "2 min, 720p": (120, 1280, 720),
    "3 min, 360p": (180, 640, 360),
    "10 min, 1080p": (600, 1920, 1080),
    "60 min, 240p": (3600, 320, 240),
}


def middles(count: int) -> list[int]:
    return [(2 * index + 1) * count // (2 * FRAMES) for index in range(FRAMES)]


def decode_everything(path: str) -> None:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        wanted = set(middles(stream.frames or int(container.duration * stream.average_rate / 1_000_000)))
        [frame.to_ndarray(format="rgb24") for index, frame in enumerate(container.decode(stream)) if index in wanted]


def with_opencv(path: str) -> None:
    cv2 = importlib.import_module("cv2")
    film = cv2.VideoCapture(path)
    for index in middles(int(film.get(cv2.CAP_PROP_FRAME_COUNT))):
        film.set(cv2.CAP_PROP_POS_FRAMES, index)
        cv2.cvtColor(film.read()[1], cv2.COLOR_BGR2RGB)
    film.release()


def with_decord(path: str) -> None:
    film = importlib.import_module("decord").VideoReader(path)
    film.get_batch(middles(len(film))).asnumpy()


def with_torchcodec(path: str, mode: str) -> None:
    film = importlib.import_module("torchcodec.decoders").VideoDecoder(path, seek_mode=mode, num_ffmpeg_threads=0)
    film.get_frames_at(middles(len(film)))


def with_transformers(path: str) -> None:
    def chosen(metadata, **_):
        return middles(metadata.total_num_frames)

    importlib.import_module("transformers.video_utils").load_video(path, backend="pyav", sample_indices_fn=chosen)


READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "everything": ("av", decode_everything),
    "read_frames": ("av", read_frames),
    "read_frames, size=224": ("av", partial(read_frames, size=224)),
    "decord": ("decord", with_decord),
    "OpenCV": ("cv2", with_opencv),
    "torchcodec": ("torchcodec.decoders", partial(with_torchcodec, mode="exact")),
    "torchcodec, approximate": ("torchcodec.decoders", partial(with_torchcodec, mode="approximate")),
    "transformers load_video": ("transformers.video_utils", with_transformers),
}


def missing(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:  # a wheel that does not fit fails in many ways, and each means that it is not there
        return f"missing ({type(error).__name__})"
    return None


def write_film(path: Path, seconds: int, width: int, height: int) -> None:
    loop = path.with_name(f"loop-{path.name}")
    rng = np.random.default_rng(0)
    texture, object_ = (
        np.kron(rng.integers(0, 256, (17, 33, 3), np.uint8), np.ones((height // 8, width // 16, 1), np.uint8))
        for _ in range(2)
    )
    with av.open(str(loop), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "g": "250", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(RATE * min(seconds, LOOP)):
            x, y = int(width / 2 * (1 + np.sin(index / 60))), int(height / 2 * (1 + np.cos(index / 45)))
            picture = texture[y : y + height, x : x + width].copy()
            left = index * 3 % (width // 2)
            picture[height // 4 : -height // 4, left : left + width // 3] = object_[: height // 2, : width // 3]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture[:height, :width], format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(loop)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video=0) if p.size]
        length = source.streams.video[0].duration
        for turn in range(max(seconds // LOOP, 1)):
            for data, pts, dts, key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.is_keyframe = pts + turn * length, dts + turn * length, key
                packet.time_base, packet.stream = source.streams.video[0].time_base, stream
                container.mux(packet)
    loop.unlink()


def time_readers(path: str, readers: dict, repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    best = dict.fromkeys(readers, float("inf"))
    for _ in range(repeats):
        for name, read in readers.items():
            started = clock()
            read(path)
            best[name] = min(best[name], clock() - started)
    return best


def _read_all(paths: list[str]) -> None:
    for path in paths:
        read_frames(path, threads=1)


def loader_share(paths: list[str], repeats: int) -> float:
    """Throughput of a two-worker FrameLoader over that of two bare processes that throw their frames away."""
    bare = loaded = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        with get_context("fork").Pool(2) as pool:
            pool.map(_read_all, [paths[0::2], paths[1::2]])
        bare = min(bare, time.perf_counter() - started)
        started = time.perf_counter()
        if any(item.error for item in FrameLoader(paths, workers=2)):
            raise RuntimeError("a clip could not be read")
        loaded = min(loaded, time.perf_counter() - started)
    return bare / loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clips", type=Path, help="a folder of real clips to add: their median, and the loader's share"
    )
    parser.add_argument("--readers", nargs="*", default=list(READERS), choices=READERS)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time, on a busy machine")
    parser.add_argument("--films", nargs="*", default=list(FILMS), choices=FILMS)
    parser.add_argument("--folder", type=Path, help="where to keep the films for a further run")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; films of over a minute take a fifth of them")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    absent = {name: missing(module) for name, (module, _) in READERS.items()}
    chosen = ["everything", *(name for name in args.readers if name != "everything")]
    readers = {name: READERS[name][1] for name in chosen if absent[name] is None}
    title = f"{args.clock} time for {FRAMES} frames, decoding everything = 1 ({os.cpu_count()} cores)"
    table = Table("reader", title=title)
    columns: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.films:
            path = folder / (name.replace(", ", "-").replace(" ", "") + ".mp4")
            if not path.exists():
                write_film(path, *FILMS[name])
            repeats = args.repeats if FILMS[name][0] <= 60 else max(args.repeats // 5, 1)
            columns.append(time_readers(str(path), readers, repeats, CLOCKS[args.clock]))
            table.add_column(name, justify="right")
    clips: list[str] = []
    if args.clips:
        clips = sorted(str(path) for path in args.clips.iterdir() if path.suffix in (".mp4", ".mkv", ".webm"))
        times = [time_readers(path, readers, args.repeats, CLOCKS[args.clock]) for path in clips]
        relative = {name: statistics.median(t[name] / t["everything"] for t in times) for name in readers}
        columns.append(relative)
        table.add_column(f"median of {len(clips)} clips", justify="right")
    for name in chosen:
        cells = [
            f"{column[name] / column['everything']:.3f}" if name in column else absent[name] for column in columns
        ]
        table.add_row(name, *cells)
    Console().print(table)
    if args.clips:
        share = loader_share(clips * 8, args.repeats)
        print(f"FrameLoader with 2 workers over 2 bare processes: {share:.2f} of the throughput")


if __name__ == "__main__":
    main()
