"""Whether a file is whole, or still being copied, downloaded or recorded."""

import os
import signal
import time
from collections.abc import Iterable

HEAD = 256  # bytes that hold what the formats say of their length
_BOXES = frozenset(b"ftyp moov mdat wide free skip pnot uuid meta styp sidx moof mfra".split())
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


class WholeFiles:
    """Tells whole files from those that are still being written, by looking at them again and again.

    A file is whole when it has not changed for `settle` seconds, no process has it open for writing (where the system
    tells) and it does not end before its own headers say that it does.
    """

    def __init__(self, settle: float):
        self._settle = settle
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}

    def __call__(self, path: str) -> bool:
        try:
            status = os.stat(path)
            state, now = (status.st_size, status.st_mtime_ns), time.monotonic()
            seen, since = self._seen.get(path, (None, now))
            if seen != state:
                self._seen[path] = state, now
                return False
            return now - since >= self._settle and not is_open_for_writing(path) and not is_cut_off(path)
        except OSError:  # gone again, or not ours to read: reading it will say why
            return True

    def forget_all_but(self, paths: Iterable[str]) -> None:
        self._seen = {path: self._seen[path] for path in paths if path in self._seen}


def is_open_for_writing(path: str) -> bool:
    """Whether any process of this machine has a file open for writing; False where the system does not tell.

    Linux grants a lease to read a file only while nobody writes it. It tells the owner of the file alone, and knows
    nothing of the other machines of a network drive.
    """
    try:
        import fcntl

        lease, no_lease, by_signal = fcntl.F_SETLEASE, fcntl.F_UNLCK, fcntl.F_SETSIG
    except (ImportError, AttributeError):  # not Linux
        return False
    try:
        with open(path, "rb") as file:
            fcntl.fcntl(file, by_signal, signal.SIGURG)  # a writer who comes now is told by one that is ignored
            fcntl.fcntl(file, lease, fcntl.F_RDLCK)
            fcntl.fcntl(file, lease, no_lease)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_cut_off(path: str) -> bool:
    """Whether an MP4, QuickTime, Matroska, WebM or AVI file is shorter than its headers say.

    Raises:
        OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(HEAD)
        if head[4:8] in _BOXES:
            return _boxes_end(file, size) > size
    if head[:4] == _EBML:
        return _segment_end(head) > size
    return head[:4] == b"RIFF" and int.from_bytes(head[4:8], "little") > size


def _boxes_end(file, size: int) -> int:
    """Where the last box of an ISO file ends by its own account (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or head[4:8] not in _BOXES:  # 0 means to the end, wherever that is; else no box we know
            return size
        at += length
    return at


def _segment_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends by its own account; 0 where it does not say (RFC 8794, RFC 9559)."""
    at = head.find(_SEGMENT) + len(_SEGMENT)
    if at < len(_SEGMENT) or at + 8 > len(head) or not head[at]:
        return 0
    width = 9 - head[at].bit_length()
    unknown = (1 << 7 * width) - 1
    length = int.from_bytes(head[at : at + width], "big") & unknown
    return 0 if length == unknown else at + width + length
