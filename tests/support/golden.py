"""Values computed by the authors' release (float64), as arrays: `golden("sim0")["sentence"]`."""

import numpy as np
import pytest
import torch
from places import SHARED

PATH = SHARED / "golden" / "method.npz"

needs_golden = pytest.mark.skipif(not PATH.is_file(), reason=f"golden values are not at {PATH}")


def golden(case: str, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    with np.load(PATH, allow_pickle=False) as values:
        found = {key.partition(".")[2]: values[key] for key in values.files if key.startswith(case + ".")}
    return {key: torch.as_tensor(value).to(dtype) for key, value in found.items()}
