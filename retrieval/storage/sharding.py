"""An index split into tables by a hash of the video's id, so that each is searched by a process of its own."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..errors import VideoIndexError
from .schema import IndexSettings, share_of
from .table import VideoTable

ROWS = 2048  # rows in a commit
COMPARED = ("revision", "path")  # a row with the same of these is the same

Videos = dict[str, dict[tuple, int]]  # by id: what tells each row of the video from its other versions, and its row id


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
    wanted: list[Videos] = [{} for _ in shards]
    for video_id, rows in _videos(table).items():
        wanted[share_of(video_id, count)][video_id] = rows
    for shard, videos in zip(shards, wanted):
        _bring_up_to_date(table, shard, videos)
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


def _videos(table: VideoTable) -> Videos:
    videos: Videos = defaultdict(dict)
    for row in table.scan(["id", *COMPARED]).to_pylist():
        videos[row["id"]][tuple(row[name] for name in COMPARED)] = row["_rowid"]
    return videos


def _bring_up_to_date(table: VideoTable, shard: VideoTable, wanted: Videos) -> None:
    held = _videos(shard)
    gone = [video_id for video_id in held if video_id not in wanted]
    if gone:
        shard.delete(gone)
    new = [list(rows.values()) for video_id, rows in wanted.items() if rows.keys() != held[video_id].keys()]
    for row_ids in _in_commits(new):
        shard.write(table.take(np.array(row_ids, dtype=np.uint64), table.columns).select(table.columns))
    shard.compact()


def _in_commits(videos: Iterable[list[int]]) -> Iterator[list[int]]:
    """Row ids of whole videos, a commit's worth at a time."""
    rows: list[int] = []
    for segments in videos:
        rows += segments
        if len(rows) >= ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
