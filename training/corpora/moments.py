"""Queries about moments of videos, from the published files of the field's benchmarks and from films of our own."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .samples import CorpusError

DIDEMO_PIECE = 5.0  # seconds
HIGHLIGHT_CLIP = 2.0  # seconds
ANNOTATORS = 3  # of each clip of QVHighlights
CHARADES_LINE = re.compile(r"(\S+) ([\d.]+) ([\d.]+)##(.+)")


@dataclass(frozen=True)
class MomentQuery:
    """A text and the spans of a video that it describes.

    Attributes:
        text: the query. video: the name of the video in its benchmark, with or without a suffix.
        spans: start and end in seconds; any of them is right.
        saliency: how well each of several people thought that each clip of `HIGHLIGHT_CLIP` seconds of the video shows
            the text, from 0 to 4 ("very good"): a row per clip, in the order of time. Empty where nobody was asked.
    """

    text: str
    video: str
    spans: tuple[tuple[float, float], ...]
    saliency: tuple[tuple[int, ...], ...] = ()


def load_moments(name: str, annotations: str | Path) -> list[MomentQuery]:
    """The test queries of a benchmark.

    Args:
        name: didemo, activitynet, charades-sta, qvhighlights or films.
        annotations: the published file, or the folder that holds it under its published name.

    Raises:
        CorpusError: another name, a file that is not there, or one of another form.
    """
    if name not in READERS:
        raise CorpusError(f"no benchmark of moments is called {name!r}: use one of {', '.join(READERS)}")
    file_name, read = READERS[name]
    path = Path(annotations).expanduser()
    path = path / file_name if path.is_dir() else path
    try:
        queries = list(read(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorpusError(f"{path} is not a file of {name} ({type(error).__name__}: {error})") from None
    if not queries:
        raise CorpusError(f"{path} holds no query")
    return queries


def _didemo(text: str) -> Iterator[MomentQuery]:
    """`test_data.json` (Hendricks and others, 2017): pieces of 5 s from several annotators; the span is what most of
    them marked, and the earliest of equals.
    """
    for row in json.loads(text):
        counts = Counter(tuple(times) for times in row["times"])
        first, last = min(counts, key=lambda times: (-counts[times], times))
        span = DIDEMO_PIECE * first, DIDEMO_PIECE * (last + 1)
        yield MomentQuery(row["description"], row["video"], (span,))


def _activitynet(text: str) -> Iterator[MomentQuery]:
    """`val_1.json` of ActivityNet Captions (Krishna and others, 2017)."""
    for video, row in json.loads(text).items():
        for (start, end), sentence in zip(row["timestamps"], row["sentences"], strict=True):
            yield MomentQuery(sentence.strip(), video, ((float(start), float(end)),))


def _charades(text: str) -> Iterator[MomentQuery]:
    """`charades_sta_test.txt` (Gao and others, 2017): `VIDEO START END##SENTENCE` a line."""
    for line in filter(None, map(str.strip, text.splitlines())):
        found = CHARADES_LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"no line of VIDEO START END##SENTENCE: {line[:60]!r}")
        video, start, end, sentence = found.groups()
        yield MomentQuery(sentence, video, ((float(start), float(end)),))


def _qvhighlights(text: str) -> Iterator[MomentQuery]:
    """`highlight_val_release.jsonl` (Lei and others, 2021); its test set has no public spans."""
    for row in map(json.loads, filter(str.strip, text.splitlines())):
        spans = tuple((float(start), float(end)) for start, end in row["relevant_windows"])
        yield MomentQuery(row["query"], row["vid"], spans, _saliency(row))


def _saliency(row: dict) -> tuple[tuple[int, ...], ...]:
    """Every clip's saliency: of those outside of all spans, which nobody was shown, it is 0."""
    if "saliency_scores" not in row:
        return ()
    given = dict(zip(row["relevant_clip_ids"], map(tuple, row["saliency_scores"]), strict=True))
    clips = range(int(row["duration"] / HIGHLIGHT_CLIP))
    return tuple(given.get(clip, (0,) * ANNOTATORS) for clip in clips)


def _films(text: str) -> Iterator[MomentQuery]:
    """`moments.jsonl` of `dmae synthetic --films`."""
    for row in map(json.loads, filter(str.strip, text.splitlines())):
        for moment in row["moments"]:
            yield MomentQuery(moment["caption"], row["video"], ((moment["start"], moment["end"]),))


READERS: dict[str, tuple[str, Callable[[str], Iterator[MomentQuery]]]] = {
    "didemo": ("test_data.json", _didemo),
    "activitynet": ("val_1.json", _activitynet),
    "charades-sta": ("charades_sta_test.txt", _charades),
    "qvhighlights": ("highlight_val_release.jsonl", _qvhighlights),
    "films": ("moments.jsonl", _films),
}
