"""Frames of a corpus decoded once, in memory-mapped Arrow files: `dmae frames SRC DEST`, then `CachedFrames`."""

import json
import logging
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from tqdm.auto import tqdm

from dmae.modeling import DmaeVideoProcessor
from dmae.modeling.encoding import cropped_bytes
from dmae.modeling.frame_loader import FrameLoader

from ..corpora import CorpusError, VideoSample
from ..distributed import ALONE, Processes
from .cache_settings import CacheSettings, differences
from .video_identity import VideoState, digest_of, state_of

SHARD = "frames-*.arrow"
SHARD_VIDEOS = 32
SETTINGS = b"dmae.frames"
STATE = ("path", "size", "modified", "start", "end")  # the columns of a VideoState, in its order
HASHES_AT_ONCE = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheReport:
    """What `write_frame_cache` did: videos `added`, found `present`, and `failed` as {video_id: reason}."""

    added: int
    present: int
    failed: dict[str, str]


def write_frame_cache(
    samples: Sequence[VideoSample],
    destination: str | os.PathLike,
    settings: CacheSettings | None = None,
    *,
    workers: int = 2,
    progress: bool = True,
    processes: Processes = ALONE,
) -> CacheReport:
    """Adds the frames of `samples` to the cache in the folder `destination`, which is made where it is missing.

    Videos that it holds already are left alone, so that a run that was stopped goes on where it was: at most
    `SHARD_VIDEOS` videos of a process are decoded twice. One that was replaced, or of which another part is asked for,
    is not held; nor is another one of the same name. A video that cannot be read is reported and tried again next
    time. Several processes, also of several machines with one file system, each decode their share of the videos into
    files of their own; the report is of all of them.

    Raises:
        CorpusError: the folder holds a cache with other settings, or something else.
    """
    settings = settings or CacheSettings()
    destination = Path(destination)
    destination.mkdir(parents=True, exist_ok=True)
    known = _Shards(destination, settings)
    known.tell_of_old_ones()
    # Shared out before it is known what is there already, which others may be adding to.
    mine = processes.share(range(len(samples)))
    states = {index: state_of(samples[index]) for index in mine}
    places = known.find([samples[index] for index in mine], list(states.values()))
    todo = [index for index, place in zip(mine, places) if place is None]
    loader = FrameLoader(
        [sample.video for sample in samples],
        _video_processor(settings),
        windows=[(sample.start, sample.end) for sample in samples],
        indices=todo,
        workers=workers,
    )
    failed: dict[str, str] = {}
    writer = _ShardWriter(destination, settings, known.next_number)
    try:
        for item in tqdm(loader, desc="frames", unit="video", disable=not (progress and processes.main)):
            if item.frames is None:
                failed[samples[item.index].video_id] = str(item.error)
            else:
                writer.add(samples[item.index], states[item.index], item.frames)
    finally:  # also when interrupted: what is decoded is kept
        writer.close()
    reports = processes.gather(CacheReport(len(todo) - len(failed), len(mine) - len(todo), failed))
    failed = {video_id: reason for report in reports for video_id, reason in report.failed.items()}
    return CacheReport(sum(report.added for report in reports), sum(report.present for report in reports), failed)


def _video_processor(settings: CacheSettings) -> DmaeVideoProcessor:
    square = {"height": settings.size, "width": settings.size}
    return DmaeVideoProcessor(
        num_frames=settings.num_frames * settings.candidates,
        sampling=settings.sampling,
        size=square if settings.squashed else {"shortest_edge": settings.size},
        do_center_crop=not settings.squashed,
        crop_size=square,
    )


class CachedFrames(torch.utils.data.Dataset):
    """Item i is `(frames uint8 (F, 3, H, W), frame_mask (F,))` of sample i, or None where the cache does not hold it
    as it is now, of which one warning tells.

    The files are memory-mapped: opening them reads no frame, and worker processes share what is in memory.

    Args:
        destination: the folder that `write_frame_cache` wrote.
        samples: whose frames to give, in this order.
        random_segments: draw one of each segment's candidates by `seed`, epoch (`set_epoch`) and item; by default
            the middle one, the frame that `read_frames` takes at the segment's middle.

    Raises:
        CorpusError: there is no frame cache, or it holds none of the samples as they are now.
    """

    def __init__(
        self,
        destination: str | os.PathLike,
        samples: Sequence[VideoSample],
        *,
        random_segments: bool = False,
        seed: int = 0,
    ):
        self.shards = _Shards(Path(destination))
        self.settings = self.shards.settings
        self.random_segments, self.seed, self.epoch = random_segments, seed, 0
        self.shards.tell_of_old_ones()
        self.places = self.shards.find(samples, [state_of(sample) for sample in samples])
        absent = [sample.video_id for sample, place in zip(samples, self.places) if place is None]
        if len(absent) == len(samples):
            raise CorpusError(
                f"{destination}: holds frames of none of the {len(samples)} videos as they are now; run `dmae frames`"
            )
        if absent:
            logger.warning(
                "%s: %d of %d videos are left out: it has no frames of them as they are now (%s); run `dmae frames`",
                *(destination, len(absent), len(samples), ", ".join(absent[:3]) + (", …" if absent[3:] else "")),
            )

    def __len__(self) -> int:
        return len(self.places)

    def set_epoch(self, epoch: int) -> None:
        """Makes the next epoch draw other frames."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        place = self.places[index]
        if place is None:
            return None
        frames, _ = self.shards.read(place)
        mask = torch.zeros(self.settings.num_frames, dtype=torch.long)
        if self.settings.sampling == "per_second":
            padded = np.zeros((self.settings.num_frames, *frames.shape[1:]), np.uint8)
            padded[: len(frames)] = frames
            mask[: len(frames)] = 1
            return torch.from_numpy(padded), mask
        return torch.from_numpy(frames[self._chosen(index)]), mask.fill_(1)

    def _chosen(self, index: int) -> np.ndarray:
        each = self.settings.candidates
        first = np.arange(self.settings.num_frames) * each
        if not self.random_segments:
            return first + each // 2
        return first + np.random.default_rng((self.seed, self.epoch, index)).integers(0, each, len(first))


class Entry(NamedTuple):
    """Frames in a cache: where they are, and of which video, by its state and the digest of its bytes."""

    place: tuple[str, int]
    state: VideoState
    digest: str | None


class _Shards:
    """The Arrow files of a cache: one record batch per video."""

    def __init__(self, folder: Path, expected: CacheSettings | None = None):
        self.folder = folder
        self.entries: dict[str, list[Entry]] = {}  # by the video's id
        self.old = 0  # files of a version that did not note of which videos their frames are
        self.open_files: dict[str, pa.ipc.RecordBatchFileReader] = {}
        names = sorted(path.name for path in folder.glob(SHARD)) if folder.is_dir() else []
        if not names and expected is None:
            raise CorpusError(f"{folder}: is not a frame cache; make one with `dmae frames SRC {folder}`")
        for name in names:
            expected = self._add(name, expected)
        assert expected is not None  # given, or read from the first file
        self.settings = expected
        self.next_number = 1 + max((int(name[7:-6]) for name in names), default=-1)

    def _add(self, name: str, expected: CacheSettings | None) -> CacheSettings:
        """Notes where the videos of a file are, and returns its settings."""
        reader = self._file(name)
        try:
            settings = CacheSettings(**json.loads(reader.schema.metadata[SETTINGS]))
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError(f"{self.folder / name}: was not written by `dmae frames`") from error
        if expected is not None and settings != expected:
            differing = differences(asdict(settings), asdict(expected))
            raise CorpusError(
                f"{self.folder}: has frames with other settings ({differing}): give the same, or choose another folder"
            )
        if "digest" not in reader.schema.names:
            self.old += 1
            return settings
        for row in range(reader.num_record_batches):
            batch = reader.get_batch(row)
            state = VideoState(*(batch[column][0].as_py() for column in STATE))
            entry = Entry((name, row), state, batch["digest"][0].as_py())
            self.entries.setdefault(batch["video_id"][0].as_py(), []).append(entry)
        return settings

    def find(self, samples: Sequence[VideoSample], states: Sequence[VideoState]) -> list[tuple[str, int] | None]:
        """Where the frames of each sample are, None where there are none of it as it is now.

        A file is read only where it has the size but not the place or the time of the one that was decoded.
        """
        with ThreadPoolExecutor(HASHES_AT_ONCE) as pool:
            return list(pool.map(self._find, samples, states))

    def _find(self, sample: VideoSample, state: VideoState) -> tuple[str, int] | None:
        entries = self.entries.get(sample.video_id, [])
        same = [entry for entry in entries if entry.state == state and state.is_known]
        if not same and (alike := [entry for entry in entries if entry.digest and entry.state.may_be(state)]):
            digest = digest_of(sample.video)
            same = [entry for entry in alike if entry.digest == digest]
        return same[-1].place if same else None

    def tell_of_old_ones(self) -> None:
        if self.old:
            logger.warning(
                "%s: %d files of an older version do not say of which videos their frames are, and are not used; "
                "`dmae frames` decodes anew what is missing",
                *(self.folder, self.old),
            )

    def _file(self, name: str) -> pa.ipc.RecordBatchFileReader:
        if name not in self.open_files:
            try:
                self.open_files[name] = pa.ipc.open_file(pa.memory_map(str(self.folder / name)))
            except (pa.ArrowInvalid, OSError) as error:
                raise CorpusError(
                    f"{self.folder / name}: is damaged; delete it and run `dmae frames` again"
                ) from error
        return self.open_files[name]

    def read(self, place: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """(frames uint8 (F, 3, H, W), a view of the file; their times in seconds)."""
        batch = self._file(place[0]).get_batch(place[1])
        size = self.settings.size
        packed = np.frombuffer(batch["frames"][0].as_buffer(), dtype=np.uint8)
        return packed.reshape(-1, 3, size, size), np.array(batch["timestamps"][0].as_py())

    def __getstate__(self) -> dict:
        return {**self.__dict__, "open_files": {}}


class _ShardWriter:
    """Writes shards under a passing name and renames each when it is whole."""

    def __init__(self, folder: Path, settings: CacheSettings, number: int):
        self.folder, self.settings, self.number = folder, settings, number
        self.processor = _video_processor(settings)
        fields = [
            *(("video_id", pa.string()), ("path", pa.string()), ("size", pa.int64()), ("modified", pa.int64())),
            *(("start", pa.float64()), ("end", pa.float64()), ("digest", pa.string())),
            *(("timestamps", pa.list_(pa.float64())), ("frames", pa.large_binary())),
        ]
        self.schema = pa.schema(fields, metadata={SETTINGS: json.dumps(asdict(settings)).encode()})
        self.writer, self.rows = None, 0
        self.unique = uuid.uuid4().hex  # processes of two machines may have one number

    @property
    def passing_name(self) -> Path:
        return self.folder / f".frames-{self.number:06d}.{self.unique}.tmp"

    def add(self, sample: VideoSample, state: VideoState, frames) -> None:
        """Frames of a video that was in this state before it was decoded. If it is in another one now, nobody can say
        of which they are, and they are not found again."""
        digest = digest_of(sample.video)
        if state_of(sample) != state:
            digest, state = None, replace(state, size=-2, modified=-1)
        pixels, mask = cropped_bytes(frames, self.processor)
        known = [[getattr(state, column)] for column in STATE]
        packed = pixels[: int(mask.sum())].numpy().tobytes()
        row = [[sample.video_id], *known, [digest], [frames.timestamps.tolist()], [packed]]
        if self.writer is None:
            self.writer, self.rows = pa.ipc.new_file(str(self.passing_name), self.schema), 0
        self.writer.write_batch(pa.record_batch(row, schema=self.schema))
        self.rows += 1
        if self.rows == SHARD_VIDEOS:
            self.close()

    def close(self) -> None:
        if self.writer is None:
            return
        self.writer.close()
        self.writer = None
        while True:  # another run may have taken the number: a link fails where a rename would overwrite
            target = self.folder / f"frames-{self.number:06d}.arrow"
            with suppress(FileExistsError):
                os.link(self.passing_name, target)
                break
            taken, self.number = self.passing_name, self.number + 1
            taken.rename(self.passing_name)
        self.passing_name.unlink()
        self.number += 1
