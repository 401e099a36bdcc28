"""A corpus in a dataset of the Hub (or a local folder of parquet files): mapped into a list, or streamed.

Videos stay encoded (`datasets.Video(decode=False)`): frames are read later, by the same code as everywhere else.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

from datasets import Dataset, IterableDataset, Value, Video, load_dataset
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetNotFoundError, DatasetsError

# Of whichever HTTP library the client is built on.
from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

from dmae.modeling.dataset_rows import RowVideo, names_and_sizes
from dmae.modeling.remote_videos import RemoteVideo, is_url, short_digest

from .folder import inside
from .samples import (
    CAPTION_COLUMNS,
    VIDEO_COLUMNS,
    CorpusError,
    VideoSample,
    merge_rows,
    sample_from_row,
    warn_uncaptioned,
)
from .video_places import VideoPlace

OTHER_COLUMNS = ("video_id", "start", "end", "hard_negatives")

logger = logging.getLogger(__name__)


class SampleStream:
    """Samples read while they are downloaded; each pass reads anew. Rows of one video that follow each other become
    one sample. `dataset` is the `datasets.IterableDataset` behind it."""

    def __init__(self, dataset: IterableDataset, column: str, where: str, videos: VideoPlace | None):
        self.dataset, self.column, self.where, self.videos = dataset, column, where, videos
        self._told = False

    def shuffle(self, seed: int, buffer_size: int = 100) -> "SampleStream":
        """Another order for each `set_epoch`: shards are shuffled, and rows within a buffer of encoded videos."""
        # One shard at a time: every open one holds a row group of encoded videos.
        shuffled = self.dataset.shuffle(seed=seed, buffer_size=buffer_size, max_buffer_input_shards=1)
        return SampleStream(shuffled, self.column, self.where, self.videos)

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
        rows = enumerate(self.dataset)
        while True:
            with _plain_errors(self.where):
                number, row = next(rows, (None, None))
            if row is None:
                return
            if isinstance(row[self.column], dict) and not row[self.column]["path"]:
                row["video_id"] = _video_id(row, self.column)
            sample = _sample(row, f"{self.where}, row {number}", self.videos)
            if sample is not None:
                yield sample
            elif not self._told:  # once: a stream is read again and again
                self._told = True
                logger.warning(
                    "%s, row %d: a video without a caption is left out, as others will be", self.where, number
                )


def load_hub(
    source: str,
    split: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    videos: VideoPlace | None = None,
    streaming: bool = False,
    process_index: int = 0,
    num_processes: int = 1,
) -> list[VideoSample] | SampleStream:
    """One split of a dataset with a video and a caption column; see `corpora.load_samples`."""
    where = f"{source}, split '{split}'"
    with _plain_errors(where):
        dataset = load_dataset(source, name=name, split=split, revision=revision, streaming=streaming)
        dataset, column = _encoded_columns(dataset, where, videos)
    if isinstance(dataset, IterableDataset):
        return SampleStream(_share(dataset, column, process_index, num_processes), column, where, videos)
    return _mapped_samples(dataset, column, where, videos)


def _share(dataset: IterableDataset, column: str, process_index: int, num_processes: int) -> IterableDataset:
    """This process's part of a stream: whole files where they can be dealt out evenly, otherwise whole videos. (The
    library would deal out rows: captions of one video would meet in a batch as wrong for each other.)"""
    if dataset.num_shards % num_processes == 0:
        return split_dataset_by_node(dataset, process_index, num_processes)
    return dataset.filter(lambda row: short_digest(str(_video_id(row, column))) % num_processes == process_index)


def _video_id(row: dict, column: str) -> str | None:
    """The id that the row gives, or its video's name, or what a video without a name is known by."""
    video = row[column]
    if not isinstance(video, dict):
        return row.get("video_id") or video
    known = row.get("video_id") or video["path"]
    if not known and video["bytes"] is None:
        raise CorpusError(f"a row has a video with neither a path nor bytes: {row}")
    return known or _digest(video["bytes"])


def _mapped_samples(dataset: Dataset, column: str, where: str, videos: VideoPlace | None) -> list[VideoSample]:
    paths, sizes = names_and_sizes(dataset, column)
    samples, silent, size_of = [], [], {}
    rows: Any = dataset.remove_columns(column)  # of dictionaries
    for number, row in enumerate(rows):
        path = paths[number]
        if sizes[number] is not None:
            row[column] = RowVideo(dataset, column, number, path)
            if path is None and row.get("video_id") is None:
                row["video_id"] = _digest(row[column]["bytes"])
            if path is not None and size_of.setdefault(path, sizes[number]) != sizes[number]:
                raise CorpusError(f"{where}: two different videos are both called {path!r}; add a column 'video_id'")
        else:
            row[column] = path
        sample = _sample(row, f"{where}, row {number}", videos)
        if sample is not None:
            samples.append(sample)
        else:
            silent.append(f"row {number}")
    warn_uncaptioned(where, silent)
    return merge_rows(samples)


def _sample(row: dict, where: str, videos: VideoPlace | None) -> VideoSample | None:
    sample = sample_from_row(row, where)
    if sample is None or not isinstance(sample.video, str):
        return sample
    if is_url(sample.video):
        return replace(sample, video=RemoteVideo(sample.video))
    return sample if videos is None else replace(sample, video=videos.at(inside(sample.video, where)))


def _encoded_columns(
    dataset: Dataset | IterableDataset, where: str, videos: VideoPlace | None
) -> tuple[Dataset | IterableDataset, str]:
    """The dataset with the columns that we read, videos still encoded, and the name of the video column."""
    columns = dataset.column_names or list(next(iter(dataset), {}))
    if not columns:
        raise CorpusError(f"{where} is empty")
    found = []
    for names in (VIDEO_COLUMNS, CAPTION_COLUMNS):
        known = [name for name in names if name in columns]
        if not known:
            raise CorpusError(f"{where}: no column {' or '.join(map(repr, names))}; it has {', '.join(columns)}")
        found.append(known[0])
    video = found[0]
    feature = (dataset.features or {}).get(video)
    if isinstance(feature, Value) and "string" in feature.dtype:
        if videos is None and not is_url(next(iter(dataset.select_columns([video])), {}).get(video)):
            raise CorpusError(f"{where}: the column '{video}' holds file names; give the folder of the videos")
    else:  # before anything else touches the rows: whatever comes first would decode them
        dataset = dataset.cast_column(video, Video(decode=False))
    return dataset.select_columns([*found, *(name for name in OTHER_COLUMNS if name in columns)]), video


@contextmanager
def _plain_errors(where: str):
    """The libraries' errors as one line each."""
    try:
        yield
    except CorpusError:
        raise
    except DatasetNotFoundError as error:
        raise CorpusError(
            f"{where}: neither a folder here nor a dataset that can be read on the Hub ({_line(error)}); check the "
            "name, and for a private or gated one run `hf auth login`"
        ) from error
    except (ConnectionError, HTTPError) as error:
        raise CorpusError(
            f"{where}: the Hub cannot be reached, or the download was interrupted ({_line(error)}): run it again, "
            "what has arrived is kept"
        ) from error
    except (ValueError, OSError, DatasetsError) as error:
        raise CorpusError(f"{where}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
