"""The Space: `python app.py`, set by the environment variables that README.md lists."""

import sys

from dmae.space.serve import serve
from dmae.space.settings import Settings

if __name__ == "__main__":
    try:
        serve(Settings.from_environment())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
