"""Gaussian smoothing in SciPy's mode reflect, by others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from .counts import TRUNCATE
from .harness import Contestant, optional
from .paths import Path
from .tensors import fetch, places

Error = Callable[[Any], float]


def taps(sigma: float) -> int:
    """Return the length of the filter, as SciPy has it."""
    return 2 * int(TRUNCATE * sigma + 0.5) + 1


def on_host(image: Any, sigma: Sequence[float], error: Error) -> Iterator[Contestant]:
    """Yield SciPy, and OpenCV for a single slice; `sigma` has one entry an axis."""
    yield Contestant("SciPy gaussian_filter", partial(ndimage.gaussian_filter, image, sigma, truncate=TRUNCATE), error)
    if image.ndim == 2 and (modules := optional("cv2")):
        cv2 = modules[0]
        blur = partial(cv2.GaussianBlur, image, (taps(sigma[1]), taps(sigma[0])), sigma[1], sigmaY=sigma[0])
        yield Contestant(
            "OpenCV GaussianBlur",
            partial(blur, borderType=cv2.BORDER_REFLECT),
            error,
            note="fixed-point weights" if image.dtype.kind == "u" else "",
        )


def with_tensors(image: Any, sigma: Sequence[float], error: Error) -> Iterator[Contestant]:
    """Yield what stands on PyTorch, for float32 images: kornia in 2-D, MONAI's layer in 3-D.

    Their borders are others; `error` is that away from these.
    """
    if image.dtype != np.float32:
        return
    if image.ndim == 2:
        for place, filters in places("kornia.filters"):
            yield Contestant(
                f"kornia gaussian_blur2d{place.suffix}",
                partial(
                    filters.gaussian_blur2d,
                    place.put(image)[None, None],
                    (taps(sigma[0]), taps(sigma[1])),
                    tuple(map(float, sigma)),
                    border_type="reflect",
                ),
                lambda result: error(fetch(result)[0, 0]),
                note="mirrored about the last pixel; error away from the border",
                synchronise=place.synchronise,
            )
    if image.ndim == 3 and all(sigma):
        for place, layers in places("monai.networks.layers"):
            smooth = layers.GaussianFilter(3, tuple(map(float, sigma)), truncated=TRUNCATE, approx="sampled")
            yield Contestant(
                f"MONAI GaussianFilter{place.suffix}",
                partial(smooth.to(place.device), place.put(image)[None, None]),
                lambda result: error(fetch(result)[0, 0]),
                note="weights not normalised, zeros beyond the border; error away from there",
                synchronise=place.synchronise,
            )


def on_device(path: Path | None, image: Any, sigma: Sequence[float], error: Error) -> Iterator[Contestant]:
    """Yield CuPy's, with the image on the device."""
    if path is None:
        return
    from cupyx.scipy import ndimage as cupyx

    smooth = partial(cupyx.gaussian_filter, path.place(image), sigma, truncate=TRUNCATE)
    yield Contestant("cupyx gaussian_filter", smooth, error, synchronise=path.synchronise)
