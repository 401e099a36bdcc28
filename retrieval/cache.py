"""Where this machine keeps what was computed or typed before."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/dmae`, by default `~/.cache/dmae`; it need not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "dmae"
