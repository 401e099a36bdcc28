"""What a text-video corpus is made of: videos with their captions, and how a row of any source becomes one."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from dmae.modeling.errors import DmaeError
from dmae.modeling.video_source import source_name

logger = logging.getLogger(__name__)
VIDEO_COLUMNS = ("video", "file_name")
CAPTION_COLUMNS = ("captions", "caption", "text", "sentence")


class CorpusError(DmaeError, ValueError):
    """A corpus that cannot be used as it is: one line that says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class HardNegative:
    """A caption that is wrong for the video in exactly one respect.

    kind: what differs, for example "colour" or "order".
    positive: the right caption that it was made from.
    caption: the wrong one.
    """

    kind: str
    positive: str
    caption: str


@dataclass(frozen=True)
class VideoSample:
    """One video and everything that is said about it.

    video_id: unique within its corpus.
    video: a path, what is at a URL, or a mapping with "path" and "bytes" as `datasets.Video(decode=False)` gives it.
    captions: at least one; all of them are right for the video.
    start, end: the part of the file that the captions speak of, in seconds; None for all of it.
    hard_negatives: wrong captions to measure fine-grained semantics with; often none.
    """

    video_id: str
    video: Any
    captions: tuple[str, ...]
    start: float | None = None
    end: float | None = None
    hard_negatives: tuple[HardNegative, ...] = ()


def sample_from_row(row: Mapping, where: str) -> VideoSample | None:
    """The sample in one row of a table: a video column, a caption column, and `video_id`, `start`, `end`,
    `hard_negatives` where there are any. None for a row without captions. `where` names the row in errors."""
    video = _first(row, VIDEO_COLUMNS, where, "a video")
    captions = caption_tuple(_first(row, CAPTION_COLUMNS, where, "a caption") or (), where)
    if not captions:
        return None
    if not video:
        raise CorpusError(f"{where}: a caption without a video")
    path = video.get("path") if isinstance(video, Mapping) else video
    start, end = _seconds(row, "start", where), _seconds(row, "end", where)
    video_id = row.get("video_id") or path
    if not video_id:
        raise CorpusError(f"{where}: the video has neither a path nor a video_id to be known by")
    if row.get("video_id") is None and (start is not None or end is not None):
        video_id = f"{video_id}[{start or 0:g}-{'' if end is None else f'{end:g}'}]"
    return VideoSample(str(video_id), video, captions, start, end, _hard_negatives(row, where))


def warn_uncaptioned(where: str, names: Sequence) -> None:
    """One warning for all the videos of a corpus that have no caption."""
    if names:
        logger.warning("%s: %d videos without a caption are left out (%s, …)", where, len(names), names[0])


def caption_tuple(value, where: str) -> tuple[str, ...]:
    """The non-empty captions in a string or a list of strings (a csv may hold the list as JSON)."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):  # a caption that merely begins with a bracket
            value = json.loads(value)
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, Iterable) or not all(isinstance(caption, str) for caption in captions):
        raise CorpusError(f"{where}: captions must be a text or a list of texts, not {value!r:.80}")
    return tuple(_encodable(caption, where).strip() for caption in captions if caption.strip())


def _encodable(text: str, where: str) -> str:
    """The text, which no tokenizer would take with half a character (a surrogate without its pair) in it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start : error.end].encode("ascii", "backslashreplace").decode()
        raise CorpusError(f"{where}: {text!r:.80} holds half a character, {half}: write it anew as UTF-8") from None
    return text


def merge_rows(samples: Iterable[VideoSample]) -> list[VideoSample]:
    """One sample per video: rows of the same video (a caption each) become one, in order of first appearance.

    Raises:
        CorpusError: where one id stands for two different videos.
    """
    merged: dict[str, VideoSample] = {}
    for sample in samples:
        known = merged.setdefault(sample.video_id, sample)
        if known is sample:
            continue
        if (known.video, known.start, known.end) != (sample.video, sample.start, sample.end):
            raise CorpusError(
                f"duplicated id {sample.video_id!r}: it stands for {_name(known)} and for {_name(sample)}; "
                "give every video (or part of one) an id of its own"
            )
        merged[sample.video_id] = replace(
            known,
            captions=known.captions + sample.captions,
            hard_negatives=known.hard_negatives + sample.hard_negatives,
        )
    return list(merged.values())


def _name(sample: VideoSample) -> str:
    path = sample.video.get("path") if isinstance(sample.video, Mapping) else source_name(sample.video)
    part = "" if sample.start is None and sample.end is None else f" [{sample.start}, {sample.end}] s"
    return f"{path or 'bytes without a name'}{part}"


def _first(row: Mapping, columns: tuple[str, ...], where: str, what: str):
    for column in columns:
        if column in row:
            return row[column]
    raise CorpusError(f"{where}: no column with {what} ({', '.join(columns)}); there is {', '.join(map(str, row))}")


def _seconds(row: Mapping, column: str, where: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise CorpusError(f"{where}: '{column}' must be seconds, not {value!r:.40}") from None


def _hard_negatives(row: Mapping, where: str) -> tuple[HardNegative, ...]:
    try:
        return tuple(
            HardNegative(
                str(item["kind"]), _encodable(str(item["positive"]), where), _encodable(str(item["caption"]), where)
            )
            for item in row.get("hard_negatives") or ()
        )
    except (TypeError, KeyError):
        raise CorpusError(
            f"{where}: hard_negatives must be a list of {{'kind', 'positive', 'caption'}} objects"
        ) from None
