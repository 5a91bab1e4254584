"""Displacement fields from the seed, beside SciPy, OpenCV, PyTorch, kornia, MONAI and CuPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.displacement_fields import displacement_streams

from . import counts, rivals_fields
from .harness import Case, Skip
from .images import CUBE, LARGE_CUBE, SLICE, free_memory, is_large, shown
from .paths import Path, device, difference, middle, ours

QUICK = (("float32", SLICE, 5.0),)
FULL = (
    ("float32", SLICE, 5.0),
    ("float32", SLICE, 10.0),
    ("float32", SLICE, 20.0),
    ("float64", SLICE, 5.0),
    ("float32", CUBE, 4.0),
    ("float64", CUBE, 4.0),
    ("float32", LARGE_CUBE, 4.0),
)
ALPHA, SEED = 250.0, 1


def case(dtype: str, shape: tuple[int, ...], sigma: float) -> Case:
    """Return the race over one field with a component an axis."""
    streams = displacement_streams(len(shape), 0)
    how: dict[str, Any] = {"alpha": np.full(len(shape), ALPHA), "sigma": [sigma] * len(shape)}
    pixels, part, box = int(np.prod(shape)), slice(None), None
    if is_large(shape):
        part = middle(shape[0])
        box = ((part.start, part.stop), *((0, size) for size in shape[1:]))
    # The specification in float64: SciPy's filter on the noise of NumPy's Philox.
    exact = get_backend("numpy").displacement(SEED, streams, shape, **how, box=box, dtype=np.float64)
    error = difference(exact, np.s_[:, part])

    def drawn(path: Path) -> Any:
        engine = path.engine
        return lambda: engine.displacement(SEED, streams, shape, **how, dtype=np.dtype(dtype))

    contestants = [
        *ours(drawn, error, ALPHA * (1e-5 if dtype == "float32" else 1e-12)),
        *rivals_fields.on_host(shape, ALPHA, sigma),
        *(rivals_fields.with_tensors(shape, ALPHA, sigma) if dtype == "float32" else ()),
        *rivals_fields.on_device(device(), shape, ALPHA, sigma),
    ]
    written = pixels * len(shape) * np.dtype(dtype).itemsize
    return Case(
        "displacement",
        f"{shown(dtype, shape)}, sigma {sigma:g}, {len(shape)} components",
        pixels * len(shape),
        contestants,
        bytes=written,
        written=written,
        operations=counts.displacement(pixels, how["sigma"]),
        arithmetic=dtype,
    )


def cases(*, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield a case a dtype, shape and sigma."""
    for dtype, shape, sigma in QUICK if quick else FULL:
        needed = 64 * int(np.prod(shape))  # the recipe's components and noise in float64, and a result of ours
        if needed > free_memory():
            yield Skip("displacement", shown(dtype, shape), f"needs {needed / 1e9:.3g} GB of memory")
        else:
            yield case(dtype, shape, sigma)
