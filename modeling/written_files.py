"""Files that are written: whether they can be, and that whoever may read the others beside them may read them, too."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def follow_umask(folder: str | os.PathLike, pattern: str = "*.safetensors") -> None:
    """Gives files of a folder the mode that new files get there. The library that writes weights makes them private to
    their owner (0600), whatever the umask says, so that a colleague or a server could read all of a model but them.
    """
    files = [path for path in Path(folder).glob(pattern) if path.is_file()]
    if not files:
        return
    probe = Path(folder) / f".mode-{uuid.uuid4().hex}"
    probe.touch(mode=0o666)
    try:
        mode = probe.stat().st_mode & 0o777
    finally:
        probe.unlink()
    for path in files:
        path.chmod(mode)


def check_writable(what: str, path: str | os.PathLike, *, folder: bool = False) -> None:
    """Known before the work rather than after it: whether a file can be written, or files in a folder.

    Args:
        what: the option that named it. folder: whether it is a folder, which is made where it is missing.

    Raises:
        InputError: it cannot be.
    """
    path = Path(path)
    place = next(p for p in (path, *path.parents) if os.path.exists(p)) if folder else path.parent
    if not os.path.exists(place):
        fault = f"there is no folder {place}"
    elif not os.path.isdir(place):
        fault = f"{place} is a file"
    elif os.path.isdir(path) and not folder:
        fault = "it is a folder"
    elif not os.access(path if os.path.exists(path) else place, os.W_OK):
        fault = "permission denied"
    else:
        return
    raise _not_writable(what, path, fault)


@contextmanager
def writing(what: str, path: str | os.PathLike) -> Iterator[None]:
    """What cannot be written within (the disk is full, …) as an `InputError` that names the option and the path."""
    try:
        yield
    except OSError as error:
        raise _not_writable(what, path, error.strerror or str(error)) from error


def _not_writable(what: str, path: str | os.PathLike, fault: str) -> InputError:
    return InputError(f"{what} {path} cannot be written: {fault}; put that right, or give another place")
