"""Which files of a corpus are new, changed, unchanged or gone, compared with what the index holds."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import VideoIndexError
from ..inputs import is_unicode
from ..media import find_videos

HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class CorpusFile:
    """A video file and what its file system says about it (size in bytes, modification time in ns)."""

    id: str
    path: str
    size: int
    modified: int


@dataclass
class Plan:
    """What there is to do for a corpus.

    Attributes:
        new, changed: files to encode. unchanged: how many need no encoding.
        touched: those of the unchanged with the old bytes but another place or time, which the index should learn.
        missing: `(path, reason)` of files that are not there or cannot be named.
        vanished: ids in the index whose file was under a scanned folder and is gone.
    """

    new: list[CorpusFile] = field(default_factory=list)
    changed: list[CorpusFile] = field(default_factory=list)
    unchanged: int = 0
    touched: list[CorpusFile] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)


def make_plan(videos, known: Sequence[dict]) -> Plan:
    """Compares files with the index.

    Args:
        videos: a folder, a file, or an iterable of either.
        known: rows of the index with `id`, `path`, `content_hash`, `file_size`, `modified`.

    Raises:
        VideoIndexError: a single folder or file that is not there (one of several is listed as missing instead);
            folders without a video, of which the index knows none either.
    """
    sources = find_sources(videos)
    plan, by_path, by_id = Plan(), {row["path"]: row for row in known}, {row["id"]: row for row in known}
    taken: dict[str, str] = {}
    for root, path in _files(sources, plan):
        file = _describe(root, path, by_path, by_id, taken, plan)
        if file is not None:
            _sort(file, by_path.get(file.path) or by_id.get(file.id), plan)
    folders = [source for source in sources if source.is_dir()]
    plan.vanished = [row["id"] for row in known if row["id"] not in taken and _is_gone(row["path"], folders)]
    if folders and not (taken or plan.missing or plan.vanished):
        raise VideoIndexError(f"no videos in {', '.join(map(str, folders))}: files are known by endings such as .mp4")
    return plan


def find_sources(videos) -> list[Path]:
    """The folders and files that a caller names, as whole paths; raises where the only one is not there."""
    sources = [videos] if isinstance(videos, (str, os.PathLike)) else videos
    sources = list(sources) if isinstance(sources, Iterable) else [sources]
    if not all(isinstance(source, (str, os.PathLike)) for source in sources):
        raise VideoIndexError(f"give a folder, a video file or a list of them, got {videos!r:.80}")
    sources = [Path(os.path.abspath(os.path.expanduser(source))) for source in sources]
    if len(sources) == 1 and not sources[0].exists():
        raise VideoIndexError(f"no file or folder {sources[0]}: give the videos to index")
    return sources


def hash_file(path: str) -> str:
    """Digest of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _files(sources: Iterable[Path], plan: Plan):
    seen = set()
    for source in sources:
        if not source.exists():
            plan.missing.append((str(source), "no such file"))
        for path in find_videos(source) if source.is_dir() else [source] * source.exists():
            if path not in seen:
                seen.add(path)
                yield (source if source.is_dir() else source.parent), path


def _describe(root: Path, path: Path, by_path: dict, by_id: dict, taken: dict, plan: Plan) -> CorpusFile | None:
    """The file with its id: its id in the index, else its path inside the folder, else (if taken) its whole path."""
    if not is_unicode(str(path)):
        readable = str(path).encode("utf-8", "backslashreplace").decode()
        plan.missing.append((readable, "its name is not UTF-8: rename it to index it"))
        return None
    try:
        status = path.stat()
    except OSError as error:
        plan.missing.append((str(path), error.strerror or str(error)))
        return None
    text = str(path)
    relative = path.relative_to(root).as_posix()
    known = by_path.get(text)
    other = by_id.get(relative, {}).get("path") or taken.get(relative) or text
    moved = other != text and not os.path.exists(other)
    name = known["id"] if known else relative if other == text or moved else text
    taken[name] = text
    return CorpusFile(name, text, status.st_size, status.st_mtime_ns)


def _sort(file: CorpusFile, row: dict | None, plan: Plan) -> None:
    if row is None:
        plan.new.append(file)
    elif (row["path"], row["file_size"], row["modified"]) == (file.path, file.size, file.modified):
        plan.unchanged += 1
    elif row["file_size"] == file.size and _has_hash(file.path, row["content_hash"]):
        plan.unchanged += 1
        plan.touched.append(file)
    else:
        plan.changed.append(file)


def _has_hash(path: str, content_hash: str | None) -> bool:
    try:
        return hash_file(path) == content_hash
    except OSError:  # gone or closed to us by now: reading it will say why
        return False


def _is_gone(path: str | None, folders: Sequence[Path]) -> bool:
    return bool(path) and any(Path(path).is_relative_to(f) for f in folders) and not os.path.exists(path)
