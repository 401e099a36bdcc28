"""The field's four benchmarks as one table: which annotation files each reads, and where everything comes from.

The splits and captions are those that published numbers use (CLIP4Clip, arXiv:2104.08860, section 4): MSR-VTT 1k-A
with 9,000 training videos, MSVD with every caption of a video relevant, DiDeMo and ActivityNet as paragraph to video.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .folder import VIDEO_SUFFIXES, without_missing
from .plain_pickle import read_plain_pickle
from .samples import CorpusError, VideoSample, caption_tuple, merge_rows, warn_uncaptioned

DIDEMO_SECONDS = 30.0  # longer videos were cut to this for annotation (LocalizingMoments, README)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    files: the annotation files that each split needs.
    read: gives the samples of a split from the folder of annotation files; their `video` is a name without folder.
    annotations_from, videos_from: where a user gets them.
    hub_id, hub_revision, hub_split: the evaluation split on the Hub.
    hub_note: how it differs from the split that published numbers are on.
    """

    title: str
    files: dict[str, tuple[str, ...]]
    read: Callable[[Path, str], Iterator[VideoSample]]
    annotations_from: str
    videos_from: str
    hub_id: str
    hub_revision: str
    hub_note: str
    hub_split: str = "test"


def load_benchmark(
    benchmark: Benchmark, split: str, annotations: Path, videos: Path, missing: str = "error"
) -> list[VideoSample]:
    """One split of a benchmark from its official annotation files beside a folder (of folders) of videos."""
    for name in benchmark.files[split]:
        if not (annotations / name).is_file():
            raise CorpusError(
                f"{benchmark.title}, split '{split}': {name} is not in {annotations}; get it from "
                f"{benchmark.annotations_from}"
            )
    if not videos.is_dir() and missing != "keep":
        raise CorpusError(f"{benchmark.title}: no folder {videos}; get the videos from {benchmark.videos_from}")
    try:
        samples = list(benchmark.read(annotations, split))
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, csv.Error) as error:
        files = ", ".join(benchmark.files[split])
        raise CorpusError(
            f"{benchmark.title}: {files} in {annotations} is not in the published form ({type(error).__name__}: "
            f"{error}); get it from {benchmark.annotations_from}"
        ) from error
    where = f"{benchmark.title}, split '{split}'"
    return without_missing(_located(_captioned(merge_rows(samples), where), videos), where, videos, missing)


def _captioned(samples: Sequence[VideoSample], where: str) -> list[VideoSample]:
    """Without empty captions, and without the videos that then have none."""
    samples = [replace(sample, captions=caption_tuple(sample.captions, where)) for sample in samples]
    silent = [sample.video_id for sample in samples if not sample.captions]
    warn_uncaptioned(where, silent)
    return [sample for sample in samples if sample.captions]


def _located(samples: Sequence[VideoSample], videos: Path) -> list[VideoSample]:
    """Names become paths. The suffix of a name does not count: downloads of one corpus come as avi, mov, mp4, …"""
    by_stem: dict[str, str] = {}
    for folder, _, names in sorted(os.walk(videos)):
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in VIDEO_SUFFIXES:
                by_stem.setdefault(path.stem, str(path))

    def path_of(name: str) -> str:
        stem = _stem(name)
        return by_stem.get(stem) or by_stem.get(stem.removeprefix("v_")) or str(videos / name)

    return [replace(sample, video=path_of(sample.video)) for sample in samples]


def _stem(name: str) -> str:
    """The name without a video's suffix; other dots belong to the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


def _msrvtt(folder: Path, split: str) -> Iterator[VideoSample]:
    if split == "test":  # one sentence a video: columns key, vid_key, video_id, sentence
        for row in _csv_rows(folder / "MSRVTT_JSFUSION_test.csv"):
            yield VideoSample(row["video_id"], row["video_id"], (row["sentence"],))
        return
    wanted = {row["video_id"] for row in _csv_rows(folder / "MSRVTT_train.9k.csv")}
    for sentence in _json(folder / "MSRVTT_data.json")["sentences"]:
        if sentence["video_id"] in wanted:
            yield VideoSample(sentence["video_id"], sentence["video_id"], (sentence["caption"],))


def _msvd(folder: Path, split: str) -> Iterator[VideoSample]:
    captions = read_plain_pickle(folder / "raw-captions.pkl")  # {video: [[word, …], …]}
    for name in (folder / f"{split}_list.txt").read_text(encoding="utf-8").split():
        yield VideoSample(name, name, tuple(" ".join(words) for words in captions[name]))


def _didemo(folder: Path, split: str) -> Iterator[VideoSample]:
    """Each sentence has several annotators' (first, last) five-second chunks: sentences are joined in the order of
    their mean start, then mean end."""
    sentences: dict[str, list] = {}
    for row in _json(folder / f"{split}_data.json"):
        starts, ends = zip(*row["times"])
        when = (sum(starts) / len(starts), sum(ends) / len(ends))
        sentences.setdefault(row["video"], []).append((when, row["description"]))
    for name, timed in sentences.items():
        yield VideoSample(name, name, (_paragraph(timed),), end=DIDEMO_SECONDS)


def _activitynet(folder: Path, split: str) -> Iterator[VideoSample]:
    name = "train.json" if split == "train" else "val_1.json"
    for video, row in _json(
        folder / name
    ).items():  # "v_…": {"duration", "timestamps": [[start, end], …], "sentences"}
        timed = zip(map(tuple, row["timestamps"]), row["sentences"], strict=True)
        yield VideoSample(video, video, (_paragraph(timed),))


def _paragraph(timed) -> str:
    return " ".join(text.strip() for _, text in sorted(timed, key=lambda item: item[0]))


def _csv_rows(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


BENCHMARKS = {
    "msrvtt": Benchmark(
        title="MSR-VTT 1k-A",
        files={
            "train": ("MSRVTT_data.json", "MSRVTT_train.9k.csv"),
            "test": ("MSRVTT_JSFUSION_test.csv",),
        },
        read=_msrvtt,
        annotations_from="https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msrvtt_data.zip",
        videos_from="https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",
        hub_id="mteb/MSR-VTT",
        hub_revision="4661603cee25c1fd370e5478a2953203cf37155b",
        hub_note="the 879 of the 1,000 test videos that have sound",
    ),
    "msvd": Benchmark(
        title="MSVD",
        files={split: ("raw-captions.pkl", f"{split}_list.txt") for split in ("train", "val", "test")},
        read=_msvd,
        annotations_from="https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msvd_data.zip",
        videos_from="https://www.cs.utexas.edu/users/ml/clamp/videoDescription/YouTubeClips.tar",
        hub_id="mteb/MSVD",
        hub_revision="177cefe5957363d1617f0427fcfa00ff0b0d7da8",
        hub_note="one caption a video instead of about forty",
    ),
    "didemo": Benchmark(
        title="DiDeMo",
        files={split: (f"{split}_data.json",) for split in ("train", "val", "test")},
        read=_didemo,
        annotations_from="https://github.com/LisaAnne/LocalizingMoments/tree/master/data",
        videos_from="https://github.com/LisaAnne/LocalizingMoments",
        hub_id="mteb/DiDeMo",
        hub_revision="746689f644b66022540a9a39136e842bee164e6b",
        hub_note="the test videos that have sound",
    ),
    "activitynet": Benchmark(
        title="ActivityNet Captions",
        files={"train": ("train.json",), "val": ("val_1.json",), "test": ("val_1.json",)},
        read=_activitynet,
        annotations_from="https://cs.stanford.edu/people/ranjaykrishna/densevid/captions.zip",
        videos_from="http://activity-net.org/download.html",
        hub_id="mteb/ActivityNet_Captions_val2",
        hub_revision="e87473c4832ea982bbeca1dde94bbebfa6ea6ada",
        hub_note="val2, while published numbers are on val1",
    ),
}
