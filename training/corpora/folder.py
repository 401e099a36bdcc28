"""A folder of videos with a table of captions beside them: `captions.jsonl`, or the `metadata.csv` /
`metadata.jsonl` of datasets' videofolder convention.

Tables are read strictly: what one does not say clearly is refused with its row.
"""

import csv
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from dmae.modeling.media_files import VIDEO_SUFFIXES
from dmae.modeling.remote_videos import RemoteVideo, is_url

from .samples import CorpusError, VideoSample, merge_rows, sample_from_row
from .video_places import LocalVideos, VideoPlace, file_name

# A line that begins with the name of a video, inside a text: another row, which a quote that was not closed swallowed.
SWALLOWED_ROW = re.compile(rf"\n[^,\n]*(?:{'|'.join(map(re.escape, sorted(VIDEO_SUFFIXES)))})\"?,", re.IGNORECASE)
TABLES = ("captions.jsonl", "metadata.jsonl", "metadata.csv")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}

logger = logging.getLogger(__name__)


def load_folder(
    folder: Path, split: str, *, videos: VideoPlace | None = None, missing: str = "error"
) -> list[VideoSample]:
    """The samples of one split of a folder.

    The table lies in a folder named after the split, or directly in `folder`. A table directly in `folder` whose
    names begin with the splits' folders ("train/1.mp4") is divided by them; otherwise it is one split, train, val or
    test as asked. Names in the table are relative to `videos`, by default the table's own folder; URLs (`s3://…`,
    `hf://…`) stand for themselves, and are read where they are.
    """
    table, root, prefixes = _find_table(folder, split)
    place = videos or LocalVideos(root)
    seen, samples = {}, []
    for number, row in enumerate(read_rows(table), 1):
        where = f"{table}, row {number}"
        sample = sample_from_row(row, where)
        if sample is None:
            continue  # _warn_uncaptioned tells of its file
        if is_url(sample.video):
            samples.append(replace(sample, video=RemoteVideo(sample.video)))
            continue
        name = inside(sample.video, where)
        if prefixes and name.parts[0] not in prefixes:
            continue
        _refuse_twice(seen, sample, row, number, table)
        samples.append(replace(sample, video=place.at(name)))
    samples = without_missing(merge_rows(samples), str(table), place, missing)
    if missing != "keep":
        _warn_uncaptioned(place, samples, table)
    return samples


def without_missing(samples: list[VideoSample], table: str, place: VideoPlace, missing: str) -> list[VideoSample]:
    """The samples whose files exist; `missing="error"` refuses where some do not, `"skip"` says which and goes on;
    `"keep"` keeps them all, for their captions."""
    if missing == "keep":
        return samples
    absent = [sample for sample in samples if place.lacks(sample.video)]
    if absent:
        names = ", ".join(file_name(sample.video) for sample in absent[:3]) + (", …" if len(absent) > 3 else "")
        count = f"{len(absent)} of {len(samples)}"
        text = f"{table}: captions without a video: {count} videos are not in {place} ({names})"
        if missing == "error" or len(absent) == len(samples):
            remedy = (
                "" if missing == "skip" else ", or leave them out: --missing skip (in a configuration missing: skip)"
            )
            raise CorpusError(f"{text}; complete the folder{remedy}")
        logger.warning("%s; they are left out", text)
    gone = {sample.video_id for sample in absent}
    return [sample for sample in samples if sample.video_id not in gone]


def has_table(folder: Path, split: str) -> bool:
    """Whether this is a folder of ours, and not one of parquet files."""
    names = ("", *SPLIT_NAMES.get(split, (split,)))
    return any((folder / name / table).is_file() for name in names for table in TABLES)


def _find_table(folder: Path, split: str) -> tuple[Path, Path, tuple[str, ...]]:
    """The table, the folder that its names are relative to, and the split folders that its rows must begin with."""
    names = SPLIT_NAMES.get(split, (split,))
    for name in names:
        for table in TABLES:
            if (folder / name / table).is_file():
                return folder / name / table, folder / name, ()
    known = [name for group in SPLIT_NAMES.values() for name in group]
    splits = [name for name in known if (folder / name).is_dir()]
    divided = any((folder / name).is_dir() for name in names)
    for table in TABLES:
        if (folder / table).is_file():
            if splits and not divided:
                break
            if not (divided or split in known):
                raise CorpusError(
                    f"{folder / table} is not divided into splits and has no '{split}': ask for train, val or test to "
                    "take all of it"
                )
            return folder / table, folder, names if divided else ()
    if splits:
        raise CorpusError(f"{folder} has no split '{split}': there is {', '.join(splits)}")
    raise CorpusError(
        f"{folder} has no {', '.join(TABLES[:-1])} or {TABLES[-1]}: write one line per video, such as "
        '{"video": "dog.mp4", "captions": ["a dog runs"]}'
    )


def inside(name, where: str) -> PurePosixPath:
    """A file name as it may stand in a table: relative, and not leaving its folder."""
    if not isinstance(name, str):
        raise CorpusError(f"{where}: the video must be a file name, not {name!r:.40}")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or not path.parts:
        raise CorpusError(f"{where}: the video's name {name!r} must be relative and stay inside its folder")
    return path


def _refuse_twice(seen: dict[str, int], sample: VideoSample, row: dict, number: int, table: Path) -> None:
    """Several rows of one caption each belong together; a row with a list of captions is the video's only one."""
    first = seen.setdefault(sample.video_id, number)
    if first != number and isinstance(row.get("captions"), list):
        raise CorpusError(
            f"{table}: duplicated id {sample.video_id!r} in rows {first} and {number}; put a video's captions in one "
            "row, or one caption per row in a column 'caption'"
        )


def _warn_uncaptioned(place: VideoPlace, samples: list[VideoSample], table: Path) -> None:
    captioned = {Path(sample.video) for sample in samples if isinstance(sample.video, str)}
    folders = {path.parent for path in captioned}
    extra = [
        path.name
        for folder in sorted(folders)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in VIDEO_SUFFIXES and path not in captioned
    ]
    if extra:
        names = ", ".join(extra[:3]) + (", …" if len(extra) > 3 else "")
        logger.warning("%s: %d videos in %s have no caption and are left out (%s)", table, len(extra), place, names)


def read_rows(table: Path) -> Iterator[dict]:
    """The rows of a .csv, or of a file of JSON lines.

    Raises:
        CorpusError: the file or a row of it cannot be read as it stands.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            yield from csv_rows(file, table) if table.suffix == ".csv" else _json_rows(file, table)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{table} cannot be read ({error}): save it as UTF-8 text") from None


def csv_rows(lines: Iterable[str], table: Path | str) -> Iterator[dict[str, str]]:
    """Rows of comma-separated values by the names in the first line, each with a value for every name."""
    reader = csv.reader(lines, strict=True)
    number, line = 0, 1

    def refuse(what: str) -> CorpusError:
        row = f"row {number} (line {line})" if number else "the line of names"
        return CorpusError(f"{table}, {row} {what}")

    names: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            number += names is not None
            what = f"cannot be read ({error}): close its quotes, and double those that are part of a text"
            raise refuse(what) from None
        if values is None:
            return
        if not values:  # an empty line
            continue
        if names is None:
            names = values
            twice = [name for name, count in Counter(names).items() if count > 1 and name.strip()]
            if twice:
                raise refuse(f"has the column {twice[0]!r} twice: give each a name of its own")
            continue
        number += 1
        surplus = any(value.strip() for value in values[len(names) :])
        if len(values) < len(names) or surplus:
            raise refuse(
                f"has {len(values)} values for {len(names)} columns: put a text that holds commas in double quotes"
            )
        row = dict(zip(names, values))
        if any(SWALLOWED_ROW.search(value) for value in values):
            raise refuse("swallows rows after it: close its quotes")
        yield row


def _json_rows(lines: Iterable[str], table: Path) -> Iterator[dict]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once_each)
        except ValueError as error:
            raise CorpusError(f"{table}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise CorpusError(f"{table}, line {number} must be an object, not {line.strip():.40}")
        yield row


def _once_each(pairs: list[tuple[str, object]]) -> dict:
    """An object, whose names must be different: Python would keep the last of two values without a word."""
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} is there twice")
    return row
