"""The images that are measured on: stacks that decorrelate with depth, smooth images, and whether they fit memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

SLICE = (768, 1024)
SMALL_SLICE = (384, 512)
"""In quick runs."""

STACK = (165, *SLICE)
"""The notebook's stack."""

LARGE = 2**24
"""Pixels above which results are verified on some planes, and rivals that compute something of their own not at all."""

CUBE, LARGE_CUBE = (128, 128, 128), (512, 512, 512)
DTYPES = ("uint8", "uint16", "float32", "float64")


def shown(dtype: str, shape: tuple[int, ...]) -> str:
    """Return what cases call an image."""
    return f"{dtype}, {' x '.join(map(str, shape))}"


def is_large(shape: Sequence[int]) -> bool:
    """Whether an image has more than `LARGE` pixels."""
    return math.prod(shape) > LARGE


def stack(shape: tuple[int, int, int], dtype: str) -> Any:
    """Return slices that decorrelate with depth, over most of the range of `dtype`."""
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    middle, scale = (0.0, 1.0) if kind.kind == "f" else ((np.iinfo(kind).max + 1) / 2, np.iinfo(kind).max / 8)
    values = rng.standard_normal(shape[1:], np.float32)
    slices = np.empty(shape, kind)
    for image in slices:
        image[...] = np.clip(middle + scale * values, 0, 2 * middle - 1) if kind.kind != "f" else values
        values = np.float32(0.95) * values + np.float32(0.3122499) * rng.standard_normal(shape[1:], np.float32)
    return slices


def smooth(shape: tuple[int, ...], dtype: str, highest: float = 255.0) -> Any:
    """Return an image or volume with structures of some pixels, from 0 to `highest`."""
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    # A large volume is smoothed plane by plane: a third of the time, and as good to interpolate.
    image = ndimage.gaussian_filter(noise, (0, 2, 2) if is_large(shape) else 2)
    image -= image.min()
    image *= highest / image.max()
    return image.astype(dtype)


def highest(dtype: str) -> float:
    """Return the largest value of `smooth` images of a dtype: 255, and 65535 for uint16."""
    return 65535.0 if dtype == "uint16" else 255.0


def free_memory() -> int:
    """Return the bytes of memory that are free, or many where the system does not tell."""
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 2**62
