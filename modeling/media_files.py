"""Names of media files: which are videos, which are images and which only look so, and how a name finds its file."""

import os
import unicodedata
from pathlib import Path, PurePath

VIDEO_SUFFIXES = frozenset(
    """
    .3g2 .3gp .3gpp .asf .avi .divx .dv .f4v .flv .gif .m2t .m2ts .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm
    .ogv .qt .rm .rmvb .tod .trp .ts .vob .webm .wmv
    """.split()  # noqa: SIM905
)
IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .heic .heif .jfif .jpe .jpeg .jpg .png .tif .tiff .webp".split()  # noqa: SIM905
)

# Suffixes that transport streams share with programs written in TypeScript.
SHARED_SUFFIXES = frozenset((".ts", ".mts"))
SYNC_BYTE = 0x47
PACKET_SIZES = (188, 192, 204)  # plain, with the time codes of a Blu-ray or a camera, with error correction
PACKETS_LOOKED_AT = 4


def is_no_video(path: str | os.PathLike) -> bool:
    """Whether a file that is named like a video is none for certain: a program in TypeScript.

    One that is empty or cannot be read is a video that failed.
    """
    if os.path.splitext(path)[1].lower() not in SHARED_SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(PACKETS_LOOKED_AT * 2 * max(PACKET_SIZES))
    except OSError:
        return False
    return bool(head) and not _has_packets(head)


def _has_packets(head: bytes) -> bool:
    """Whether sync bytes stand at the distance of packets, from wherever the first one begins."""
    return any(
        all(head[start + packet * size] == SYNC_BYTE for packet in range(PACKETS_LOOKED_AT))
        for size in PACKET_SIZES
        for start in range(min(size, len(head) - (PACKETS_LOOKED_AT - 1) * size))
    )


def normal(name: str) -> str:
    """The form in which two writings of a name are equal: é may be one sign, or e and ´."""
    return unicodedata.normalize("NFC", name)


class DiskNames:
    """Finds the files of a folder by their names in a table, which may have been written on another system."""

    def __init__(self, root: Path):
        self.root = root
        self._listings: dict[Path, dict[str, str]] = {}

    def path(self, name: PurePath | str) -> Path:
        """Where a name leads: to the file of exactly this name, else to the one whose name reads the same, else to
        where it would be.
        """
        path = self.root / name
        if str(name).isascii() or os.path.exists(path):
            return path
        path = Path(PurePath(path).anchor) if PurePath(name).is_absolute() else self.root
        for part in PurePath(name).relative_to(PurePath(name).anchor).parts:
            exact = path / part
            path = exact if os.path.exists(exact) else path / self._listing(path).get(normal(part), part)
        return path

    def _listing(self, folder: Path) -> dict[str, str]:
        if folder not in self._listings:
            try:
                names = sorted(os.listdir(folder))
            except OSError:  # there is none, or it is closed to us: opening the file will say so
                names = []
            self._listings[folder] = {normal(name): name for name in names}
        return self._listings[folder]
