"""The effective number of pixels: against a sum over all lags, for noise and squares, and under masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tiles_by_loops import Floats, masks, pair

from gpu_stackcorr import intervals
from gpu_stackcorr.records import correlation_interval


def effective_by_loops(x: Floats, y: Floats, mask: Any = None) -> float:
    """Return n_eff by a sum over all lags, each lag's products added pixel pair by pixel pair."""
    valid = np.ones(x.shape, bool) if mask is None else mask
    lags = [(dy, dx) for dy in range(1 - x.shape[0], x.shape[0]) for dx in range(1 - x.shape[1], x.shape[1])]
    pixels = [tuple(p) for p in np.argwhere(valid)]
    inside = set(pixels)
    products = []
    for image in (x, y):
        centred = image - image[valid].mean()
        raw: dict[tuple[int, int], float] = dict.fromkeys(lags, 0.0)
        pairs: dict[tuple[int, int], int] = dict.fromkeys(lags, 0)
        for dy, dx in lags:
            for i, j in pixels:
                if (i + dy, j + dx) in inside:
                    raw[dy, dx] += centred[i, j] * centred[i + dy, j + dx]
                    pairs[dy, dx] += 1
        rho = {lag: raw[lag] / max(pairs[lag], 1) / (raw[0, 0] / pairs[0, 0]) for lag in lags}
        radius = 1
        for k in range(1, 2 * max(x.shape)):
            ring = [lag for lag in lags if round(math.hypot(*lag)) == k]
            if sum(rho[lag] * pairs[lag] for lag in ring) / max(sum(pairs[lag] for lag in ring), 1) < 0.1:
                radius = k
                break
        products.append({lag: rho[lag] * min(max(2 - math.hypot(*lag) / radius, 0.0), 1.0) for lag in lags})
    n = len(pixels)
    total = sum(pairs[lag] * products[0][lag] * products[1][lag] for lag in lags)
    return min(max(1 + n * n / total, 1.0), n)


@pytest.mark.parametrize("masked", ["none", "disc", "holes"])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_effective_is_the_sum_over_lags(masked: str, radius: int) -> None:
    x, y = pair(14, (16, 18), radius)
    mask = masks(x.shape)[masked]
    found = intervals.effective(x, y, mask)
    expected = effective_by_loops(x, y, mask)
    assert float(found.n_eff) == pytest.approx(expected, rel=1e-10)
    assert float(found.standard_error) == pytest.approx(1 / math.sqrt(expected - 3), rel=1e-10)
    assert math.isinf(float(found.df))
    assert (int(found.window), bool(found.saturated)) == (0, False)


def test_effective_of_white_noise_is_near_all_pixels() -> None:
    x, y = np.random.default_rng(15).standard_normal((2, 128, 96))
    found = intervals.effective(x, y)
    assert 0.9 * x.size < float(found.n_eff) <= x.size


def test_effective_of_equal_squares_is_near_their_number() -> None:
    # Squares of side 4 at fixed places: the autocorrelation is that of the square, and sum rho^2 = (sum of squares of
    # the triangle of base 8)^2 = 2.75^2, against 4^2 pixels a square: n_eff = N / 2.75^2.
    rng = np.random.default_rng(16)
    x, y = (np.kron(rng.standard_normal((64, 64)), np.ones((4, 4))) for _ in range(2))
    assert float(intervals.effective(x, y).n_eff) == pytest.approx(x.size / 2.75**2, rel=0.15)


@pytest.mark.parametrize("shape", [(15, 400), (400, 15)])
def test_effective_of_a_narrow_image_is_unknown(shape: tuple[int, int]) -> None:
    x, y = pair(17, shape)
    found = intervals.effective(x, y)
    assert tuple(correlation_interval(0.5, found.standard_error, found.df, 0.95)) == (-1, 1)


def test_effective_pixels_outside_the_mask_change_nothing() -> None:
    x, y = pair(18)
    mask = masks(x.shape)["disc"]
    expected = intervals.effective(x, y, mask).n_eff
    found = intervals.effective(np.where(mask, x, np.nan), np.where(mask, y, 1e9), mask).n_eff
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
