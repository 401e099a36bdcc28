"""Text-video corpora: one call that reads a folder, a Hub dataset or one of the field's four benchmarks."""

import logging
import re
from pathlib import Path
from typing import Any

from .benchmarks import BENCHMARKS, SENTENCE_ORDERS, load_benchmark
from .folder import has_table, load_folder
from .hub import load_hub
from .samples import CorpusError, VideoSample
from .video_places import LocalVideos, VideoPlace, video_place

REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

logger = logging.getLogger(__name__)


def load_samples(
    source: str,
    split: str,
    *,
    videos: str | None = None,
    annotations: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    missing: str = "error",
    sentence_order: str = "file",
    streaming: bool = False,
    process_index: int = 0,
    num_processes: int = 1,
) -> Any:
    """The videos of one split with their captions; one sample per video, however many captions it has: a list, or
    with `streaming` an iterable.

    Args:
        source (`str`): "msrvtt", "msvd", "didemo" or "activitynet"; or a folder with `captions.jsonl`,
            `metadata.csv` or `metadata.jsonl` (datasets' videofolder convention); or a dataset of the Hub, or a
            folder of parquet files, with columns `video` and `caption`.
        split (`str`): "train", "val" or "test".
        videos (`str`, *optional*): the folder of the videos, where they do not lie beside their table, or its URL
            (`s3://…`, `gs://…`, `hf://…`, `https://…`): they are read there, in ranges.
        annotations (`str`, *optional*): the folder of a benchmark's official annotation files, by default `videos`.
            With neither, a benchmark's evaluation split is read from the Hub.
        name, revision (`str`, *optional*): configuration and revision of a Hub dataset.
        missing (`str`, *optional*, defaults to `"error"`): what to do with captions whose video file is not there:
            `"error"` refuses the corpus, `"skip"` leaves them out with a warning, `"keep"` keeps them, where captions
            alone are of use.
        sentence_order (`str`, *optional*, defaults to `"file"`): how a video's sentences make DiDeMo's and
            ActivityNet's paragraphs: in the order of the file, as published numbers have them, or of their `"time"`.
        streaming (`bool`, *optional*, defaults to `False`): read a Hub dataset while it downloads. The result is
            then this process's share, an iterable that can be passed over again and, for the Hub, shuffled.
        process_index, num_processes (`int`, *optional*): which share of a stream is this process's.

    Raises:
        CorpusError: (a `ValueError`) for a missing file or column, captions without a video, a duplicated id or an
            empty corpus: one line with what is wrong, where, and what to do or where to get it.
    """
    _check_choices(missing, sentence_order)
    share = {"streaming": streaming, "process_index": process_index, "num_processes": num_processes}
    place = video_place(videos) if videos else None
    folder = Path(source).expanduser()
    if source in BENCHMARKS and (videos or annotations):
        samples = _benchmark(source, split, annotations, place, missing, sentence_order)
    elif source in BENCHMARKS:
        samples = _benchmark_from_hub(source, split, share)
    elif folder.is_dir() and (has_table(folder, split) or not any(folder.rglob("*.parquet"))):
        samples = load_folder(folder, split, videos=place, missing=missing)
    else:
        name_or_folder = str(folder) if folder.is_dir() else _repository(source)
        samples = load_hub(name_or_folder, split, name=name, revision=revision, videos=place, **share)
    if not isinstance(samples, list):
        return samples
    if not samples:
        raise CorpusError(f"{source}, split '{split}', is empty: not one video with a caption")
    return _share(samples, process_index, num_processes) if streaming else samples


def _check_choices(missing: str, sentence_order: str) -> None:
    if missing not in ("error", "skip", "keep"):
        raise CorpusError(f'missing must be "error", "skip" or "keep", not {missing!r}')
    if sentence_order not in SENTENCE_ORDERS:
        raise CorpusError(f'sentence_order must be "file" or "time", not {sentence_order!r}')


def _benchmark(source: str, split: str, annotations: str | None, videos: VideoPlace | None, missing: str, order: str):
    benchmark = BENCHMARKS[source]
    if split not in benchmark.files:
        raise CorpusError(f"{benchmark.title} has no split '{split}': there is {', '.join(benchmark.files)}")
    if videos is None:
        raise CorpusError(
            f"{benchmark.title}: give the folder of its videos too; get them from {benchmark.videos_from}"
        )
    if annotations is None and not isinstance(videos, LocalVideos):
        raise CorpusError(
            f"{benchmark.title}: its annotation files are read from this machine: give their folder too (annotations=)"
        )
    return load_benchmark(benchmark, split, Path(annotations or str(videos)).expanduser(), videos, missing, order)


def _benchmark_from_hub(source: str, split: str, share: dict):
    benchmark = BENCHMARKS[source]
    if split == "train" or split not in benchmark.files:
        raise CorpusError(
            f"{benchmark.title}: only its evaluation split is read from the Hub ({benchmark.hub_id}). For '{split}' "
            f"get the annotations from {benchmark.annotations_from} and the videos from {benchmark.videos_from}, and "
            "give both folders (annotations=, videos=)"
        )
    logger.warning("%s holds %s: do not compare with published numbers", benchmark.hub_id, benchmark.hub_note)
    return load_hub(benchmark.hub_id, benchmark.hub_split, revision=benchmark.hub_revision, **share)


def _repository(source: str) -> str:
    if not REPO_ID.fullmatch(source):
        raise CorpusError(
            f"{source!r} is no folder here, no dataset of the Hub (owner/name) and none of {', '.join(BENCHMARKS)}"
        )
    return source


def _share(samples: list[VideoSample], process_index: int, num_processes: int) -> list[VideoSample]:
    if num_processes > len(samples):
        raise CorpusError(f"{len(samples)} videos cannot be shared among {num_processes} processes: use fewer")
    return samples[process_index::num_processes]
