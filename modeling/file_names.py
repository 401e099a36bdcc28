"""Names in a table and names on a disk: the same letters may be written in two ways (é as one sign, or as e and ´)."""

import os
import unicodedata
from pathlib import Path, PurePath


def normal(name: str) -> str:
    """The form in which two writings of a name are equal."""
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
