"""Gaussian smoothing, beside SciPy and OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from gpu_stackcorr import gaussian_filter

from .harness import OURS, Case, Contestant, largest_difference, optional

CASES = (
    ("float32", (768, 1024), 5.0),
    ("float32", (768, 1024), 10.0),
    ("float32", (768, 1024), 20.0),
    ("float64", (768, 1024), 5.0),
    ("float32", (128, 128, 128), 4.0),
    ("float64", (128, 128, 128), 4.0),
)
TRUNCATE = 4.0


def with_opencv(cv2: Any, image: Any, sigma: float) -> Any:
    """Smooth by GaussianBlur with SciPy's radius and its mode reflect."""
    size = 2 * int(TRUNCATE * sigma + 0.5) + 1
    return cv2.GaussianBlur(image, (size, size), sigma, borderType=cv2.BORDER_REFLECT)


def case(dtype: str, shape: tuple[int, ...], sigma: float) -> Case:
    """Return the race over one image."""
    image = np.random.default_rng(0).random(shape).astype(dtype)
    error = largest_difference(ndimage.gaussian_filter(image.astype(np.float64), sigma, truncate=TRUNCATE))
    contestants = [
        Contestant(
            OURS,
            lambda: gaussian_filter(image, sigma, truncate=TRUNCATE, backend="numba"),
            error,
            1e-6 if dtype == "float32" else 0.0,
        ),
        Contestant("SciPy", lambda: ndimage.gaussian_filter(image, sigma, truncate=TRUNCATE), error),
    ]
    if (modules := optional("cv2")) and len(shape) == 2:
        contestants.append(Contestant("OpenCV GaussianBlur", lambda: with_opencv(modules[0], image, sigma), error))
    name = f"{dtype}, {' x '.join(map(str, shape))}, sigma {sigma:g}"
    return Case("gaussian_filter", name, image.size, contestants)


def cases() -> Iterator[Case]:
    """Yield a case a dtype, shape and sigma."""
    for parameters in CASES:
        yield case(*parameters)
