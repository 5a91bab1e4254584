"""The tile and effective intervals: against their formulas in plain loops, and what must not change them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from properties import given, st

from gpu_stackcorr import intervals
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.intervals import CellSums, Uncertainty
from gpu_stackcorr.moments import Moments
from gpu_stackcorr.records import correlation_interval

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


# Cells by hand.


def test_edges_round_to_even_and_cover_the_image() -> None:
    y, x = intervals.cell_edges((16, 24))
    assert y.tolist() == list(range(17))
    assert x.tolist() == [0, 2, 3, 4, 6, 8, 9, 10, 12, 14, 15, 16, 18, 20, 21, 22, 24]


@pytest.mark.parametrize("shape", [(16, 16), (17, 250), (768, 1024)])
def test_cells_are_mirrored_with_the_image(shape: tuple[int, int]) -> None:
    for edges, n in zip(intervals.cell_edges(shape), shape, strict=True):
        assert (edges[0], edges[-1], len(edges)) == (0, n, 17)
        widths = np.diff(edges)
        assert widths.min() >= 1
        assert widths.max() - widths.min() <= 1
        mirrored = n - edges[::-1]
        assert np.abs(mirrored - edges).max() <= 1  # halves round to even, not always the same way from both ends


def test_two_cells_by_hand() -> None:
    # Influence +1 in one corner cell, -1 in the opposite one, a pixel a cell: C(0) = 2, C(+-(15, 15)) = -1. Ring 1 is
    # empty, hence m = 1; lambda is 1 up to |h| = 1, 2 - sqrt 2 on the diagonals. K(h) = (16 - |dy|)(16 - |dx|).
    t = np.zeros((16, 16))
    t[0, 0], t[-1, -1] = 1, -1
    diagonal = 2 - math.sqrt(2)
    share = (256 + 4 * 240 + 4 * diagonal * 225) / 256**2
    variance = 2 / (1 - share) / 256**2
    found = intervals.tile_uncertainty(np.array(0.5), t, np.ones((16, 16)))
    assert found.window == 1
    assert not found.saturated
    assert found.standard_error == pytest.approx(math.sqrt(variance) / 0.75, rel=1e-12)
    assert found.df == pytest.approx(256**2 / (256 * (1 + 4 + 4 * diagonal**2)), rel=1e-12)
    assert found.n_eff == pytest.approx(3 + 0.75**2 / variance, rel=1e-12)


def test_alternating_cells_are_held_at_half_the_variance_of_independent_ones() -> None:
    # A chessboard: C(h) = +-K(h), so that the sum over the window is negative and the floor C(0) / 2 holds.
    t = np.indices((16, 16)).sum(axis=0) % 2 * 2.0 - 1
    found = intervals.tile_uncertainty(np.array(0.0), t, np.ones((16, 16)))
    assert found.window == 1
    assert found.standard_error == pytest.approx(math.sqrt(128) / 256, rel=1e-12)


@pytest.mark.parametrize(("period", "window", "saturated"), [(2, 1, False), (8, 2, False), (32, 4, True)])
def test_the_window_is_the_first_ring_without_covariance(period: int, window: int, saturated: bool) -> None:
    wave = np.cos(2 * np.pi * np.arange(16) / period)
    t = wave[:, np.newaxis] * wave
    count = np.full((16, 16), 9.0)
    found = intervals.tile_uncertainty(np.array(0.2), t, count)
    assert (int(found.window), bool(found.saturated)) == (window, saturated)
    assert_like(found, from_cells(0.2, t, count))


# Sums of cells, from moments and from pixels.


def masks(shape: tuple[int, int]) -> dict[str, Any]:
    """Return masks: all pixels, a disc, half an image, scattered holes, few cells."""
    y, x = np.indices(shape)
    disc = np.hypot(y - shape[0] / 2, x - shape[1] / 2) < min(shape) * 0.45
    holes = np.random.default_rng(7).random(shape) > 0.3
    corner = (y < shape[0] * 0.4) & (x < shape[1] * 0.3)
    return {"none": None, "disc": disc, "half": x < shape[1] // 2, "holes": holes, "corner": corner}


@pytest.mark.parametrize("masked", list(masks((8, 8))))
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (40.0, 120.0), (0.01, 300.0)])
def test_cell_sums_are_those_of_the_pixels(masked: str, scale: float, offset: float) -> None:
    x, y = pair(1, (61, 83))
    x, y = x * scale + offset, y * 3 - offset
    mask = masks(x.shape)[masked]
    valid = np.ones(x.shape, bool) if mask is None else mask
    found = intervals.cell_sums(moments_of(x, y, mask))
    u, v = (np.where(valid, (image - image[valid].mean()) / image[valid].std(), 0) for image in (x, y))
    edges = [e[:-1] for e in intervals.cell_edges(x.shape)]

    def summed(image: Floats) -> Floats:
        return np.add.reduceat(np.add.reduceat(image, edges[0], axis=0), edges[1], axis=1)

    np.testing.assert_array_equal(found.pixels[0], summed(valid.astype(np.float64)))
    # A mean of float64 is known to 1e-16 of itself: what that is beside the standard deviation is lost, twice a pixel.
    digits = 1e-12 + 4e-16 * offset / x[valid].std()
    for name, image in (("uu", u * u), ("vv", v * v), ("uv", u * v)):
        error = np.abs(getattr(found, name)[0] - summed(image)).max()
        assert error <= digits * summed(u * u + v * v).max(), name


def test_sums_of_integer_images_are_those_of_the_pixels() -> None:
    x, y = (np.rint(image * 40 + 120).astype(np.uint8) for image in pair(2, (64, 64)))
    exact, plain = (intervals.cell_sums(m) for m in (moments_of(x, y), moments_of(x.astype(float), y.astype(float))))
    for name in CellSums._fields:
        np.testing.assert_allclose(getattr(exact, name), getattr(plain, name), rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("masked", list(masks((8, 8))))
def test_influences_add_up_to_nothing(masked: str) -> None:
    x, y = pair(3)
    moments = moments_of(x, y, masks(x.shape)[masked])
    influences = intervals.influence(moments.correlation(), intervals.cell_sums(moments))
    assert abs(influences.sum()) < 1e-12 * np.abs(influences).sum()
    assert np.abs(influences).sum() > 1


def test_an_image_compared_with_itself_has_no_influence() -> None:
    x, _ = pair(4)
    for y, r in ((x, 1.0), (-x, -1.0), (7 - 3 * x, -1.0)):
        moments = moments_of(x, y)
        found = tiles(x, y)
        assert moments.correlation()[0] == r
        assert (found.standard_error, found.saturated) == (0, False)
        assert found.n_eff == x.size
        low, high = correlation_interval(r, found.standard_error, found.df, 0.95)
        assert (low, high) == (r, r)


# Against the formulas in loops.


@pytest.mark.parametrize("masked", list(masks((8, 8))))
@pytest.mark.parametrize(("shape", "radius", "rho"), [((64, 80), 2, 0.6), ((97, 61), 6, -0.3), ((160, 128), 1, 0.95)])
def test_tiles_are_those_of_the_formulas(masked: str, shape: tuple[int, int], radius: int, rho: float) -> None:
    x, y = pair(5, shape, radius, rho)
    mask = masks(shape)[masked]
    assert_like(tiles(x, y, mask), by_loops(x, y, mask))


def test_the_smallest_image_has_a_pixel_a_cell() -> None:
    x, y = pair(6, (16, 16), 0)
    assert_like(tiles(x, y), by_loops(x, y))


def test_cells_of_one_value_each_saturate() -> None:
    x, y = pair(7, (64, 64), 30)
    found = tiles(x, y)
    assert (found.window, found.saturated) == (4, True)
    assert_like(found, by_loops(x, y))


@pytest.mark.parametrize("masked", list(masks((8, 8))))
def test_pairs_together_are_pairs_alone(masked: str) -> None:
    x, _ = pair(8)
    others = np.stack([pair(9 + n, rho=0.1 * n)[1] + 0.5 * x for n in range(5)] + [x])
    mask = masks(x.shape)[masked]
    moments = get_backend("numpy").moments(
        [x, x[::-1]], others, reference_mask=mask, tiles=intervals.cell_edges(x.shape)
    )[0]
    r, cells = moments.correlation(), intervals.cell_sums(moments)
    influences = intervals.influence(r, cells)
    together = intervals.tile_uncertainty(r, influences, cells.pixels)
    deeper = intervals.tile_uncertainty(*(np.reshape(a, (2, 3, *a.shape[1:])) for a in (r, influences, cells.pixels)))
    for n, y in enumerate(others):
        alone = tiles(x, y, mask)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(together, name)[n], getattr(alone, name), err_msg=name)
            np.testing.assert_array_equal(getattr(deeper, name)[divmod(n, 3)], getattr(alone, name), err_msg=name)


def test_dtypes_and_shapes() -> None:
    x, y = pair(8)
    moments = moments_of(x, y)
    r, cells = moments.correlation(), intervals.cell_sums(moments)
    found = intervals.tile_uncertainty(r, intervals.influence(r, cells), cells.pixels)
    assert [getattr(found, name).shape for name in FIELDS] == [(1,)] * 5
    assert [getattr(found, name).dtype for name in FIELDS] == [np.float64] * 3 + [np.int64, np.bool_]
    assert [a.shape for a in cells] == [(1, 16, 16)] * 4


# What must not change it.


@given(st.integers(0, 2**32), st.floats(-1, 1), st.integers(0, 3))
def test_flips_and_transposition_of_the_cells_change_nothing(seed: int, r: float, radius: int) -> None:
    rng = np.random.default_rng(seed)
    t, count = smooth(rng, (16, 16), radius), rng.integers(0, 100, (16, 16)).astype(np.float64)
    changes = (np.asarray, np.flipud, np.fliplr, np.transpose, np.rot90)
    found = intervals.tile_uncertainty(
        np.full(len(changes), r), *(np.stack([change(a) for change in changes]) for a in (t, count))
    )
    for name in FIELDS:
        values = getattr(found, name)
        np.testing.assert_allclose(values, np.full(len(changes), values[0]), rtol=1e-9, err_msg=name)


@given(st.integers(0, 2**32), st.floats(1e-6, 1e6))
def test_the_scale_of_the_counts_and_influences_matters_as_it_should(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    t, count = rng.standard_normal((16, 16)), rng.integers(1, 100, (16, 16)).astype(np.float64)
    once, scaled = (intervals.tile_uncertainty(np.array(0.3), t * by, count) for by in (1.0, scale))
    assert float(scaled.standard_error) == pytest.approx(scale * float(once.standard_error), rel=1e-9)
    assert float(scaled.df) == pytest.approx(float(once.df), rel=1e-12)


@pytest.mark.parametrize("masked", list(masks((8, 8))))
@pytest.mark.parametrize("change", [np.flipud, np.fliplr, np.transpose, np.rot90])
def test_flips_and_transposition_of_the_images_change_nothing(masked: str, change: Any) -> None:
    x, y = pair(19, (48, 64))  # cells of one size: a mirrored image has mirrored cells
    mask = masks(x.shape)[masked]
    moved = None if mask is None else change(mask)
    assert_like(tiles(change(x), change(y), moved), tiles(x, y, mask), 1e-9)


@pytest.mark.parametrize(
    ("scale", "offset", "rtol"),
    [(1e-3, 0.0, 1e-10), (1e3, 1e3, 1e-10), (-1.0, 0.0, 1e-10), (-40.0, 120.0, 1e-10), (1.0, 1e6, 1e-7)],
)
def test_grey_values_may_be_scaled_and_shifted(scale: float, offset: float, rtol: float) -> None:
    x, y = pair(20)
    assert_like(tiles(scale * x + offset, y), tiles(x, y), rtol)
    assert_like(tiles(x, scale * y + offset), tiles(x, y), rtol)
    np.testing.assert_allclose(
        intervals.effective(scale * x + offset, y).n_eff, intervals.effective(x, y).n_eff, rtol=rtol
    )


def test_the_order_of_the_images_changes_nothing() -> None:
    x, y = pair(21)
    assert_like(tiles(y, x), tiles(x, y))
    assert float(intervals.effective(y, x).n_eff) == pytest.approx(float(intervals.effective(x, y).n_eff), rel=1e-12)


def test_pixels_outside_the_mask_change_nothing() -> None:
    x, y = pair(10)
    mask = masks(x.shape)["disc"]
    expected = tiles(x, y, mask)
    assert_like(tiles(np.where(mask, x, 1e6), np.where(mask, y, -1e6), mask), expected, 0)


# What it says.


def test_white_noise_has_nearly_as_many_independent_pixels_as_pixels() -> None:
    rng = np.random.default_rng(11)
    shares = []
    for _ in range(30):
        x, y = rng.standard_normal((2, 96, 96))
        shares.append(tiles(x, y).n_eff / x.size)
    # The variance from 256 cells, less what the taper lets in, has a relative standard error of about 0.2 an image.
    assert 0.85 < np.median(shares) < 1.15


def test_squares_of_equal_pixels_count_once() -> None:
    rng = np.random.default_rng(12)
    shares = []
    for _ in range(30):
        x, y = rng.standard_normal((2, 64, 64))
        large_x, large_y = (np.kron(image, np.ones((3, 3))) for image in (x, y))
        shares.append(tiles(large_x, large_y).n_eff / x.size)
        assert_like(tiles(large_x, large_y), tiles(x, y), 1e-9)  # 16 cells of 4 squares of 3 pixels
    assert 0.85 < np.median(shares) < 1.15


def test_the_interval_is_students() -> None:
    x, y = pair(13)
    found = tiles(x, y)
    r = float(moments_of(x, y).correlation()[0])
    low, high = correlation_interval(r, found.standard_error, found.df, 0.95)
    from scipy.stats import t

    half = t.ppf(0.975, float(found.df)) * float(found.standard_error)
    assert (low, high) == pytest.approx((math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)), rel=1e-9)


# The effective number of pixels.


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
