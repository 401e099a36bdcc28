"""Where things are that tests read: this checkout, and the material that may lie beside it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
CLIPS = SHARED / "clips"
ANNOTATIONS = SHARED / "annotations"
needs_annotations = pytest.mark.skipif(
    not ANNOTATIONS.is_dir(), reason=f"no published annotation files in {ANNOTATIONS}"
)
