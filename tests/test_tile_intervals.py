"""The tile intervals: against their formulas in plain loops, what must not change them (or the effective ones)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from properties import given, st
from tiles_by_loops import FIELDS, Floats, assert_like, by_loops, from_cells, masks, moments_of, pair, smooth, tiles

from gpu_stackcorr import intervals
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.intervals import CellSums
from gpu_stackcorr.records import correlation_interval

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
