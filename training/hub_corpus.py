"""A corpus in a dataset of the Hub (or a local folder of parquet files): mapped into a list, or streamed.

Videos stay encoded (`datasets.Video(decode=False)`): frames are read later, by the same code as everywhere else.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pyarrow.compute as pc
from datasets import Dataset, IterableDataset, Value, Video, load_dataset
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetNotFoundError

from .folder_corpus import inside
from .samples import CAPTION_COLUMNS, VIDEO_COLUMNS, CorpusError, VideoSample, merge_rows, sample_from_row

OTHER_COLUMNS = ("video_id", "start", "end", "hard_negatives")

logger = logging.getLogger(__name__)


class StoredVideo(dict):
    """`{"path", "bytes"}` of one row; the bytes are read from the dataset on disk whenever they are asked for, so
    that the samples of a corpus of any size fit in memory. Pickles as a plain dict."""

    def __init__(self, dataset: Dataset, row: int, path: str | None):
        super().__init__(path=path)
        self._dataset, self._row = dataset, row

    def __missing__(self, key):
        if key != "bytes":
            raise KeyError(key)
        return self._dataset[self._row]["video"]["bytes"]

    def get(self, key, default=None):
        return self[key] if key in ("path", "bytes") else default

    def __reduce__(self):
        return dict, ({"path": self["path"], "bytes": self["bytes"]},)


class SampleStream:
    """Samples read while they are downloaded; each pass reads anew. Rows of one video that follow each other become
    one sample. `dataset` is the `datasets.IterableDataset` behind it, with its columns renamed to ours."""

    def __init__(self, dataset: IterableDataset, where: str, videos: Path | None):
        self.dataset, self.where, self.videos = dataset, where, videos

    def shuffle(self, seed: int, buffer_size: int = 100) -> "SampleStream":
        """Another order for each `set_epoch`: shards are shuffled, and rows within a buffer of encoded videos."""
        # One shard at a time: every open one holds a row group of encoded videos.
        shuffled = self.dataset.shuffle(seed=seed, buffer_size=buffer_size, max_buffer_input_shards=1)
        return SampleStream(shuffled, self.where, self.videos)

    def set_epoch(self, epoch: int) -> None:
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[VideoSample]:
        found = False
        for _, samples in groupby(self._rows(), key=lambda sample: sample.video_id):
            found = True
            yield merge_rows(samples)[0]
        if not found:
            raise CorpusError(f"{self.where} is empty for this process: not one video with a caption")

    def _rows(self) -> Iterator[VideoSample]:
        for number, row in enumerate(self.dataset):
            if row["video"] and not isinstance(row["video"], str) and not row["video"]["path"]:
                row.setdefault("video_id", _digest(row["video"]["bytes"]))
            sample = _sample(row, f"{self.where}, row {number}", self.videos)
            if sample is not None:
                yield sample


def load_hub(
    source: str,
    split: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    videos: Path | None = None,
    streaming: bool = False,
    process_index: int = 0,
    num_processes: int = 1,
) -> list[VideoSample] | SampleStream:
    """One split of a dataset with a video and a caption column; see `corpora.load_samples`."""
    where = f"{source}, split '{split}'"
    with _plain_errors(source, split):
        dataset = load_dataset(source, name=name, split=split, revision=revision, streaming=streaming)
    dataset = _our_columns(dataset, where, videos)
    if streaming:
        return SampleStream(split_dataset_by_node(dataset, process_index, num_processes), where, videos)
    return _mapped_samples(dataset, where, videos)


def _mapped_samples(dataset: Dataset, where: str, videos: Path | None) -> list[VideoSample]:
    stored = isinstance(dataset.features["video"], Video)
    paths, sizes = _paths_and_sizes(dataset) if stored else (dataset["video"], None)
    samples, size_of = [], {}
    for number, row in enumerate(dataset.remove_columns("video")):
        path = paths[number]
        if stored and sizes[number] is not None:
            row["video"] = StoredVideo(dataset, number, path)
            if path is None and row.get("video_id") is None:
                row["video_id"] = _digest(row["video"]["bytes"])
            if path is not None and size_of.setdefault(path, sizes[number]) != sizes[number]:
                raise CorpusError(f"{where}: two different videos are both called {path!r}; add a column 'video_id'")
        else:
            row["video"] = path
        sample = _sample(row, f"{where}, row {number}", None if stored else videos)
        if sample is not None:
            samples.append(sample)
    return merge_rows(samples)


def _paths_and_sizes(dataset: Dataset) -> tuple[list, list]:
    """Names and byte counts of the videos without reading a byte of them (None where a row has only a file)."""
    column = dataset.data.column("video")
    return (
        pc.struct_field(column, "path").to_pylist(),
        pc.binary_length(pc.struct_field(column, "bytes")).to_pylist(),
    )


def _sample(row: dict, where: str, videos: Path | None) -> VideoSample | None:
    row = {column: value for column, value in row.items() if value is not None or column in ("video", "captions")}
    if isinstance(row["video"], str) and videos is not None:
        row.setdefault("video_id", row["video"])
        row["video"] = str(videos / inside(row["video"], where))
    sample = sample_from_row(row, where)
    if sample is None:
        logger.warning("%s: a video without a caption is left out", where)
    return sample


def _our_columns(dataset: Dataset | IterableDataset, where: str, videos: Path | None):
    """The dataset with the columns `video` (encoded) and `captions`, and those of the others that it has."""
    columns = dataset.column_names or list(next(iter(dataset), {}))
    if not columns:
        raise CorpusError(f"{where} is empty")
    found = {}
    for ours, names in (("video", VIDEO_COLUMNS), ("captions", CAPTION_COLUMNS)):
        found[ours] = next((column for column in names if column in columns), None)
        if found[ours] is None:
            raise CorpusError(f"{where}: no column {' or '.join(map(repr, names))}; it has {', '.join(columns)}")
    dataset = dataset.select_columns([*found.values(), *(column for column in OTHER_COLUMNS if column in columns)])
    dataset = dataset.rename_columns({theirs: ours for ours, theirs in found.items() if theirs != ours})
    if (
        dataset.features is not None
        and isinstance(dataset.features["video"], Value)
        and "string" in dataset.features["video"].dtype
    ):
        if videos is None:
            raise CorpusError(
                f"{where}: the column '{found['video']}' holds file names; give the folder of the videos"
            )
        return dataset
    return dataset.cast_column("video", Video(decode=False))


@contextmanager
def _plain_errors(source: str, split: str):
    try:
        yield
    except DatasetNotFoundError as error:
        raise CorpusError(
            f"{source!r} is neither a folder here nor a dataset that can be read on the Hub ({_line(error)}); "
            "check the name, and for a private or gated one run `hf auth login`"
        ) from error
    except ConnectionError as error:
        raise CorpusError(f"{source}: the Hub cannot be reached ({_line(error)})") from error
    except (ValueError, FileNotFoundError) as error:
        raise CorpusError(f"{source}, split '{split}': {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
