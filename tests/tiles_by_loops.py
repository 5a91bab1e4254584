"""Smooth images that are alike, masks, and the tile interval of a pair, also by its formulas in plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr import intervals
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.intervals import Uncertainty
from gpu_stackcorr.moments import Moments

Floats = NDArray[np.float64]
FIELDS = Uncertainty._fields


def smooth(rng: np.random.Generator, shape: tuple[int, int], radius: int) -> Floats:
    """Return noise averaged over squares: neighbouring pixels are alike up to 2 radius + 1."""
    width = 2 * radius + 1
    noise = rng.standard_normal((shape[0] + 2 * radius, shape[1] + 2 * radius))
    return np.lib.stride_tricks.sliding_window_view(noise, (width, width)).mean(axis=(2, 3))


def pair(seed: int, shape: tuple[int, int] = (64, 80), radius: int = 2, rho: float = 0.6) -> tuple[Floats, Floats]:
    """Return two smooth images that are alike."""
    rng = np.random.default_rng(seed)
    a, b = smooth(rng, shape, radius), smooth(rng, shape, radius)
    return a, rho * a + math.sqrt(1 - rho * rho) * b


def masks(shape: tuple[int, int]) -> dict[str, Any]:
    """Return masks: all pixels, a disc, half an image, scattered holes, few cells."""
    y, x = np.indices(shape)
    disc = np.hypot(y - shape[0] / 2, x - shape[1] / 2) < min(shape) * 0.45
    holes = np.random.default_rng(7).random(shape) > 0.3
    corner = (y < shape[0] * 0.4) & (x < shape[1] * 0.3)
    return {"none": None, "disc": disc, "half": x < shape[1] // 2, "holes": holes, "corner": corner}


def moments_of(x: Floats, y: Floats, mask: Any = None) -> Moments:
    """Return the moments of one pair with those of its cells."""
    edges = intervals.cell_edges(x.shape)
    return get_backend("numpy").moments([x], y[np.newaxis], reference_mask=mask, tiles=edges)[0]


def tiles(x: Floats, y: Floats, mask: Any = None) -> Uncertainty:
    """Return the uncertainty of one pair by tiles."""
    moments = moments_of(x, y, mask)
    r, cells = moments.correlation(), intervals.cell_sums(moments)
    found = intervals.tile_uncertainty(r, intervals.influence(r, cells), cells.pixels)
    return Uncertainty(*(values[0] for values in found))


def by_loops(x: Floats, y: Floats, mask: Any = None) -> Uncertainty:
    """Return the same from the pixels, by the formulas of the method written out one cell and one lag at a time."""
    valid = np.ones(x.shape, bool) if mask is None else mask
    n = int(valid.sum())
    u, v = ((image - image[valid].mean()) / image[valid].std() for image in (x, y))
    r = (u * v)[valid].sum() / n
    psi = u * v - r / 2 * (u * u + v * v)
    grid = 16
    rows, columns = ([round(size * i / grid) for i in range(grid + 1)] for size in x.shape)
    t, count = np.zeros((grid, grid)), np.zeros((grid, grid))
    for i in range(grid):
        for j in range(grid):
            box = np.s_[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            t[i, j], count[i, j] = psi[box][valid[box]].sum(), valid[box].sum()
    return from_cells(r, t, count)


def from_cells(r: float, t: Floats, count: Floats) -> Uncertainty:
    """Return steps 3 to 7 of the method."""
    grid, n = 16, count.sum()
    c: dict[tuple[int, int], float] = {}
    k: dict[tuple[int, int], float] = {}
    for dy in range(1 - grid, grid):
        for dx in range(1 - grid, grid):
            here = np.s_[max(0, -dy) : grid - max(0, dy), max(0, -dx) : grid - max(0, dx)]
            there = np.s_[max(0, dy) : grid + min(0, dy), max(0, dx) : grid + min(0, dx)]
            c[dy, dx] = float((t[here] * t[there]).sum())
            k[dy, dx] = float((count[here] * count[there]).sum())

    def ring(index: int) -> float:
        lags = [lag for lag in c if round(math.hypot(*lag)) == index]
        return sum(c[lag] for lag in lags) / sum(k[lag] for lag in lags)

    window = next((m for m in (1, 2, 3, 4) if ring(m) / ring(0) < 0.05), 4)
    saturated = ring(4) / ring(0) >= 0.05 and window == 4
    taper = {lag: min(max(2 - math.hypot(*lag) / window, 0.0), 1.0) for lag in c}
    share = sum(taper[lag] * k[lag] for lag in c) / n**2
    variance = max(sum(taper[lag] * c[lag] for lag in c) / (1 - share), c[0, 0] / 2) / n**2
    df = n**2 / (k[0, 0] * sum(weight**2 for weight in taper.values()))
    standard_error = math.sqrt(variance) / (1 - r * r)
    return Uncertainty(*map(np.array, (standard_error, df, 3 + 1 / standard_error**2, window, saturated)))


def assert_like(found: Uncertainty, expected: Uncertainty, rtol: float = 1e-10) -> None:
    """Compare every field."""
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, err_msg=name)
