"""Files that whoever may read the others beside them may read, too."""

import os
import uuid
from pathlib import Path


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
