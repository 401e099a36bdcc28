"""Decoding in worker processes: a file that crashes, hangs or fills the memory ends a worker, never the server."""

import io
import multiprocessing
import os
import queue
import tempfile
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from inspect import isgenerator
from pathlib import Path
from typing import Any

from PIL import Image

from dmae.modeling import VideoDecodeError, VideoFrames, one_line, read_frames, read_picture
from dmae.retrieval import FilmChunk, film_frames

PICTURE_SIZE = (480, 270)
FRAME_SECONDS = 0.002  # a window this short holds the one frame that is on screen then
EXTRA_MEMORY = 2 << 30  # bytes a worker may take beyond what it starts with
MAX_IMAGE_PIXELS = 64_000_000
LARGEST_QUERY = (1024, 1024)  # pixels; models read fewer, and a query is kept for as long as its visitor stays


class Decoder:
    """A few worker processes that read videos and pictures.

    Args:
        workers: how many.
        timeout: seconds after which a file is given up.
    """

    def __init__(self, workers: int = 1, timeout: float = 60):
        context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
        if hasattr(os, "fork"):  # the server of the forks imports once; replacing a dead worker is then cheap
            context.set_forkserver_preload([f"{__package__}.decoding_preload"])
        self._timeout = timeout
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(_Worker(context))

    def warm_up(self) -> None:
        """Starts the workers now instead of at their first file."""
        started = [self._idle.get() for _ in range(self._idle.qsize())]
        for worker in started:
            worker.start()
            self._idle.put(worker)

    def read(self, path: str, **options) -> VideoFrames:
        """`read_frames` in a worker."""
        return self._run("video", path, options)

    def film(self, path: str, frames_per_second: float | str, **options) -> Generator[FilmChunk, None, None]:
        """All of a video as `film_frames` reads it, in a worker that does nothing else until the last chunk.

        Raises:
            VideoDecodeError: it cannot be read (further).
        """
        job = "film", str(path), {"frames_per_second": frames_per_second, **options}
        with self._worker() as worker, closing(worker.stream(job, self._timeout)) as chunks:
            yield from chunks

    def read_image(self, path: str) -> VideoFrames:
        """An image as a video of one frame."""
        return self._run("image", path, {})

    def picture(self, path: str, time: float) -> bytes:
        """The frame on screen at `time` (s) as a JPEG of at most `PICTURE_SIZE`."""
        return self._run("picture", path, {"time": time})

    def clip(self, path: str, start: float, end: float) -> bytes:
        """A span (s) as a file of its own: an MP4, or a Matroska file where the sound does not fit into one."""
        return self._run("clip", path, {"start": start, "end": end})

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get().stop()

    def _run(self, job: str, path: str, options: dict):
        with self._worker() as worker:
            return worker.run((job, str(path), options), self._timeout)

    @contextmanager
    def _worker(self):
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)


class _Worker:
    """One process and the pipe to it, started when first needed and again after it died."""

    def __init__(self, context):
        self._context = context
        self._process: Any = None
        self._pipe: Any = None

    def run(self, job: tuple, timeout: float):
        """What comes of a job."""
        self._ask(job)
        return self._answer(job, timeout)

    def stream(self, job: tuple, timeout: float) -> Generator[Any, None, None]:
        """The parts of what comes of a job, each within `timeout` seconds."""
        self._ask(job)
        whole = False
        try:
            while (part := self._answer(job, timeout)) is not None:
                yield part
            whole = True
        finally:
            if not whole:  # it would go on sending
                self.stop()

    def _ask(self, job: tuple) -> None:
        if self._process is None or not self._process.is_alive():
            self.start()
        with suppress(OSError):  # it died just now, which its answer will say
            self._pipe.send(job)

    def _answer(self, job: tuple, timeout: float):
        name = os.path.basename(job[1])
        try:
            if not self._pipe.poll(timeout):
                raise VideoDecodeError(name, f"gave up after {timeout:.0f} s of decoding")
            fine, value = self._pipe.recv()
        except (EOFError, OSError):
            self.stop()
            raise VideoDecodeError(name, "the process that decoded it was killed") from None
        except VideoDecodeError:
            self.stop()
            raise
        if not fine:
            raise VideoDecodeError(name, value)
        return value

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def start(self) -> None:
        self.stop()
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True, name="decoder")
        self._process.start()
        theirs.close()


def _serve(pipe) -> None:
    """What runs in a worker: one job after another, until the server closes the pipe."""
    _limit_memory()
    warnings.simplefilter("ignore")
    while True:
        try:
            job, path, options = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            made = _JOBS[job](path, **options)
            for part in made if isgenerator(made) else ():
                pipe.send((True, part))
            answer = True, None if isgenerator(made) else made
        except VideoDecodeError as error:
            answer = False, error.reason
        except MemoryError:
            answer = False, "too large to decode"
        except Exception as error:  # of any kind: the file decides what the decoder trips over
            answer = False, one_line(error)
        pipe.send(answer)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a Unix
        return
    usage = Path("/proc/self/statm")
    if usage.exists():
        used = int(usage.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + EXTRA_MEMORY, resource.RLIM_INFINITY))


def _read_video(path: str, **options) -> VideoFrames:
    return read_frames(path, threads=1, **options)


def _read_image(path: str) -> VideoFrames:
    return read_picture(path, max_pixels=MAX_IMAGE_PIXELS, fit=LARGEST_QUERY)


def _picture(path: str, time: float) -> bytes:
    frames = read_frames(path, 1, start=max(time, 0.0), end=max(time, 0.0) + FRAME_SECONDS, threads=1).frames
    image = Image.fromarray(frames[0])
    image.thumbnail(PICTURE_SIZE)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _clip(path: str, start: float, end: float) -> bytes:
    from dmae.retrieval import cut_clip

    with tempfile.TemporaryDirectory(prefix="dmae-clip-") as folder:
        return cut_clip(path, start, end, Path(folder, "clip")).read_bytes()


def _film(path: str, **options) -> Iterator[FilmChunk]:
    for chunk in film_frames(path, threads=1, **options):
        if chunk.error is not None:
            raise chunk.error
        yield chunk


_JOBS = {"video": _read_video, "film": _film, "image": _read_image, "picture": _picture, "clip": _clip}
