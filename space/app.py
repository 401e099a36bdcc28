"""The Space: `python app.py`, set by the environment variables that README.md lists."""

import os
import sys
from pathlib import Path

from dmae.modeling import DmaeError
from dmae.space.serve import serve
from dmae.space.settings import Settings

DEFAULTS = Path(__file__).parent / "defaults.env"  # what `dmae push-space` was told; the Space's variables come first

if __name__ == "__main__":
    for line in DEFAULTS.read_text(encoding="utf-8").splitlines() if DEFAULTS.exists() else ():
        name, _, value = line.partition("=")
        os.environ.setdefault(name, value)
    try:
        serve(Settings.from_environment())
    except (DmaeError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
