"""An index split into tables by a hash of the video's id, so that each is searched by a process of its own."""

import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..errors import VideoIndexError
from .schema import IndexSettings
from .table import VideoTable

ROWS = 2048  # rows in a commit
COMPARED = ("id", "revision", "path")  # a row with the same of these is the same


def share_of(video_id: str, shares: int) -> int:
    """The share of a video among `shares`, from 0; it depends on the id alone, so that it never moves."""
    return zlib.crc32(video_id.encode()) % shares


def shard_uris(pattern: str) -> list[str]:
    """The places that a pattern such as `s3://bucket/shards/*-of-4` stands for; a place without a star for itself.

    Raises:
        VideoIndexError: a star without the count.
    """
    if "*" not in pattern:
        return [pattern]
    before, _, after = pattern.partition("*")
    count = after.removeprefix("-of-")
    if not after.startswith("-of-") or not count.isdigit() or int(count) < 1:
        raise VideoIndexError(f"shards are named as `dmae shard` prints them, such as folder/*-of-4, not {pattern!r}")
    return [f"{before}{n}{after}" for n in range(int(count))]


def split(table: VideoTable, destination: str, count: int, storage_options: dict | None = None) -> list[VideoTable]:
    """Brings `count` tables below `destination` in step with a table; rows that are there already are not copied.

    Returns:
        the shards, in order.

    Raises:
        VideoIndexError: a shard that is there is one of another model or layout.
    """
    if count < 1:
        raise VideoIndexError(f"an index has at least 1 shard, got {count}")
    uris = shard_uris(f"{str(destination).rstrip('/')}/*-of-{count}")
    shards = [_open_or_create(uri, table.settings, storage_options) for uri in uris]
    wanted: list[dict] = [{} for _ in shards]
    for row in table.scan(COMPARED).to_pylist():
        wanted[share_of(row["id"], count)][row["id"]] = row
    for shard, rows in zip(shards, wanted):
        _bring_up_to_date(table, shard, rows)
    return shards


def _open_or_create(uri: str, settings: IndexSettings, storage_options: dict | None) -> VideoTable:
    if not VideoTable.exists(uri, storage_options):
        return VideoTable.create(uri, settings, storage_options=storage_options)
    shard = VideoTable.open(uri, storage_options=storage_options)
    if replace(shard.settings, model=settings.model, preprocessing=settings.preprocessing) != settings:
        raise VideoIndexError(f"the shard at {uri} is of another index: give a folder of its own")
    check_same_model([shard.settings, settings], [uri, "the index"])
    return shard


def check_same_model(settings: list[IndexSettings], names: list[str]) -> None:
    """Raises where two tables were made with different models, since their scores cannot be compared."""
    for other, name in zip(settings[1:], names[1:]):
        for what in ("model", "preprocessing"):
            mine, theirs = getattr(settings[0], what), getattr(other, what)
            if mine.fingerprint and theirs.fingerprint and mine.fingerprint != theirs.fingerprint:
                raise VideoIndexError(f"{names[0]} was made with the {what} {mine}, {name} with {theirs}: use one")


def _bring_up_to_date(table: VideoTable, shard: VideoTable, wanted: dict[str, dict]) -> None:
    held = {row["id"]: row for row in shard.scan(COMPARED).to_pylist()}
    gone = [video_id for video_id in held if video_id not in wanted]
    if gone:
        shard.delete(gone)
    for rows in _missing(table, wanted, held):
        shard.write(rows)
    shard.compact()


def _missing(table: VideoTable, wanted: dict[str, dict], held: dict[str, dict]) -> Iterator:
    same = lambda row: all(held.get(row["id"], {}).get(name) == row[name] for name in COMPARED)  # noqa: E731
    row_ids = np.array([row["_rowid"] for row in wanted.values() if not same(row)], dtype=np.uint64)
    columns = table.columns
    for start in range(0, len(row_ids), ROWS):
        yield table.take(row_ids[start : start + ROWS], columns).select(columns)
