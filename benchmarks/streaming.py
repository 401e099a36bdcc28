"""What does it take to read one frame per second of a whole film, against decoding everything and other readers?

    python benchmarks/streaming.py

Films as in `benchmarks/decode.py`. Each number is the best of `--repeats` rounds in which the readers take turns,
divided by decoding everything with PyAV (frames that nobody asked for are not converted there either). `--memory`
prints the peak memory of a fresh process that streams films of growing length instead. Readers that are not installed
show as missing.
"""

import argparse
import importlib
import os
import resource
import tempfile
import warnings
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
from decode import CLOCKS, FILMS, missing, time_readers, write_film
from rich.console import Console
from rich.table import Table

from dmae.modeling.video_stream import FrameStream

SIZE = 224


def decode_everything(path: str) -> None:
    """Every frame decoded, one per second converted."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        every = round(stream.average_rate)
        for index, frame in enumerate(container.decode(stream)):
            if index % every == every // 2:
                frame.to_ndarray(format="rgb24")


def with_opencv(path: str) -> None:
    cv2 = importlib.import_module("cv2")
    film = cv2.VideoCapture(path)
    every, index = round(film.get(cv2.CAP_PROP_FPS)), 0
    while film.grab():
        if index % every == every // 2:
            cv2.cvtColor(film.retrieve()[1], cv2.COLOR_BGR2RGB)
        index += 1
    film.release()


def with_decord(path: str) -> None:
    film = importlib.import_module("decord").VideoReader(path)
    every = round(film.get_avg_fps())
    for index in range(every // 2, len(film), every):
        film[index].asnumpy()


def with_torchcodec(path: str) -> None:
    film = importlib.import_module("torchcodec.decoders").VideoDecoder(path, num_ffmpeg_threads=0)
    every = round(film.metadata.average_fps)
    for index in range(every // 2, len(film), every):
        film.get_frame_at(index)


def with_stream(path: str, rate, size: int | None = None) -> None:
    for _ in FrameStream(path, rate, size=size):
        pass


READERS = {
    "everything": ("av", decode_everything),
    "FrameStream": ("av", partial(with_stream, rate=1.0)),
    f"FrameStream, size={SIZE}": ("av", partial(with_stream, rate=1.0, size=SIZE)),
    "FrameStream, keyframes": ("av", partial(with_stream, rate="keyframes", size=SIZE)),
    "decord": ("decord", with_decord),
    "OpenCV": ("cv2", with_opencv),
    "torchcodec": ("torchcodec.decoders", with_torchcodec),
}


def _peak(path: str, queue) -> None:
    with_stream(path, 1.0, SIZE)
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak_memory(path: str) -> float:
    """MB at the most, of a process of its own that streams a film."""
    context = get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(path, queue))
    process.start()
    peak = queue.get()
    process.join()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", nargs="*", default=["10 min, 1080p", "60 min, 240p"], choices=FILMS)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: processor time, on a busy machine")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--readers", nargs="*", default=list(READERS), choices=READERS)
    parser.add_argument("--memory", type=int, nargs="*", metavar="MINUTES", help="peak memory at these lengths, 240p")
    parser.add_argument("--folder", type=Path, help="where to keep the films for a further run")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if args.memory is not None:
            for minutes in args.memory or [1, 60]:
                path = folder / f"{minutes}min-240p.mp4"
                if not path.exists():
                    write_film(path, 60 * minutes, 320, 240)
                print(f"{minutes:4} min: {peak_memory(str(path)):.0f} MB at the most")
            return
        absent = {name: missing(module) for name, (module, _) in READERS.items()}
        names = dict.fromkeys(["everything", *args.readers])
        readers = {name: READERS[name][1] for name in names if absent[name] is None}
        table = Table("reader", title=f"{args.clock} time, decoding everything = 1 ({os.cpu_count()} cores)")
        columns = []
        for film in args.films:
            path = folder / (film.replace(", ", "-").replace(" ", "") + ".mp4")
            if not path.exists():
                write_film(path, *FILMS[film])
            columns.append(time_readers(str(path), readers, args.repeats, CLOCKS[args.clock]))
            table.add_column(film, justify="right")
        for name in names:
            table.add_row(name, *(f"{c[name] / c['everything']:.3f}" if name in c else absent[name] for c in columns))
        Console().print(table)


if __name__ == "__main__":
    main()
