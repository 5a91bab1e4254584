"""What the figures depend on: the processor and the device, the system, versions, and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

LIBRARIES = (
    *("albumentations", "batchgeneratorsv2", "cupy-cuda12x", "cupy-cuda13x", "elasticdeform", "kornia", "llvmlite"),
    *("monai", "numba", "numpy", "opencv-python-headless", "scikit-image", "scipy", "torch", "torchio", "torchmetrics"),
)
"""Whose versions a result file names."""


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    from gpu_stackcorr.arrays import available_backends
    from gpu_stackcorr.threads import available_threads

    cuda = available_backends()["cuda"]
    versions = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    return {
        "processor": _processor(),
        "threads": available_threads(),
        "blas": _blas(),
        "memory_bytes": _memory(),
        "device": cuda.device if cuda.available else "",
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: versions[name] for name in LIBRARIES if name in versions},
    }


def commit() -> str | None:
    """Return the commit of the source tree, with a word where files differ from it; None outside of one."""
    if not (ROOT / ".git").exists():
        return None
    try:
        name, changed = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return name.strip() + (" with changes" if changed.strip() else "")


def _blas() -> str:
    """Return the BLAS of NumPy and the processor that its kernels are for, which OPENBLAS_CORETYPE can change."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    libraries = (one for one in threadpool_info() if one["user_api"] == "blas" and "numpy" in one["filepath"])
    return ", ".join(f"{one['internal_api']} {one['version']} ({one.get('architecture', '')})" for one in libraries)


def _memory() -> int | None:
    """Return the bytes of the machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _processor() -> str:
    """Return the name and the vector instructions of the processor, as far as the system tells."""
    try:
        from llvmlite import binding
    except ImportError:
        return platform.processor() or platform.machine()
    features = binding.get_host_cpu_features()
    vectors = [name for name in ("avx2", "avx512f", "avx512vnni", "avxvnni", "neon", "sve") if features.get(name)]
    return f"{binding.get_host_cpu_name()} ({', '.join(vectors)})"
