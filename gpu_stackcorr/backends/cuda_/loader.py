"""Finds the CUDA sources."""

from __future__ import annotations

from pathlib import Path

from gpu_stackcorr.errors import BackendError

PACKAGE = Path(__file__).resolve().parents[2]


def kernel_directory() -> Path:
    """Return the folder of the CUDA sources: inside an installed package, beside it in a source tree."""
    for folder in (PACKAGE / "_kernels", PACKAGE.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise BackendError(f"the CUDA sources are missing from {PACKAGE}: reinstall gpu-stackcorr")
