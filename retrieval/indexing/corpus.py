"""Which files of a corpus are new, changed, unchanged or gone, compared with what the index holds."""

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from dmae.modeling.remote_videos import RemoteVideoError, is_url

from ..errors import VideoIndexError
from ..media import Unreached
from .sources import FoundVideo, Unreadable, find_sources, is_gone, still_there

HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class CorpusFile(FoundVideo):
    """A video of the corpus with its id in the index."""

    id: str

    def digest(self) -> str:
        """What tells its bytes from others; reads them where its store has no name for them.

        Raises:
            OSError: it cannot be read.
        """
        return self.content_hash or hash_video(self.video)

    def is_unchanged(self) -> bool:
        """Whether a local file is what it was when it was found. A remote one that was replaced has another version at
        the next run, which is then encoded."""
        if not isinstance(self.video, str):
            return True
        status = os.stat(self.video)
        return (status.st_size, status.st_mtime_ns) == (self.size, self.modified)


@dataclass
class Plan:
    """What there is to do for a corpus.

    Attributes:
        new, changed: files to encode. unchanged: how many need no encoding.
        touched: those of the unchanged with the old bytes but another place or time, which the index should learn.
        moved: the id in the index and the file of those of the unchanged that have another name now; of a name that
            was another video's, that one is gone or has another name too.
        missing: `(path, reason)` of files that are not there or cannot be named, and of folders that hide theirs.
        vanished: ids in the index whose file was under a scanned folder and is gone.
        unseen: ids whose file was not found, though nothing tells that it is gone.
    """

    new: list[CorpusFile] = field(default_factory=list)
    changed: list[CorpusFile] = field(default_factory=list)
    unchanged: int = 0
    touched: list[CorpusFile] = field(default_factory=list)
    moved: list[tuple[str, CorpusFile]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


def make_plan(
    videos,
    known: Sequence[dict],
    source_options: Mapping[str, Any] | None = None,
    *,
    prune_empty: bool = False,
) -> Plan:
    """Compares a corpus with the index.

    Args:
        videos: what `find_sources` takes.
        known: rows of the index with `id`, `path`, `content_hash`, `file_size`, `modified`.
        source_options: of the stores that URLs lead to.
        prune_empty: whether a place that holds no video at all tells that its videos are gone.

    Raises:
        VideoIndexError: a single place that is not there (one of several is listed as missing instead); folders
            and lists without a video, of which the index knows none either.
    """
    plan, found, folders, hidden = Plan(), {}, [], []
    sources = find_sources(videos, source_options)
    for source in sources:
        empty = True
        try:
            for video in source.videos():
                if isinstance(video, Unreadable):
                    plan.missing.append((video.path, video.reason))
                elif isinstance(video, Unreached):
                    hidden.append(video)
                else:
                    empty = False
                    found.setdefault(video.path, video)
            if source.is_folder:
                folders.append(source)
                if empty and not prune_empty:
                    hidden.append(Unreached(getattr(source, "prefix", str(source)), None))
        except RemoteVideoError as error:  # one of several; nothing in it counts as vanished
            plan.missing.append((str(source), error.reason))
    names = _Names(known, found, source_options)
    for video in found.values():
        file = CorpusFile(**vars(video), id=names.take(video))
        _sort(file, names.row_of(file), plan)
    absent = [row for row in known if row["id"] not in names.taken]
    _look_for(absent, folders, found, hidden, plan)
    _recognise(known, plan)
    if sources and not (found or plan.missing or plan.vanished or plan.unseen):
        raise VideoIndexError(
            f"no videos in {', '.join(map(str, sources))}: files are known by endings such as .mp4, and a .txt file "
            "names one path or URL per line"
        )
    return plan


def hash_video(video) -> str:
    """Digest of a video's bytes, by its path or in a row of a dataset."""
    digest = hashlib.blake2b(digest_size=16)
    with _bytes_of(video) as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _bytes_of(video) -> BinaryIO:
    return open(video, "rb") if isinstance(video, str) else io.BytesIO(video["bytes"])


class _Names:
    """The id of each video: its id in the index, else its name inside its source, else (if taken) its whole path."""

    def __init__(self, known: Sequence[dict], found: Mapping[str, FoundVideo], source_options):
        self.by_path = {row["path"]: row for row in known}
        self.by_id = {row["id"]: row for row in known}
        self.found = found
        self.source_options = source_options
        self.taken: dict[str, str] = {}

    def take(self, video: FoundVideo) -> str:
        known = self.by_path.get(video.path)
        other = self.by_id.get(video.name, {}).get("path") or self.taken.get(video.name) or video.path
        moved = other != video.path and not self._is_there(other)
        name = known["id"] if known else video.name if other == video.path or moved else video.path
        self.taken[name] = video.path
        return name

    def row_of(self, file: CorpusFile) -> dict | None:
        return self.by_path.get(file.path) or self.by_id.get(file.id)

    def _is_there(self, path: str) -> bool:
        return path in self.found or still_there(path, self.source_options)


def _sort(file: CorpusFile, row: dict | None, plan: Plan) -> None:
    if row is None:
        plan.new.append(file)
    elif (row["path"], row["file_size"], row["modified"]) == (file.path, file.size, file.modified):
        plan.unchanged += 1
    elif row["file_size"] == file.size and _has_hash(file, row["content_hash"]):
        plan.unchanged += 1
        plan.touched.append(file)
    else:
        plan.changed.append(file)


def _has_hash(file: CorpusFile, content_hash: str | None) -> bool:
    try:
        return file.digest() == content_hash
    except OSError:  # gone or closed to us by now: reading it will say why
        return False


def _look_for(absent: Sequence[dict], folders: Sequence, found: Mapping[str, FoundVideo], hidden, plan: Plan) -> None:
    """Sorts the rows whose videos were not found into those whose video is gone and those of which nobody can say."""
    counts = dict.fromkeys(hidden, 0)
    for row in absent:
        path = row["path"]
        if not path or path in found or not any(folder.covers(path) for folder in folders):
            continue
        hiding = next((place for place in hidden if place.hides(path)), None)
        if hiding is not None:
            counts[hiding] += 1
            plan.unseen.append(row["id"])
        elif _is_gone(path):
            plan.vanished.append(row["id"])
    for place, count in counts.items():
        if place.reason is not None and (count or not place.dangling):
            plan.missing.append((place.path, place.reason))
        elif place.reason is None and count:
            reason = (
                f"holds no video any more, of {count} in the index: is its disk there? They stay in it "
                "(--prune --prune-empty removes them)"
            )
            plan.missing.append((place.path, reason))


def _recognise(known: Sequence[dict], plan: Plan) -> None:
    """Takes a file that equals byte by byte what another place held, and holds no more, for that video under another
    name. So two files may have swapped their names, or one have taken that of another.
    """
    vanished, changed = set(plan.vanished), {file.id for file in plan.changed}
    gone = defaultdict(list)  # by size
    for row in known:
        if row["content_hash"] and (row["id"] in vanished or row["id"] in changed):
            gone[row["file_size"]].append(row)
    moves: dict[str, CorpusFile] = {}
    for file in [*plan.new, *plan.changed]:
        # What a store calls its version may say nothing of the bytes; and files of another size need not be read.
        alike = [row for row in gone[file.size] if row["id"] != file.id] if file.content_hash is None else []
        try:
            digest = file.digest() if alike else None
        except OSError:  # gone or closed to us by now: reading it will say why
            continue
        row = next((row for row in alike if row["content_hash"] == digest), None)
        if row is not None:
            gone[file.size].remove(row)
            moves[row["id"]] = replace(file, content_hash=digest)
    # Under a name whose new content is to be encoded nothing is taken away: other processes may encode it by now.
    while stuck := moves.keys() & changed - {file.id for file in moves.values()}:
        for old in stuck:
            del moves[old]
    names = {file.id for file in moves.values()}
    plan.new = [file for file in plan.new if file.id not in names]
    plan.changed = [file for file in plan.changed if file.id not in names]
    plan.vanished = [old for old in plan.vanished if old not in moves]
    plan.moved += moves.items()
    plan.unchanged += len(moves)


def _is_gone(path: str) -> bool:
    """Whether a path of the index leads nowhere. A local file may be there without having been found, as one in a
    hidden folder is."""
    return is_url(path) or path.startswith("dataset:") or is_gone(path)
