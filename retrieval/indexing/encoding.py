"""Encoding a corpus into an index: worker processes decode while the model encodes; a commit every so many videos."""

import io
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from dmae.modeling.encoding import encode_videos
from dmae.modeling.errors import VideoDecodeError
from dmae.modeling.frame_loader import FrameLoader
from dmae.modeling.video_reading import VideoFrames

from ..storage.rows import VideoFile, make_rows
from ..storage.table import VideoTable
from .corpus import CorpusFile, Plan, make_plan
from .failures import FailureLog
from .report import AddOptions, AddReport

THUMBNAIL_SIZE = (320, 320)


def add_videos(table: VideoTable, model, processor, videos, *, vector_index_above: int, **options) -> AddReport:
    """See `VideoIndex.add`: plans, encodes and finishes.

    Args:
        videos: a folder, a file, or a list of files.
        vector_index_above: rows above which the table gets a vector index.
        options: those of `AddOptions`.
    """
    chosen = AddOptions(**options)
    table.check_writable()
    # The decoding processes never touch the table that their parent has open.
    warnings.filterwarnings("ignore", message="lancedb fork support")
    started = time.monotonic()
    work = plan_work(table, videos, chosen)
    encode_files(table, model, processor, work, chosen)
    if chosen.rank == 0:
        finish(table, work, prune=chosen.prune, vector_index_above=vector_index_above)
    work.report.seconds = time.monotonic() - started
    return work.report


@dataclass
class Work:
    """What is to be done, and what came of it so far.

    Attributes:
        plan: the corpus against the table. failures: files known to be bad.
        todo: this process's part of the files to encode, ordered by id.
        report: filled as the work goes on.
    """

    plan: Plan
    failures: FailureLog
    todo: list[CorpusFile]
    report: AddReport


def plan_work(table: VideoTable, videos, options: AddOptions) -> Work:
    """Compares a corpus with what the table holds."""
    known = table.videos(["id", "path", "content_hash", "file_size", "modified"]).to_pylist()
    plan = make_plan(videos, known, options.source_options, prune_empty=options.prune_empty)
    failures = FailureLog(table)
    report = AddReport(unchanged=plan.unchanged, vanished=plan.vanished, unseen=plan.unseen, failed=list(plan.missing))
    return Work(plan, failures, _share(plan, failures, report, options), report)


def finish(table: VideoTable, work: Work, *, prune: bool, vector_index_above: int) -> None:
    """What is done once for the whole corpus: files that moved, files that vanished, the table's upkeep."""
    touched = work.plan.touched
    if touched:
        table.update([{"id": f.id, "path": f.path, "file_size": f.size, "modified": f.modified} for f in touched])
    if prune and work.plan.vanished:
        work.report.removed = table.delete(work.plan.vanished)
    table.maintain(vector_index_above)


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
            report.not_retried += 1
        elif options.is_whole is None or options.is_whole(file.path):
            todo.append(file)
    return todo


def encode_files(table: VideoTable, model, processor, work: Work, options: AddOptions) -> None:
    """Encodes files batch by batch; commits what is whole, also when interrupted."""
    pending = PendingRows(table, options)
    report, changed = work.report, {file.id for file in work.plan.changed}
    bar = tqdm(total=len(work.todo), unit="video", disable=not options.progress, desc="Indexing")
    bad: list[tuple[CorpusFile, VideoDecodeError]] = []
    try:
        for batch in _batches(_load(processor, work.todo, bad, bar, options), options.batch_size):
            for row in _encode_batch(model, processor, batch):
                pending.add(row)
                report.updated += row.file.id in changed
                report.added += row.file.id not in changed
            bar.update(len(batch))
            pending.commit_if_due()
    finally:
        bar.close()
        pending.commit()
        work.failures.record([(file, error.reason) for file, error in bad if not error.passing])
        report.failed += [(file.path, error.reason) for file, error in bad]


def _load(processor, todo, bad, bar, options: AddOptions) -> Iterator[tuple[CorpusFile, VideoFrames]]:
    """Decoded files in order; a bad one is noted and left out."""
    for item in FrameLoader([file.video for file in todo], processor.video_processor, workers=options.workers):
        if item.error is None:
            yield todo[item.index], item.frames
        else:
            bad.append((todo[item.index], item.error))
            bar.update(1)


def _batches(items: Iterable, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class EncodedVideo(NamedTuple):
    """One video on its way into the table: `(F, D)` embeddings, `(F,)` weights and seconds, and its file."""

    file: CorpusFile
    frame_embeds: torch.Tensor
    frame_weights: torch.Tensor
    frame_times: torch.Tensor
    details: VideoFile


def _encode_batch(model, processor, batch: list[tuple[CorpusFile, VideoFrames]]) -> Iterator[EncodedVideo]:
    features = encode_videos(model, processor, [frames for _, frames in batch], batch_size=len(batch))
    with ThreadPoolExecutor(2) as pool:
        details = list(pool.map(lambda pair: _describe(*pair), batch))
    for row, (file, frames) in enumerate(batch):
        times = torch.zeros(features.frame_mask.shape[1])
        times[: len(frames.timestamps)] = torch.from_numpy(frames.timestamps)
        yield EncodedVideo(file, features.frame_embeds[row], features.frame_mask[row], times, details[row])


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

    def __init__(self, table: VideoTable, options: AddOptions):
        self._table = table
        self._options = options
        self._videos: list[EncodedVideo] = []
        self._since = time.monotonic()

    def add(self, video: EncodedVideo) -> None:
        self._videos.append(video)

    def commit_if_due(self) -> None:
        waited = time.monotonic() - self._since
        if len(self._videos) >= self._options.commit_every or waited >= self._options.commit_seconds:
            self.commit()

    def commit(self) -> None:
        videos, self._videos, self._since = self._videos, [], time.monotonic()
        if not videos:
            return
        longest = max(len(video.frame_weights) for video in videos)
        rows = make_rows(
            self._table.settings,
            [video.file.id for video in videos],
            torch.stack([_padded(video.frame_embeds, longest) for video in videos]),
            torch.stack([_padded(video.frame_weights, longest) for video in videos]),
            frame_times=torch.stack([_padded(video.frame_times, longest) for video in videos]),
            files=[video.details for video in videos],
        )
        self._table.write(rows)


def _padded(rows: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([rows, rows.new_zeros(length - len(rows), *rows.shape[1:])])
