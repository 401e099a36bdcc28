"""Adding a corpus on a Ray cluster: encoders take chunks of files as they get free, and what dies is made good.

An encoder is an actor that does what `index.add` does on one machine: its worker processes decode, it encodes, and it
commits a chunk as one. Only names of files and reports travel; no frame leaves its machine.
"""

import math
import time
import warnings
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from tqdm.auto import tqdm

from ..errors import VideoIndexError
from ..storage.table import VideoTable
from .corpus import CorpusFile, Plan
from .encoding import Work, encode_files, finish, plan_work
from .file_details import FailureLog
from .ray_cluster import check_cluster, check_nodes, connected, encoders_that_fit
from .report import AddOptions, AddReport

CHUNKS_PER_ENCODER = 4  # at least, so that the last ones to finish do not keep the others waiting
SMALLEST_CHUNK = 16
START_SECONDS = 180  # for one encoder to be up: its imports and the model
FAILED_STARTS = 3  # in a row, and the cluster is at fault


def add_on_ray(
    table: VideoTable,
    model,
    processor,
    videos,
    *,
    address: str | None = None,
    encoders: int | None = None,
    vector_index_above: int,
    **options,
) -> AddReport:
    """`add_videos` on a cluster: the same rows and the same report.

    Args:
        address: of the cluster's head; None for the one of this machine, which is started where there is none.
        encoders: how many encode at once; as many as fit by default.
        options: those of `AddOptions`.

    Raises:
        VideoIndexError: a cluster that cannot be reached, has no room for an encoder, or has nodes that lack the
            package or cannot see the index or the videos.
    """
    given: dict[str, Any] = options | {"rank": 0, "world_size": 1}
    chosen = AddOptions(**given)
    check_cluster(address, encoders)
    table.check_writable()
    started = time.monotonic()
    work = plan_work(table, videos, chosen)
    if work.todo:
        with connected(address):
            room = encoders_that_fit(chosen.workers + 1)
            if encoders is not None and encoders > room:
                raise VideoIndexError(f"encoders must be from 1 to {room}, which is what the cluster has room for")
            check_nodes(chosen.workers + 1, table.uri, [file.video for file in work.todo])
            count = min(encoders or room, len(work.todo))
            Team(table, model, processor, work, chosen, count).run()
    finish(table, work, prune=chosen.prune, vector_index_above=vector_index_above)
    work.report.seconds = time.monotonic() - started
    return work.report


class Encoder:
    """One worker of a cluster: the model, the table, and chunks of files that it is given."""

    def __init__(self, uri: str, storage_options: dict | None, parts, options: AddOptions):
        import torch

        # The decoding processes never touch the table that their parent has open.
        warnings.filterwarnings("ignore", message="lancedb fork support")
        model, self.processor = parts
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.table = VideoTable.open(uri, storage_options=storage_options)
        self.failures = FailureLog(self.table)
        # One commit for the whole of a chunk: it is there, or the next encoder does it again.
        self.options = replace(options, progress=False, commit_every=10**9, commit_seconds=float("inf"))

    def ready(self) -> bool:
        return True

    def encode(self, files: list[CorpusFile]) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Errors by path of the files that cannot be read, and warnings of the others, which are in the table."""
        work = Work(Plan(), self.failures, files, AddReport())
        encode_files(self.table, self.model, self.processor, work, self.options)
        return dict(work.report.failed), work.report.warnings


@dataclass
class Chunk:
    """Files that are encoded and committed as one. `lost`: how often an encoder died of it, or over it."""

    files: list[CorpusFile]
    lost: int = 0

    def after_a_death(self) -> list["Chunk"]:
        """What to try next: the same once more (it was the machine), then halves (it is one of the files)."""
        if self.lost == 0 or len(self.files) == 1:
            return [Chunk(self.files, self.lost + 1)]
        middle = len(self.files) // 2
        return [Chunk(self.files[:middle], 1), Chunk(self.files[middle:], 1)]

    @property
    def is_hopeless(self) -> bool:
        return len(self.files) == 1 and self.lost >= 2


@dataclass
class Team:
    """Encoders at work on the chunks of a corpus."""

    table: VideoTable
    model: Any
    processor: object
    work: Work
    options: AddOptions
    count: int
    waiting: deque[Chunk] = field(default_factory=deque)
    busy: dict = field(default_factory=dict)  # what an encoder will answer -> (the encoder, its chunk or None)
    failed_starts: int = 0

    def run(self) -> None:
        """Encodes everything.

        Raises:
            VideoIndexError: the index cannot be written, or no encoder stays alive. What was committed is kept.
        """
        import ray

        size = math.ceil(len(self.work.todo) / (self.count * CHUNKS_PER_ENCODER))
        size = min(self.options.commit_every, max(size, SMALLEST_CHUNK))
        files, todo = self.work.todo, range(0, len(self.work.todo), size)
        self.waiting.extend(Chunk(files[start : start + size]) for start in todo)
        device = next(self.model.parameters()).device
        self._parts = ray.put((self.model.cpu(), self.processor))
        self.model.to(device)
        self._changed = {file.id for file in self.work.plan.changed}
        try:
            with tqdm(total=len(files), unit="video", disable=not self.options.progress, desc="Indexing") as bar:
                self._loop(bar)
        finally:
            for encoder, _ in self.busy.values():
                ray.kill(encoder)

    def _loop(self, bar) -> None:
        import ray

        for _ in range(min(self.count, len(self.waiting))):
            self._start()
        while self.waiting or any(chunk is not None for _, chunk in self.busy.values()):
            starting = all(chunk is None for _, chunk in self.busy.values())
            done, _ = ray.wait(list(self.busy), timeout=START_SECONDS if starting else None)
            if not done:
                left = sum(len(chunk.files) for chunk in self.waiting)
                raise VideoIndexError(
                    f"no encoder has started within {START_SECONDS} s: the cluster's CPUs or GPUs are taken; {left} "
                    "videos are left, run the same command again when they are free"
                )
            encoder, chunk = self.busy.pop(done[0])
            if self._take(done[0], chunk, bar):
                self._give(encoder)
            elif self.waiting:
                self._start()

    def _take(self, answer, chunk: Chunk | None, bar) -> bool:
        """Notes what an encoder answered; False where it is dead."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            told: Any = ray.get(answer)
        except RayTaskError as error:
            cause = error.cause if error.cause is not None else error
            raise VideoIndexError(" ".join(str(cause).split())[:300] or type(cause).__name__) from error
        except RayError as error:
            self._bury(chunk, error, bar)
            return False
        self.failed_starts = 0
        if chunk is not None:
            errors, warned = told
            self.work.report.warnings += warned
            self._note(chunk, errors, bar)
        return True

    def _bury(self, chunk: Chunk | None, error: Exception, bar) -> None:
        if chunk is None:
            self.failed_starts += 1
            refused = "creation task" in str(error)  # it did not die, it could not do its work
            if refused or self.failed_starts >= FAILED_STARTS:
                raise VideoIndexError(f"the encoders cannot start: {_last_line(error)}") from error
            return
        for again in chunk.after_a_death():
            if again.is_hopeless:
                file = again.files[0]
                reason = "the process that encoded it was killed, twice"
                self.work.failures.record([(file, reason)])
                self._note(again, {file.path: reason}, bar)
            else:
                self.waiting.append(again)

    def _note(self, chunk: Chunk, errors: dict[str, str], bar) -> None:
        report = self.work.report
        report.failed += errors.items()
        done = [file for file in chunk.files if file.path not in errors]
        report.updated += sum(file.id in self._changed for file in done)
        report.added += sum(file.id not in self._changed for file in done)
        bar.update(len(chunk.files))

    def _start(self) -> None:
        import ray

        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        actor = ray.remote(Encoder).options(num_cpus=self.options.workers + 1, num_gpus=gpus, max_concurrency=1)
        encoder = actor.remote(
            self.table.uri, self.table.storage_options, self._parts, replace(self.options, is_whole=None)
        )
        self.busy[encoder.ready.remote()] = encoder, None

    def _give(self, encoder) -> None:
        """The next chunk to an encoder, or its leave: another may still die over a chunk, and is then replaced."""
        import ray

        if self.waiting:
            chunk = self.waiting.popleft()
            self.busy[encoder.encode.remote(chunk.files)] = encoder, chunk
        else:
            ray.kill(encoder)


def _last_line(error: Exception) -> str:
    """What went wrong in another process, without that process's stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
