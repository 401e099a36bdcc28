"""Tables of captions, read strictly: what a table does not say clearly is refused with its row."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from dmae.modeling.media_files import VIDEO_SUFFIXES

from .samples import CorpusError

# A line that begins with the name of a video, inside a text: another row, which a quote that was not closed swallowed.
SWALLOWED_ROW = re.compile(rf"\n[^,\n]*(?:{'|'.join(map(re.escape, sorted(VIDEO_SUFFIXES)))})\"?,", re.IGNORECASE)


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
