"""Encoding a corpus into an index: worker processes decode while the model encodes; a commit every so many videos."""

import secrets
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from tqdm.auto import tqdm

from dmae.modeling.errors import VideoDecodeError
from dmae.modeling.frame_loader import FrameLoader

from ..storage.journal import drop_journals
from ..storage.rows import make_rows
from ..storage.schema import share_of
from ..storage.table import VideoTable
from .batch_encoding import BatchEncoder, DecodedVideo, EncodedVideo, Preparation
from .corpus import CorpusFile, Plan, make_plan
from .file_details import FailureLog
from .long_videos import drop_finished_journals, encode_long_video
from .report import AddOptions, AddReport

LONGEST_WAIT = timedelta(days=7)  # of a launch's first process for its last
READ_AHEAD = (
    8  # decoded videos that a worker may have ready: as cropped bytes they are 1.8 MB each at 12 frames of 224
)


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
    _wait_for_all(chosen.world_size)
    if chosen.rank == 0:
        finish(table, work, prune=chosen.prune, vector_index_above=vector_index_above)
    work.report.seconds = time.monotonic() - started
    return work.report


def _wait_for_all(world_size: int) -> None:
    """Until every process of a launch is here; processes that know nothing of each other do not wait."""
    together = (
        distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() == world_size
    )
    if world_size > 1 and together:
        group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        distributed.barrier(group)  # type: ignore[arg-type]


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
    report.moved = [(old, file.id) for old, file in plan.moved]
    return Work(plan, failures, _share(plan, failures, report, options), report)


def finish(table: VideoTable, work: Work, *, prune: bool, vector_index_above: int) -> None:
    """What is done once for the whole corpus: files that moved, files that vanished, the table's upkeep."""
    touched = [{"id": file.id, **_place(file)} for file in work.plan.touched]
    if touched:
        table.update([row | {"revision": secrets.randbits(62)} for row in touched])
    moved = work.plan.moved
    table.rename({old: {"id": file.id, "content_hash": file.content_hash, **_place(file)} for old, file in moved})
    if prune and work.plan.vanished:
        work.report.removed = table.delete(work.plan.vanished)
        drop_journals(table, work.plan.vanished)
    drop_finished_journals(table)
    table.maintain(vector_index_above)


def _place(file: CorpusFile) -> dict:
    """Where a file is and since when, as columns."""
    return {"path": file.path, "file_size": file.size, "modified": file.modified}


def _share(plan: Plan, failures: FailureLog, report: AddReport, options: AddOptions) -> list[CorpusFile]:
    """This process's part of the files to encode; those known to be bad go to the report instead."""
    todo = []
    for file in sorted([*plan.new, *plan.changed], key=lambda file: file.id):
        # By the id, not by the place in the list: a process that starts late finds some files done already, and a
        # share of the rest would leave videos to nobody.
        if share_of(file.id, options.world_size) != options.rank:
            continue
        error = None if options.retry_failed else failures.error_of(file)
        if error is not None:
            report.failed.append((file.path, error))
            report.not_retried += 1
        elif options.is_whole is None or options.is_whole(file.path):
            todo.append(file)
    return todo


def encode_files(table: VideoTable, model, processor, work: Work, options: AddOptions) -> None:
    """Encodes files batch by batch; commits what is whole, also when interrupted. Long videos come last."""
    pending = PendingRows(table, options)
    encoder = BatchEncoder(model, processor, options.batch_size * processor.video_processor.num_frames)
    report, changed = work.report, {file.id for file in work.plan.changed}
    bar = tqdm(total=len(work.todo), unit="video", disable=not options.progress, desc="Indexing")
    bad: list[tuple[CorpusFile, VideoDecodeError]] = []
    long: list[CorpusFile] = []

    def done(file: CorpusFile) -> None:
        report.updated += file.id in changed
        report.added += file.id not in changed
        bar.update()

    try:
        for videos in encoder(_load(table, processor, work, bad, long, bar, options)):
            for video in videos:
                pending.add(video)
                done(video.file)
            pending.commit_if_due()
        pending.flush()
        for file in long:
            try:
                told = encode_long_video(table, model, processor, file, options)
                report.warnings += [(file.path, line) for line in told]
                done(file)
            except VideoDecodeError as error:
                bad.append((file, error))
                bar.update()
    finally:
        bar.close()
        pending.close()
        work.failures.record([(file, error.reason) for file, error in bad if not error.passing])
        report.failed += [(file.path, error.reason) for file, error in bad]


def _load(
    table: VideoTable, processor, work: Work, bad, long, bar, options: AddOptions
) -> Iterator[tuple[CorpusFile, DecodedVideo]]:
    """Decoded files in order; one that is bad, or longer than a segment, is noted and left out."""
    longest, todo = table.settings.longest_segment, work.todo
    prepare = Preparation(todo, processor.video_processor, longest)
    reading = {"workers": options.workers, "prefetch": READ_AHEAD, "prepare": prepare}
    for item in FrameLoader([file.video for file in todo], processor.video_processor, **reading):
        if item.error is not None:
            bad.append((todo[item.index], item.error))
            bar.update()
        elif item.prepared.details["duration"] > longest:
            long.append(todo[item.index])
        else:
            work.report.warnings += [(todo[item.index].path, line) for line in item.prepared.warnings]
            yield todo[item.index], item.prepared


class PendingRows:
    """Encoded videos on their way to the next commit, which is made beside the encoding of what follows."""

    def __init__(self, table: VideoTable, options: AddOptions):
        self._table = table
        self._options = options
        self._videos: list[EncodedVideo] = []
        self._since = time.monotonic()
        self._writer = ThreadPoolExecutor(1)
        self._written: Future | None = None

    def add(self, video: EncodedVideo) -> None:
        self._videos.append(video)

    def commit_if_due(self) -> None:
        waited = time.monotonic() - self._since
        if len(self._videos) >= self._options.commit_every or waited >= self._options.commit_seconds:
            self._commit()

    def flush(self) -> None:
        """Waits until all is in the table."""
        self._commit()
        self._wait()

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._writer.shutdown()

    def _commit(self) -> None:
        self._wait()  # one at a time: more would pile up where writing is what is slow
        videos, self._videos, self._since = self._videos, [], time.monotonic()
        if videos:
            self._written = self._writer.submit(self._write, videos)

    def _wait(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _write(self, videos: list[EncodedVideo]) -> None:
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
