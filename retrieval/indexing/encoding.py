"""Encoding a corpus into an index: worker processes decode while the model encodes; a commit every so many videos."""

import io
import os
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from dmae.modeling.frame_loader import FrameLoader
from dmae.modeling.video_source import source_name

from ..errors import VideoIndexError
from ..storage.rows import VideoFile
from .corpus import CorpusFile, Plan, make_plan
from .failures import FailureLog

THUMBNAIL_SIZE = (320, 320)


@dataclass
class AddReport:
    """What `VideoIndex.add` did.

    Attributes:
        added, updated, unchanged: numbers of videos new in the index, encoded again, and left as they were.
        failed: `(path, reason)` of every file that could not be read.
        vanished: ids in the index whose file is gone. removed: how many of them were removed (`prune=True`).
        seconds: wall time.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    removed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class AddOptions:
    """How `add_videos` goes about it.

    Attributes:
        prune: remove videos whose file has vanished from the scanned folders.
        retry_failed: try again files that failed before and have not changed since.
        batch_size: videos in one call of the model.
        commit_every, commit_seconds: videos, and seconds, after which what is encoded is committed.
        workers: decoding processes.
        source_options: of the stores that URLs lead to, as fsspec takes them, such as `{"key": …, "secret": …}`.
        rank, world_size: this process's share of the corpus (by default what the launcher set, else all of it).
        is_whole: asked for the path of each file to be encoded; one that is not whole yet is left for a later run.
        progress: show a progress bar (by default where standard error is a terminal).
    """

    prune: bool = False
    retry_failed: bool = False
    batch_size: int = 8
    commit_every: int = 256
    commit_seconds: float = 20.0
    workers: int = 2
    source_options: dict | None = None
    rank: int = field(default_factory=lambda: int(os.environ.get("RANK", 0)))
    world_size: int = field(default_factory=lambda: int(os.environ.get("WORLD_SIZE", 1)))
    is_whole: Callable[[str], bool] | None = None
    progress: bool = field(default_factory=sys.stderr.isatty)

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("commit_every", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise VideoIndexError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.rank < self.world_size:
            raise VideoIndexError(f"rank must be from 0 to {self.world_size - 1}, got {self.rank}")


def add_videos(index, videos, **options) -> AddReport:
    """See `VideoIndex.add`; `options` are those of `AddOptions`."""
    options = AddOptions(**options)
    index.table.check_writable()
    # The decoding processes never touch the table that their parent has open.
    warnings.filterwarnings("ignore", message="lancedb fork support")
    started = time.monotonic()
    known = index.table.scan(["id", "path", "content_hash", "file_size", "modified"]).to_pylist()
    plan = make_plan(videos, known, options.source_options)
    failures = FailureLog(index.table)
    report = AddReport(unchanged=plan.unchanged, vanished=plan.vanished, failed=list(plan.missing))
    todo = _share(plan, failures, report, options)
    _encode(index, todo, {file.id for file in plan.changed}, failures, report, options)
    if options.rank == 0:
        if plan.touched:
            index.table.update(
                [{"id": f.id, "path": f.path, "file_size": f.size, "modified": f.modified} for f in plan.touched]
            )
        if options.prune and plan.vanished:
            report.removed = index.delete(plan.vanished)
        index.maintain()
    report.seconds = time.monotonic() - started
    return report


def _share(plan: Plan, failures: FailureLog, report: AddReport, options: AddOptions) -> list[CorpusFile]:
    """This process's part of the files to encode; those known to be bad go to the report instead."""
    todo = []
    for file in sorted([*plan.new, *plan.changed], key=lambda file: file.id):
        # By the id, not by the place in the list: a process that starts late finds some files done already, and a
        # share of the rest would leave videos to nobody.
        if zlib.crc32(file.id.encode()) % options.world_size != options.rank:
            continue
        error = None if options.retry_failed else failures.error_of(file)
        if error is not None:
            report.failed.append((file.path, error))
        elif options.is_whole is None or options.is_whole(file.path):
            todo.append(file)
    return todo


def _encode(index, todo, changed: set[str], failures: FailureLog, report: AddReport, options: AddOptions) -> None:
    """Encodes files batch by batch; commits what is whole, also when interrupted."""
    pending = PendingRows(index, options)
    bar = tqdm(total=len(todo), unit="video", disable=not options.progress, desc="Indexing")
    bad: list[tuple[CorpusFile, str]] = []
    try:
        for batch in _batches(_load(index.processor, todo, bad, bar, options), options.batch_size):
            for file, rows in zip((file for file, _ in batch), _encode_batch(index, batch)):
                pending.add(file, *rows)
                report.updated += file.id in changed
                report.added += file.id not in changed
            bar.update(len(batch))
            pending.commit_if_due()
    finally:
        bar.close()
        pending.commit()
        failures.record(bad)
        report.failed += [(file.path, error) for file, error in bad]


def _load(processor, todo, bad, bar, options) -> Iterator[tuple[CorpusFile, object]]:
    """Decoded files in order; a bad one is noted and left out."""
    for item in FrameLoader([file.video for file in todo], processor.video_processor, workers=options.workers):
        if item.error is None:
            yield todo[item.index], item.frames
        else:
            bad.append((todo[item.index], item.error.removeprefix(f"{source_name(item.source)}: ")))
            bar.update(1)


def _batches(items, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.inference_mode()
def _encode_batch(index, batch):
    """`(frame_embeds, frame_weights, frame_times, VideoFile)` of each video."""
    inputs = index.processor(videos=[frames for _, frames in batch], return_tensors="pt").to(index.model.device)
    features = index.model.get_video_features(inputs["pixel_values_videos"], inputs.get("frame_mask"))
    embeds, weights = features.frame_embeds.cpu().float(), features.frame_mask.cpu().float()
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda pair: _describe(*pair), batch))
    for row, (_, frames) in enumerate(batch):
        times = np.zeros(embeds.shape[1], dtype=np.float32)
        times[: len(frames.timestamps)] = frames.timestamps
        yield embeds[row], weights[row], times, files[row]


def _describe(file: CorpusFile, frames) -> VideoFile:
    """What the index keeps of the file. Without a hash (it changed while being read) the next run encodes it again."""
    try:
        content_hash = file.digest()
        same = file.is_unchanged()
    except OSError:  # gone since it was decoded
        same = False
    return VideoFile(
        path=file.path,
        content_hash=content_hash if same else None,
        file_size=file.size if same else None,
        modified=file.modified if same else None,
        duration=float(frames.duration),
        thumbnail=_thumbnail(frames.frames[len(frames.frames) // 2]),
    )


def _thumbnail(frame: np.ndarray) -> bytes:
    image = Image.fromarray(np.asarray(frame))
    image.thumbnail(THUMBNAIL_SIZE)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


class PendingRows:
    """Encoded videos on their way to the next commit."""

    def __init__(self, index, options: AddOptions):
        self._index = index
        self._options = options
        self._rows = []
        self._since = time.monotonic()

    def add(self, file: CorpusFile, embeds, weights, times, details: VideoFile) -> None:
        self._rows.append((file.id, embeds, weights, times, details))

    def commit_if_due(self) -> None:
        waited = time.monotonic() - self._since
        if len(self._rows) >= self._options.commit_every or waited >= self._options.commit_seconds:
            self.commit()

    def commit(self) -> None:
        rows, self._rows, self._since = self._rows, [], time.monotonic()
        if rows:
            ids, embeds, weights, times, files = zip(*rows)
            longest = max(len(w) for w in weights)
            stacked = [
                torch.stack([_padded(part, longest) for part in parts])
                for parts in (embeds, weights, map(torch.as_tensor, times))
            ]
            self._index.add_embeddings(ids, stacked[0], stacked[1], frame_times=stacked[2], files=files)


def _padded(rows: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([rows, rows.new_zeros(length - len(rows), *rows.shape[1:])])
