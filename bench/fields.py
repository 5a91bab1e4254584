"""Random images with a known correlation, for the study of intervals.

Stationary Gaussian fields of a given autocorrelation come from white noise filtered on a torus (circulant embedding:
C. R. Dietrich and G. N. Newsam, SIAM J. Sci. Comput. 18 (1997) 1088-1107). The torus is wider than the image by eight
lengths, so that an image is a crop whose opposite edges have nothing to do with each other.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KINDS = ("exponential", "gaussian")
"""Autocorrelation exp(-h / length), rough, or exp(-(h / length)^2), smooth."""

PADDING = 8
"""Lengths between an edge of an image and the opposite one, round the torus: exp(-8) is left there."""


def autocorrelation(kind: str, length: float, distance: Floats) -> Floats:
    """Return the autocorrelation at a distance in pixels: 1/e at `length`."""
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}: allowed are {', '.join(map(repr, KINDS))}")
    scaled = distance / length
    return np.exp(-scaled if kind == "exponential" else -scaled * scaled)


@lru_cache(maxsize=8)
def amplitude(kind: str, length: float, size: int) -> Floats:
    """Return the square root of the spectrum on the torus of an image with `size` pixels a side, over its side."""
    side = scipy.fft.next_fast_len(size + math.ceil(PADDING * length))
    lag = np.minimum(np.arange(side), side - np.arange(side)).astype(np.float64)
    spectrum = scipy.fft.fft2(autocorrelation(kind, length, np.hypot(lag[:, np.newaxis], lag))).real
    # Nothing but rounding is below 0 where the torus is wide enough.
    assert spectrum.min() > -1e-3 * spectrum.max(), "the torus is too small for this length"
    return np.asarray(np.sqrt(np.maximum(spectrum, 0)) / side)


def gaussian_pair(rng: np.random.Generator, kind: str, length: float, size: int) -> tuple[Floats, Floats]:
    """Return two independent Gaussian fields (size, size) of mean 0 and variance 1."""
    root = amplitude(kind, length, size)
    noise = rng.standard_normal((*root.shape, 2)).view(np.complex128)[..., 0]
    # Real and imaginary part of filtered complex noise are independent: two fields for one transform.
    field: NDArray[np.complex128] = scipy.fft.fft2(noise * root, overwrite_x=True)[:size, :size]
    return np.ascontiguousarray(field.real), np.ascontiguousarray(field.imag)


def mix(a: Floats, b: Floats, rho: float) -> Floats:
    """Return a field whose correlation with `a` is rho, from a field `b` that is independent of it."""
    return rho * a + math.sqrt(1 - rho * rho) * b


def membrane(field: Floats, width: float) -> Floats:
    """Return ``exp(-u^2 / (2 width^2))``: bright lines along the zero level of a Gaussian field."""
    return np.exp(field * field * (-0.5 / width**2))


def membrane_correlation(underlying: float, width: float) -> float:
    """Return the correlation of the membranes of two Gaussian fields of correlation `underlying`.

    With c = 1 / width^2, ``E[g g'] = 1 / sqrt((1 + c)^2 - (underlying c)^2)``, and ``E[g]^2 = 1 / (1 + c)``.
    """
    c = 1 / width**2
    mean_squared = 1 / (1 + c)

    def product(q: float) -> float:
        return 1 / math.sqrt((1 + c) ** 2 - (q * c) ** 2)

    return (product(underlying) - mean_squared) / (product(1.0) - mean_squared)


def membrane_underlying(rho: float, width: float) -> float:
    """Return the correlation of two Gaussian fields whose membranes have the correlation rho, 0 to 1."""
    c = 1 / width**2
    mean_squared = 1 / (1 + c)
    product = mean_squared + rho * (1 / math.sqrt(1 + 2 * c) - mean_squared)
    return math.sqrt((1 + c) ** 2 - 1 / product**2) / c


def lognormal(field: Floats, sigma: float) -> Floats:
    """Return ``exp(sigma u)`` of a Gaussian field: most of the variance in few bright places."""
    return np.exp(sigma * field)


def lognormal_underlying(rho: float, sigma: float) -> float:
    """Return the correlation of two Gaussian fields whose log-normal images have the correlation rho.

    The correlation of the images is ``(exp(sigma^2 q) - 1) / (exp(sigma^2) - 1)``.
    """
    return math.log1p(rho * math.expm1(sigma**2)) / sigma**2
