"""Where things are that tests read: this checkout, and the material that may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
CLIPS = SHARED / "clips"
