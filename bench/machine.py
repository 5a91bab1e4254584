"""What the figures depend on: the processor, its threads, the system, versions."""

from __future__ import annotations

import platform
from typing import Any

LIBRARIES = (
    *("albumentations", "batchgeneratorsv2", "elasticdeform", "llvmlite", "monai", "numba", "numpy"),
    *("opencv-python-headless", "scikit-image", "scipy", "torch", "torchio"),
)
"""Whose versions a result file names."""


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    from importlib.metadata import distributions

    from gpu_stackcorr.threads import available_threads

    versions = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    return {
        "processor": _processor(),
        "threads": available_threads(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: versions[name] for name in LIBRARIES if name in versions},
    }


def _processor() -> str:
    """Return the name and the vector instructions of the processor, as far as the system tells."""
    try:
        from llvmlite import binding

        features = binding.get_host_cpu_features()
        vectors = [name for name in ("avx2", "avx512f", "avx512vnni", "avxvnni", "neon", "sve") if features.get(name)]
        return f"{binding.get_host_cpu_name()} ({', '.join(vectors)})"
    except ImportError:
        return platform.processor() or platform.machine()
