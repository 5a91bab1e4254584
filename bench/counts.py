"""Least traffic and arithmetic of the operations, by count: what the ratio of a time to the machine's limit rests on.

Bytes: each input read once, each result written once. A random field need not be in memory and is not counted where
it is not the result. Operations: additions and multiplications in floating point, a multiply-add as two, by the
method that DESIGN names (direct filters, products along one axis after the other); not what a loop needs to run.
"""

from __future__ import annotations

from collections.abc import Sequence

TRUNCATE = 4.0
"""Standard deviations at which Gaussians are cut off."""

POLES = {2: 1, 3: 1, 4: 2, 5: 2}
"""Poles of the recursive filter that makes spline coefficients, by order."""


def pair(pixels: int, *, integer: bool) -> int:
    """Moments of a slice with a reference: sums of y, y y and x y (1 + 2 + 2 a pixel); a shift (1) where floating."""
    return pixels * (5 if integer else 6)


def all_pairs(slices: int, pixels: int) -> int:
    """Sums of products of all pairs of slices: each of n (n + 1) / 2 pairs takes a multiply-add a pixel."""
    return slices * (slices + 1) * pixels


def gaussian(pixels: int, sigmas: Sequence[float]) -> int:
    """Smooth along an axis a sigma: radius r takes r sums of two taps, r + 1 products, r sums of these."""
    return pixels * sum(3 * int(TRUNCATE * sigma + 0.5) + 1 for sigma in sigmas if sigma > 0)


def spline(pixels: int, axes: int, order: int) -> int:
    """Spline coefficients: along each axis a gain, and for each pole a causal and an anticausal step of two each."""
    return pixels * axes * (1 + 4 * POLES[order])


def interpolation(pixels: int, axes: int, order: int) -> int:
    """Sample by `order`: along each axis floor, fraction and weights, then sums of order + 1 products, axis by axis.

    Weights: none at order 0; one subtraction at order 1; about order^2 above.
    """
    if order == 0:
        return pixels * axes  # to the nearest
    taps = order + 1
    sums = sum(taps**k for k in range(axes)) * (2 * taps - 1)
    weights = axes * (2 + (1 if order == 1 else order**2))
    prefilter = spline(pixels, axes, order) if order > 1 else 0
    return pixels * (sums + weights) + prefilter


def displacement(pixels: int, sigmas: Sequence[float]) -> int:
    """Displace along each axis of `sigmas`: noise onto [-1, 1) (2), smoothed, times alpha (1). Philox is not counted.

    Its ten rounds take two products of 64 bits with both halves and six further instructions, for eight float32.
    """
    return len(sigmas) * (3 * pixels + gaussian(pixels, sigmas))


def warp(pixels: int, axes: int, order: int) -> int:
    """Pull an image through a displacement: as `interpolation`; the position is added as an integer."""
    return interpolation(pixels, axes, order)


def elastic(pixels: int, sigmas: Sequence[float], order: int = 1) -> int:
    """Draw a displacement and pull an image through it."""
    return displacement(pixels, sigmas) + warp(pixels, len(sigmas), order)
