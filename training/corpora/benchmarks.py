"""The field's four benchmarks as one table: which annotation files each reads, and where everything comes from.

The splits and captions are those that published numbers use (CLIP4Clip, arXiv:2104.08860, section 4, and its code):
MSR-VTT 1k-A with 9,000 training videos, MSVD with every caption of a video relevant, DiDeMo and ActivityNet as
paragraph to video. docs/fidelity.md tells where its code and ours differ.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dmae.modeling.media_files import VIDEO_SUFFIXES, normal

from .folder import csv_rows, without_missing
from .plain_pickle import read_plain_pickle
from .samples import CorpusError, VideoSample, caption_tuple, merge_rows, warn_uncaptioned
from .video_places import LocalVideos, VideoPlace

SENTENCE_ORDERS = ("file", "time")
# CLIP4Clip reads the whole seconds 0 to 31. What was annotated are the first 30 s (LocalizingMoments, README).
DIDEMO_SECONDS = 32.0
CLIP4CLIP_FILES = "https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protocol:
    """What published numbers show a model of each pair: the settings of CLIP4Clip, which TS2-Net and others keep.

    num_frames, sampling: as `read_frames` has them. max_words: tokens of a text, start and end included.
    """

    num_frames: int
    max_words: int
    sampling: str = "per_second"


SHORT, PARAGRAPHS = Protocol(num_frames=12, max_words=32), Protocol(num_frames=64, max_words=64)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    files: the annotation files that each split needs; the first names its videos.
    num_videos: how many videos published numbers of each split are on.
    read: gives the samples of a split from the folder of annotation files and the order of sentences; their `video`
        is a name without folder.
    protocol: what published numbers show a model.
    annotations_from, videos_from: where a user gets them. other_sources: of single files that come from elsewhere.
    hub_id, hub_revision, hub_split: the evaluation split on the Hub.
    hub_note: how it differs from the split that published numbers are on.
    """

    title: str
    files: dict[str, tuple[str, ...]]
    num_videos: dict[str, int]
    read: Callable[[Path, str, str], Iterator[VideoSample]]
    protocol: Protocol
    annotations_from: str
    videos_from: str
    hub_id: str
    hub_revision: str
    hub_note: str
    hub_split: str = "test"
    other_sources: dict[str, str] = field(default_factory=dict)

    def source_of(self, file: str) -> str:
        """Where to get one annotation file."""
        return self.other_sources.get(file, self.annotations_from)


class AnnotationError(ValueError):
    """What is wrong with one annotation file."""

    def __init__(self, file: str, what: str):
        super().__init__(what)
        self.file = file


def load_benchmark(
    benchmark: Benchmark,
    split: str,
    annotations: Path,
    videos: VideoPlace,
    missing: str = "error",
    sentence_order: str = "file",
) -> list[VideoSample]:
    """One split of a benchmark from its official annotation files beside the place of its videos."""
    for name in benchmark.files[split]:
        if not (annotations / name).is_file():
            raise CorpusError(
                f"{benchmark.title}, split '{split}': {name} is not in {annotations}; get it from "
                f"{benchmark.source_of(name)}"
            )
    if not videos.is_there and missing != "keep":
        absent = f"no folder {videos}" if isinstance(videos, LocalVideos) else f"{videos} does not list its files"
        raise CorpusError(f"{benchmark.title}: {absent}; get the videos from {benchmark.videos_from}")
    try:
        samples = list(benchmark.read(annotations, split, sentence_order))
    except AnnotationError as error:
        source = benchmark.source_of(error.file)
        raise CorpusError(f"{benchmark.title}: {annotations / error.file} {error}; get it from {source}") from None
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        files = ", ".join(benchmark.files[split])
        sources = " and ".join(dict.fromkeys(map(benchmark.source_of, benchmark.files[split])))
        raise CorpusError(
            f"{benchmark.title}: {files} in {annotations} is not in the published form ({type(error).__name__}: "
            f"{error}); get it from {sources}"
        ) from error
    where = f"{benchmark.title}, split '{split}'"
    samples = _captioned(merge_rows(samples), where)
    if len(samples) != benchmark.num_videos[split]:
        logger.warning(
            "%s: %d videos with a caption in %s; published numbers are on %d",
            *(where, len(samples), annotations / benchmark.files[split][0], benchmark.num_videos[split]),
        )
    return without_missing(_located(samples, videos), where, videos, missing)


def _captioned(samples: Sequence[VideoSample], where: str) -> list[VideoSample]:
    """Without empty captions, and without the videos that then have none."""
    samples = [replace(sample, captions=caption_tuple(sample.captions, where)) for sample in samples]
    silent = [sample.video_id for sample in samples if not sample.captions]
    warn_uncaptioned(where, silent)
    return [sample for sample in samples if sample.captions]


def _located(samples: Sequence[VideoSample], videos: VideoPlace) -> list[VideoSample]:
    """Names become paths. Downloads and conversions rename: a file is looked for by the whole name, the name plus a
    suffix (DiDeMo's own script writes `NAME.avi.mp4`), and the name without what follows its last dot, in this
    order; ActivityNet's also without their "v_"."""
    by_name: dict[str, Any] = {}
    by_stem: dict[str, Any] = {}
    for name, video in videos.files():
        by_name.setdefault(normal(name), video)
        stem, suffix = os.path.splitext(normal(name))
        if suffix.lower() in VIDEO_SUFFIXES:
            by_stem.setdefault(stem, video)

    def video_of(name: str) -> Any:
        for known in (normal(name), normal(name).removeprefix("v_")):
            found = by_name.get(known) or by_stem.get(known) or by_stem.get(os.path.splitext(known)[0])
            if found:
                return found
        return videos.at(name)

    return [replace(sample, video=video_of(sample.video)) for sample in samples]


def _msrvtt(folder: Path, split: str, order: str) -> Iterator[VideoSample]:
    if split == "test":  # one sentence per video: columns key, vid_key, video_id, sentence
        name = "MSRVTT_JSFUSION_test.csv"
        rows = list(_csv_rows(folder / name))
        _once((row["video_id"] for row in rows), name)
        for row in rows:
            yield VideoSample(row["video_id"], row["video_id"], (row["sentence"],))
        return
    wanted = _once((row["video_id"] for row in _csv_rows(folder / "MSRVTT_train.9k.csv")), "MSRVTT_train.9k.csv")
    captions: dict[str, list[str]] = {}
    for sentence in _json(folder / "MSRVTT_data.json")["sentences"]:
        captions.setdefault(sentence["video_id"], []).append(sentence["caption"])
    for video in _described(wanted, captions, "MSRVTT_data.json", "MSRVTT_train.9k.csv"):
        yield VideoSample(video, video, tuple(captions[video]))


def _msvd(folder: Path, split: str, order: str) -> Iterator[VideoSample]:
    captions = read_plain_pickle(folder / "raw-captions.pkl")  # {video: [[word, …], …]}
    names = _listed(folder, f"{split}_list.txt")
    for name in _described(names, captions, "raw-captions.pkl", f"{split}_list.txt"):
        yield VideoSample(name, name, tuple(" ".join(words) for words in captions[name]))


def _didemo(folder: Path, split: str, order: str) -> Iterator[VideoSample]:
    """The json knows some videos under two names; the list tells which ones count. Each sentence has several
    annotators' (first, last) five-second chunks: its time is their mean start, then mean end."""
    names = _listed(folder, f"{split}_list.txt")
    sentences: dict[str, list] = {}
    for row in _json(folder / f"{split}_data.json"):
        starts, ends = zip(*row["times"])
        when = (sum(starts) / len(starts), sum(ends) / len(ends))
        sentences.setdefault(row["video"], []).append((when, row["description"]))
    for name in _described(names, sentences, f"{split}_data.json", f"{split}_list.txt"):
        yield VideoSample(name, name, (_paragraph(sentences[name], order),), end=DIDEMO_SECONDS)


def _activitynet(folder: Path, split: str, order: str) -> Iterator[VideoSample]:
    name = "train.json" if split == "train" else "val_1.json"
    for video, row in _json(
        folder / name
    ).items():  # "v_…": {"duration", "timestamps": [[start, end], …], "sentences"}
        timed = list(zip(map(tuple, row["timestamps"]), row["sentences"], strict=True))
        yield VideoSample(video, video, (_paragraph(timed, order),))


def _paragraph(timed: list[tuple[tuple, str]], order: str) -> str:
    """The sentences as one text, in the order of the file, as the codes of the field have them, or of their times."""
    ordered = sorted(timed, key=lambda item: item[0]) if order == "time" else timed
    return " ".join(text.strip() for _, text in ordered if text.strip())


def _listed(folder: Path, name: str) -> list[str]:
    """The videos of a list of one name per line."""
    return _once((folder / name).read_text(encoding="utf-8-sig").splitlines(), name)


def _once(names: Iterable[str], file: str) -> list[str]:
    """The names, each of which must be there once."""
    names = [name.strip() for name in names if name.strip()]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        others = f", and {len(twice) - 1} others" if len(twice) > 1 else ""
        raise AnnotationError(file, f"names a video twice ({twice[0]}{others})")
    return names


def _described(names: list[str], captions: Container[str], file: str, listed_in: str) -> list[str]:
    """The names, each of which must have captions."""
    silent = [name for name in names if name not in captions]
    if silent:
        raise AnnotationError(
            file,
            f"has no caption for {len(silent)} of the {len(names)} videos that {listed_in} names ({silent[0]}): it is "
            "of another version",
        )
    return names


def _csv_rows(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from csv_rows(file, path)


def _json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


BENCHMARKS = {
    "msrvtt": Benchmark(
        title="MSR-VTT 1k-A",
        files={
            "train": ("MSRVTT_train.9k.csv", "MSRVTT_data.json"),
            "test": ("MSRVTT_JSFUSION_test.csv",),
        },
        num_videos={"train": 9000, "test": 1000},
        read=_msrvtt,
        protocol=SHORT,
        annotations_from=f"{CLIP4CLIP_FILES}/msrvtt_data.zip",
        videos_from="https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",
        hub_id="mteb/MSR-VTT",
        hub_revision="4661603cee25c1fd370e5478a2953203cf37155b",
        hub_note="the 879 of the 1,000 test videos that have sound",
    ),
    "msvd": Benchmark(
        title="MSVD",
        files={split: (f"{split}_list.txt", "raw-captions.pkl") for split in ("train", "val", "test")},
        num_videos={"train": 1200, "val": 100, "test": 670},
        read=_msvd,
        protocol=SHORT,
        annotations_from=f"{CLIP4CLIP_FILES}/msvd_data.zip",
        videos_from="https://www.cs.utexas.edu/users/ml/clamp/videoDescription/YouTubeClips.tar",
        hub_id="mteb/MSVD",
        hub_revision="177cefe5957363d1617f0427fcfa00ff0b0d7da8",
        hub_note="one caption per video instead of about forty",
    ),
    "didemo": Benchmark(
        title="DiDeMo",
        files={split: (f"{split}_list.txt", f"{split}_data.json") for split in ("train", "val", "test")},
        num_videos={"train": 8392, "val": 1065, "test": 1004},
        read=_didemo,
        protocol=PARAGRAPHS,
        annotations_from="https://github.com/LisaAnne/LocalizingMoments/tree/master/data",
        other_sources=dict.fromkeys(
            (f"{split}_list.txt" for split in ("train", "val", "test")),
            "https://github.com/albanie/collaborative-experts/tree/master/misc/datasets/didemo",
        ),
        videos_from="https://github.com/LisaAnne/LocalizingMoments",
        hub_id="mteb/DiDeMo",
        hub_revision="746689f644b66022540a9a39136e842bee164e6b",
        hub_note="the test videos that have sound",
    ),
    "activitynet": Benchmark(
        title="ActivityNet Captions",
        files={"train": ("train.json",), "val": ("val_1.json",), "test": ("val_1.json",)},
        num_videos={"train": 10009, "val": 4917, "test": 4917},
        read=_activitynet,
        protocol=PARAGRAPHS,
        annotations_from="https://cs.stanford.edu/people/ranjaykrishna/densevid/captions.zip",
        videos_from="http://activity-net.org/download.html",
        hub_id="mteb/ActivityNet_Captions_val2",
        hub_revision="e87473c4832ea982bbeca1dde94bbebfa6ea6ada",
        hub_note="val2, while published numbers are on val1",
    ),
}
