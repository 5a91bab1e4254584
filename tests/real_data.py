"""The folder of real stacks, which is never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "GPU_STACKCORR_DATA"


def real_data() -> Path | None:
    """Return the folder that the variable names, else `../shared/data` beside the repository, if it is there."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


needs_real_data = pytest.mark.skipif(
    real_data() is None, reason=f"no folder of real stacks: set {VARIABLE}, or put it at ../shared/data"
)
