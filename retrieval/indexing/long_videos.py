"""Encoding a video that is longer than one segment: read once, cut where its content changes, whole or not at all."""

import json
import math
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from dmae.modeling.encoding import inference
from dmae.modeling.errors import VideoDecodeError, printable
from dmae.modeling.features import VideoFeatures
from dmae.modeling.video_stream import exceeds

from ..storage.journal import Journal, JournalTakenError, drop_journals, journals
from ..storage.rows import Metadata, VideoFile, make_rows
from ..storage.schema import with_column
from ..storage.table import VideoTable
from .corpus import CorpusFile
from .file_details import make_thumbnail, state_of
from .film_frames import FilmChunk
from .film_loading import load_film
from .report import AddOptions
from .segmentation import Segmenter

BAR = "{desc}: {n_fmt} of {total_fmt} s |{bar}| {remaining} left"
JOURNAL_SEGMENTS = 64  # in one commit to the journal
REPEATED = 1 - 1e-5  # cosine from which two frames are one and the same, where more are asked for than there are


@dataclass(frozen=True)
class Segment:
    """Frames that belong together: `(F, D)` projections, their moments and where the segment lies, in seconds."""

    frames: torch.Tensor
    moments: list[float]
    start: float
    end: float
    thumbnail: bytes


def encode_long_video(table: VideoTable, model, processor, file: CorpusFile, options: AddOptions) -> list[str]:
    """Encodes a video into the table, in one commit; what is encoded meanwhile outlasts a killed process.

    Returns:
        what was not as it should be with the file.

    Raises:
        VideoDecodeError: it cannot be read, or another process encodes it. Nothing of it is in the table then, or what
            was there before.
    """
    settings = table.settings
    assert settings.frames_per_second is not None, "an index without a rate has no long videos"
    journal = Journal(table, file.id, _state(table, file))
    film = _Film(table, model, processor, file.id, file.path, journal)
    reading = {"size": processor.video_processor.read_options["size"], "workers": options.workers}
    chunks = load_film(file.video, settings.frames_per_second, start=journal.covered, **reading)
    bar = tqdm(unit="s", disable=not options.progress, desc=printable(file.id), leave=False, bar_format=BAR)

    def tell(share: float) -> None:
        bar.total = round(film.duration)
        bar.update(round(film.reached) - bar.n)
        if options.tell is not None:
            options.tell(file.path, share)

    try:
        film.take_all(chunks, tell, options.commit_seconds)
        film.finish(state_of(file))
    except JournalTakenError:
        raise VideoDecodeError(file.path, "another process encodes it", passing=True) from None
    except VideoDecodeError as error:
        if error.passing:
            film.keep()
        else:
            drop_journals(table, [file.id])
        raise
    except BaseException:
        film.keep()
        raise
    finally:
        bar.close()
    return film.warnings


def encode_film(
    table: VideoTable,
    model,
    processor,
    video_id: str,
    chunks: Iterable[FilmChunk],
    *,
    path: str | None = None,
    metadata: dict | None = None,
    tell: Callable[[float], None] = lambda share: None,
) -> list[str]:
    """As `encode_long_video`, for a video that somebody else reads; nothing is left of one that does not come whole.

    Args:
        chunks: all of the video, as `film_frames` reads it. tell: called now and then with the share that is done.
    """
    journal = Journal(table, video_id, secrets.token_hex())  # a state that no other run has: none goes on with this
    film = _Film(table, model, processor, video_id, path, journal)
    try:
        film.take_all(chunks, tell, math.inf)
        film.finish({}, metadata)
    except BaseException:
        drop_journals(table, [video_id])
        raise
    return film.warnings


def _state(table: VideoTable, file: CorpusFile) -> str:
    """What makes a half-encoded video worth going on with."""
    return json.dumps([file.size, file.modified, file.content_hash, asdict(table.settings)])


def drop_finished_journals(table: VideoTable) -> None:
    """Removes the journals of videos that are whole: a process that is killed right after its commit leaves one."""
    states = dict(journals(table))
    if states:
        rows = table.videos(["id", "file_size", "modified"], list(states)).to_pylist()
        begun = [(row["id"], json.dumps([row["file_size"], row["modified"]])[:-1]) for row in rows]
        drop_journals(table, [video_id for video_id, file in begun if states[video_id].startswith(f"{file}, ")])


@dataclass
class _Film:
    """A video on its way through the model: frames that wait to be cut, and segments that wait to be written."""

    table: VideoTable
    model: Any
    processor: Any
    video_id: str
    path: str | None
    journal: Journal
    duration: float = 0.0
    reached: float = 0.0  # seconds of the video that are encoded

    def __post_init__(self):
        longest = self.table.settings.segment_frames
        assert longest is not None, "it goes with a rate"
        self._segmenter = Segmenter(longest)
        self._last: torch.Tensor | None = None  # (1, D), of the frame kept last
        self._last_thumbnail = b""
        self._frames: list[torch.Tensor] = []
        self._moments: list[float] = []
        self._thumbnails: list[bytes] = []
        self._start = self.journal.covered
        self._begin = 0.0
        self._segments: list[Segment] = []
        self._since = time.monotonic()
        self._settings = self.table.settings  # of the rows
        self.warnings: list[str] = []

    def take_all(self, chunks: Iterable[FilmChunk], tell: Callable[[float], None], seconds: float) -> None:
        """Takes chunks and writes to the journal every so many seconds, telling the share of the video that is done.

        Raises:
            VideoDecodeError: the chunks end in it.
        """
        for chunk in chunks:
            if chunk.error is not None:
                raise chunk.error
            self.take(chunk)
            self.write_if_due(seconds)
            tell(min(self.reached / max(self.duration, 1e-9), 1.0))

    def take(self, chunk: FilmChunk) -> None:
        self._begin, self.duration = chunk.begin, chunk.duration
        self.warnings += chunk.warnings
        rate, known = self.table.settings.frames_per_second, self.table.settings.merge_above
        if rate is not None and exceeds(rate, chunk.fps):
            self._settings = replace(self.table.settings, merge_above=known or REPEATED)
        if not len(chunk.moments):
            return
        kept = list(self._encode(torch.from_numpy(chunk.pixels))) if len(chunk.pixels) else []
        thumbnails = [make_thumbnail(pixels) for pixels in chunk.pixels]
        if self._last is not None:
            kept, thumbnails = [self._last, *kept], [self._last_thumbnail, *thumbnails]
        offset = chunk.first - (self._last is not None)
        places = (chunk.frames - offset).tolist()
        self._last, self._last_thumbnail = kept[-1], thumbnails[-1]
        self._frames += [kept[place] for place in places]
        self._thumbnails += [thumbnails[place] for place in places]
        self._moments += chunk.moments.tolist()
        self.reached = self._moments[-1] - chunk.begin
        new = F.normalize(torch.stack([kept[place] for place in places]), dim=-1)
        self._cut(self._segmenter.push(new.numpy()))

    def finish(self, details: dict, metadata: dict | None = None) -> None:
        """Puts all of the video into the table, with what is known of its file as columns, and the user's metadata."""
        self._cut(self._segmenter.finish())
        self.write()
        user = Metadata(self.table.settings, [self.video_id], [metadata])
        details = {**details, "path": self.path, "duration": self.duration, "metadata": user.json[0]}
        own = {name: values[0] for name, values in user.columns.items()}
        self.journal.move(lambda rows: _with_columns(_with_details(rows, details), own))

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """`(N, D)` projections of `(N, H, W, 3)` frames."""
        processor = self.processor.video_processor
        with inference(self.model):
            inputs = processor([pixels], do_sample_frames=False, return_tensors="pt")
            inputs = {name: values[:, : len(pixels)].to(self.model.device) for name, values in inputs.items()}
            return self.model.get_frame_features(**inputs)[0].cpu().float()

    def _cut(self, lengths: list[int]) -> None:
        end_of_video = self._begin + self.duration
        for length in lengths:
            moments = self._moments[:length]
            start = self._begin if self._start is None else self._start
            rest = self._moments[length : length + 1]
            end = max(end_of_video, start) if not rest else self._border(moments[-1], rest[0])
            middle = self._thumbnails[length // 2]
            self._segments.append(Segment(torch.stack(self._frames[:length]), moments, start, end, middle))
            self._start = end
            for waiting in (self._frames, self._moments, self._thumbnails):
                del waiting[:length]

    def _border(self, before: float, after: float) -> float:
        """Where a frame gives way to the next: a keyframe where it comes, others halfway between their moments."""
        return after if isinstance(self.table.settings.frames_per_second, str) else (before + after) / 2

    def write_if_due(self, seconds: float) -> None:
        if len(self._segments) >= JOURNAL_SEGMENTS or time.monotonic() - self._since > seconds:
            self.write()

    def write(self) -> None:
        """Adds what is cut to the journal."""
        segments, self._segments, self._since = self._segments, [], time.monotonic()
        for start in range(0, len(segments), JOURNAL_SEGMENTS):
            self.journal.append(self._rows(segments[start : start + JOURNAL_SEGMENTS]))

    def keep(self) -> None:
        """Writes what is cut, so that the next run goes on from here; where another process does so, it has it."""
        with suppress(JournalTakenError):
            self.write()

    def _rows(self, segments: list[Segment]) -> pa.Table:
        features = self._join(segments)
        times = torch.zeros(features.frame_mask.shape, dtype=torch.float64)
        for row, segment in enumerate(segments):
            times[row, : len(segment.moments)] = torch.tensor(segment.moments)
        return make_rows(
            self._settings,
            [self.video_id] * len(segments),
            features.frame_embeds,
            features.frame_mask,
            frame_times=times,
            files=[VideoFile(path=self.path, thumbnail=segment.thumbnail) for segment in segments],
            segments=[(segment.start, segment.end) for segment in segments],
            first_number=self.journal.segments,
        )

    def _join(self, segments: list[Segment]) -> VideoFeatures:
        longest = max(len(segment.frames) for segment in segments)
        frames = [F.pad(segment.frames, (0, 0, 0, longest - len(segment.frames))) for segment in segments]
        mask = torch.tensor([[n < len(segment.frames) for n in range(longest)] for segment in segments]).long()
        with inference(self.model):
            device = self.model.device
            features = self.model.join_frames(torch.stack(frames).to(device, self.model.dtype), mask.to(device))
        return features.to("cpu", torch.float32)


def _with_details(rows: pa.Table, details: dict) -> pa.Table:
    for name, value in details.items():
        rows = with_column(rows, name, value)
    return rows


def _with_columns(rows: pa.Table, values: dict[str, pa.Scalar]) -> pa.Table:
    for name, value in values.items():
        rows = rows.append_column(name, pa.array([value.as_py()] * rows.num_rows, value.type))
    return rows
