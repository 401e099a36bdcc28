"""Groups of videos that show the same, in whole or in part.

With F frames in the index, about F·√F products of shadows find the pairs that may be copies (`pairs`), whose frames
are then read and compared exactly (`search.likeness`): nothing that is no copy is listed. Up to 8,192 frames every
copy is found; in a larger index one may be missed whose frames were all changed so much that none of those looked for
lies near its original's. A group of n copies costs up to n² products of shadows and n exact comparisons.

In memory are the shadows, 128 bytes per frame, about twice as much again while pairs are looked for, and 8 bytes per
pair that may be copies.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from ..search.likeness import NEAR_IDENTICAL, Frames, check_cosine, compare, near_identical
from ..storage.table import VideoTable
from .pairs import SHADOW_ROUNDING, Shadows, alike_pairs

SAMPLE = 2000  # rows that tell in which directions frames differ
ROWS = 512  # read at a time
READ_FRAMES = 32_768  # that copies may have to be read at a time
FRAME_COLUMNS = ("frames", "frame_scales", "frame_weights")


@dataclass(frozen=True)
class Copy:
    """A video of a group.

    Attributes:
        id, path, duration: of the video, as of a hit.
        start, end: the part of the group's first video that it shows, in seconds; None where unknown.
    """

    id: str
    path: str | None
    duration: float | None
    start: float | None
    end: float | None

    def to_dict(self) -> dict:
        """The video as JSON values."""
        rounded = {name: value and round(value, 3) for name, value in asdict(self).items() if name in ("start", "end")}
        return asdict(self) | rounded


def find_duplicates(table: VideoTable, above: float = NEAR_IDENTICAL) -> list[list[Copy]]:
    """Groups of at least two videos, each a copy of its group's first, the longest; the largest groups first.

    Raises:
        VideoIndexError: `above` is no cosine.
    """
    above = check_cosine("above", above)
    videos = _Videos(table)
    if len(videos.ids) < 2:
        return []
    shadows = videos.shadows()
    pairs = alike_pairs(shadows, videos.shares, videos.owners, above)
    taken = np.zeros(len(videos.ids), bool)
    groups = []
    heads, starts = np.unique(pairs[:, 0], return_index=True)
    for head, others in zip(heads.tolist(), np.split(pairs[:, 1], starts[1:])):
        if taken[head]:
            continue
        first = videos.shadow(shadows, head)
        likely = [
            other
            for other in others[~taken[others]].tolist()
            if compare(first, videos.shadow(shadows, other), above - SHADOW_ROUNDING).covers
        ]
        copies = _copies(videos, head, likely, above) if likely else {}
        if copies:
            taken[list(copies)] = True
            groups.append([videos.copy(head, *videos.span(head)), *(videos.copy(n, *copies[n]) for n in copies)])
    return sorted(groups, key=lambda group: -len(group))


def _copies(videos: "_Videos", head: int, likely: list[int], above: float) -> dict:
    """Those that are copies of `head`, each with the part of it that it shows."""
    found = {}
    frames = videos.read([head]).get(head)
    if frames is None:  # it was deleted meanwhile
        return found
    for part in videos.parts(likely):
        for other, own in videos.read(part).items():
            likeness = compare(frames, own, above)
            if near_identical(frames, own, above, likeness):
                found[other] = videos.span(head, likeness.first)
    return found


class _Videos:
    """The videos of a table, numbered from the longest on, and the places of their frames.

    Attributes:
        ids: of each video. owners: `(F,)` the video of each frame. shares: `(F,)` of its video that a frame is.
    """

    def __init__(self, table: VideoTable):
        self.table = table
        segmented = table.settings.format > 1
        columns = ["id", "path", "duration", "file_size", "frame_weights", "frame_times"]
        rows = table.scan([*columns, "segment_number"] if segmented else columns)
        ids = rows["id"].combine_chunks().dictionary_encode()
        video = ids.indices.to_numpy().astype(np.int64)
        weights = rows["frame_weights"].combine_chunks()
        counts = weights.value_lengths().to_numpy().astype(np.int64)
        rank, chosen = _longest_first(rows, video, counts, len(ids.dictionary))
        number = rows["segment_number"].to_numpy() if segmented else np.zeros(len(video), np.int64)
        order = np.lexsort((number, rank[video]))
        self.ids = ids.dictionary.take(pa.array(np.argsort(rank))).to_pylist()
        described = rows.select(["path", "duration"]).take(pa.array(chosen))
        self._paths, self._durations = described["path"].to_pylist(), described["duration"].to_pylist()
        self._times = rows["frame_times"].take(pa.array(order)).combine_chunks()
        self._row_ids = rows["_rowid"].to_numpy().astype(np.int64)[order]
        self._counts = counts[order]
        self._stops = np.cumsum(self._counts)
        self.owners = np.repeat(rank[video][order], self._counts).astype(np.int32)
        own = weights.take(pa.array(order)).flatten().to_numpy().astype(np.float32)
        self.shares = own / np.bincount(self.owners, own, minlength=len(self.ids))[self.owners]
        # The rows, and the frames, of each video lie side by side.
        self._rows = np.searchsorted(rank[video][order], np.arange(len(self.ids) + 1))
        self._frames = np.searchsorted(self.owners, np.arange(len(self.ids) + 1))

    def shadows(self) -> np.ndarray:
        """`(F, S)` float16, in the order of `owners`; zeros for what was deleted meanwhile."""
        random = np.random.default_rng(0)
        sample = np.sort(random.permutation(self._row_ids)[:SAMPLE])
        shadows_of = Shadows(_unit(self.table.take(sample, FRAME_COLUMNS), self.table.settings.dim))
        order = np.argsort(self._row_ids)
        made = None
        for batch in self.table.scan_batches(FRAME_COLUMNS, ROWS):
            row_ids = batch["_rowid"].to_numpy().astype(np.int64)
            counts = batch["frame_weights"].value_lengths().to_numpy()
            rows = order[np.minimum(np.searchsorted(self._row_ids, row_ids, sorter=order), len(order) - 1)]
            same = (self._row_ids[rows] == row_ids) & (self._counts[rows] == counts)
            own = shadows_of(_unit(batch, self.table.settings.dim)).astype(np.float16)
            if made is None:
                made = np.zeros((len(self.owners), own.shape[1]), np.float16)
            places = np.repeat(self._stops[rows] - np.cumsum(counts), counts) + np.arange(len(own))
            kept = np.repeat(same, counts)
            made[places[kept]] = own[kept]
        return np.zeros((len(self.owners), 1), np.float16) if made is None else made

    def shadow(self, shadows: np.ndarray, video: int) -> Frames:
        own = slice(self._frames[video], self._frames[video + 1])
        return Frames(shadows[own].astype(np.float32), self.shares[own])

    def parts(self, videos: Sequence[int]):
        """Videos, as many at a time as memory should hold the frames of."""
        part, frames = [], 0
        for video in videos:
            count = self._frames[video + 1] - self._frames[video]
            if part and frames + count > READ_FRAMES:
                yield part
                part, frames = [], 0
            part.append(video)
            frames += count
        if part:
            yield part

    def read(self, videos: Sequence[int]) -> dict[int, Frames]:
        """The frames of videos, of those that are still there as they were."""
        wanted = np.concatenate([self._row_ids[self._rows[video] : self._rows[video + 1]] for video in videos])
        rows = self.table.take(wanted, FRAME_COLUMNS)
        embeds = _unit(rows, self.table.settings.dim)
        counts = rows["frame_weights"].combine_chunks().value_lengths().to_numpy()
        owner = dict(zip(wanted.tolist(), np.repeat(videos, [self._rows[v + 1] - self._rows[v] for v in videos])))
        owners = np.repeat([owner[row_id] for row_id in rows["_rowid"].to_pylist()], counts)
        read = {video: embeds[owners == video] for video in videos}
        shares = {video: self.shares[self._frames[video] : self._frames[video + 1]] for video in videos}
        return {video: Frames(own, shares[video]) for video, own in read.items() if len(own) == len(shares[video])}

    def span(self, video: int, frames: np.ndarray | None = None) -> tuple[float | None, float | None]:
        """From where to where in a video some of its frames reach, `(F,)` bool, or all; halfway to the next ones."""
        duration = self._durations[video]
        times = np.asarray(self._times[self._rows[video] : self._rows[video + 1]].flatten(), np.float64)
        if frames is None or frames.all():
            return (None, None) if duration is None else (0.0, duration)
        if len(times) != len(frames):
            return None, None
        first, last = np.flatnonzero(frames)[[0, -1]].tolist()
        start = 0.0 if not first else float(times[first - 1] + times[first]) / 2
        return start, duration if last + 1 == len(times) else float(times[last] + times[last + 1]) / 2

    def copy(self, video: int, start: float | None, end: float | None) -> Copy:
        return Copy(self.ids[video], self._paths[video], self._durations[video], start, end)


def _longest_first(rows: pa.Table, video: np.ndarray, counts: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each video, by duration, then frames, then size of the file; and by rank a row of each."""
    chosen = np.unique(video, return_index=True)[1]
    durations, sizes = (
        np.nan_to_num(rows[name].take(pa.array(chosen)).to_numpy().astype(np.float64), nan=-1)
        for name in ("duration", "file_size")
    )
    frames = np.bincount(video, counts, minlength=total)
    # To a tenth of a second: a re-encode is often a frame longer or shorter.
    best = np.lexsort((chosen, -sizes, -frames, -durations.round(1)))
    rank = np.empty(total, np.int64)
    rank[best] = np.arange(total)
    return rank, chosen[best]


def _unit(rows: pa.Table | pa.RecordBatch, dim: int) -> np.ndarray:
    """`(F, D)` float32 unit-norm frames of rows, end to end."""
    frames, scales = (_flat(rows[name]).astype(np.float32) for name in ("frames", "frame_scales"))
    frames = frames.reshape(-1, dim)
    if len(scales):
        frames = frames * scales[:, None]
    return frames / np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-12)


def _flat(column) -> np.ndarray:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.flatten().to_numpy()
