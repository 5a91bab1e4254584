"""lag_correlation: against its definition pixel by pixel, masks, stacks on disk, coverage on simulated fields."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from test_matrices import in_blocks, stack_of

from bench.lag_coverage import Kind, simulate
from gpu_stackcorr import image_correlation, lags, slice_pairs
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError
from gpu_stackcorr.intervals import cell_edges, effective_of_means, lag_power, tile_uncertainty
from gpu_stackcorr.lags import lag_correlation
from gpu_stackcorr.matrices import correlation_matrix


def by_definition(stack, max_lag, mask=None):
    """Return means, standard errors and degrees of freedom from the influence of every pixel, pair by pair."""
    mask = np.ones(stack.shape[1:], bool) if mask is None else mask
    values = stack.astype(np.float64)
    valid = values[:, mask]
    z = np.where(mask, values - valid.mean(axis=1)[:, None, None], 0) / valid.std(axis=1)[:, None, None]
    y, x = cell_edges(stack.shape[1:])

    def cells(image):
        return np.array([[image[a:b, c:d].sum() for c, d in pairwise(x)] for a, b in pairwise(y)])

    pixels = cells(mask.astype(float))
    found = []
    for d in range(max_lag + 1):
        pairs = [(i, i + d) for i in range(len(stack) - d) if np.isfinite(z[i]).all() and np.isfinite(z[i + d]).all()]
        r = [(z[i] * z[j]).sum() / mask.sum() for i, j in pairs]
        psi = [z[i] * z[j] - q / 2 * (z[i] ** 2 + z[j] ** 2) for q, (i, j) in zip(r, pairs, strict=True)]
        of_mean = tile_uncertainty(np.mean(r), cells(np.mean(psi, axis=0)), pixels)
        found.append((np.mean(r), of_mean.standard_error, of_mean.df, of_mean.n_eff, of_mean.window, len(pairs)))
    return tuple(map(np.array, zip(*found, strict=True)))


def assert_by_definition(result, stack, mask=None):
    r, standard_error, df, n_eff, window, n_pairs = by_definition(stack, result.max_lag, mask)
    np.testing.assert_allclose(result.statistic, r, atol=1e-13)
    assert result.statistic[0] == 1
    assert result.standard_error[0] == 0
    np.testing.assert_allclose(result.standard_error[1:], standard_error[1:], rtol=1e-8)
    np.testing.assert_allclose(result.df[1:], df[1:], rtol=1e-8)
    np.testing.assert_allclose(result.n_eff[1:], n_eff[1:], rtol=1e-8)
    np.testing.assert_array_equal(result.window[1:], window[1:])
    np.testing.assert_array_equal(result.n_pairs, n_pairs)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("masked", [False, True])
def test_is_what_it_is_defined_as(dtype, masked):
    stack = stack_of(dtype, (9, 37, 50))
    mask = None
    if masked:
        mask = np.hypot(*np.ogrid[-18:19, -25:25]) < 18
        if dtype == "f4":
            stack[:, ~mask] = np.nan
    result = lag_correlation(stack, 4, mask=mask)
    assert_by_definition(result, np.nan_to_num(stack), mask)
    assert result.method == "tiles"
    assert result.distance.tolist() == [0, 1, 2, 3, 4]
    assert len(result) == 5


def test_one_pair_has_the_interval_of_image_correlation():
    stack = stack_of("u1", (2, 48, 48))
    result = lag_correlation(stack, 1)
    pair = image_correlation(stack[0], stack[1])
    assert result.n_pairs.tolist() == [2, 1]
    assert result.statistic[1] == pair.statistic
    assert result.standard_error[1] == pytest.approx(pair.standard_error, rel=1e-9)
    low, high = result.confidence_interval(0.9)
    assert (low[1], high[1]) == pytest.approx(tuple(pair.confidence_interval(0.9)), rel=1e-9)
    assert (low[0], high[0]) == (1, 1)


def test_means_are_those_of_the_matrix():
    stack = stack_of("u1", (11, 20, 21))
    matrix = correlation_matrix(stack).statistic
    for ci in ("tiles", "effective", "fisher", None):
        means = [math.fsum(np.diagonal(matrix, d)) / (11 - d) for d in range(6)]
        assert lag_correlation(stack, 5, ci=ci).statistic.tolist() == means


@pytest.mark.parametrize("dtype", ["u1", "f8"])
@pytest.mark.parametrize("length", [5, 9])
def test_blocks_change_nothing(monkeypatch, dtype, length):
    stack = stack_of(dtype, (19, 17, 18))
    expected = lag_correlation(stack, 9)
    lazy = in_blocks(monkeypatch, stack, length)
    found = lag_correlation(lazy, 9)
    assert lazy.most == length
    np.testing.assert_allclose(found.statistic, expected.statistic, atol=0 if dtype == "u1" else 1e-14)
    np.testing.assert_allclose(found.standard_error[1:], expected.standard_error[1:], rtol=1e-8)


def test_a_narrow_band_in_memory(monkeypatch):
    monkeypatch.setattr(slice_pairs, "SHORTEST_BLOCK", 4)
    stack = stack_of("u1", (21, 16, 16))
    assert_by_definition(lag_correlation(stack, 3), stack)


@pytest.mark.parametrize("length", [4, 7])
@pytest.mark.parametrize("masked", [False, True])
def test_masks_and_irregular_cells_in_blocks(monkeypatch, masked, length):
    """Cells of 2 or 3 pixels a side, slices seen first as partners of those below, some that have no r."""
    stack = stack_of("f4", (30, 37, 45))
    stack[8], stack[17, 20, 20] = 2.5, np.nan
    mask = np.hypot(*np.ogrid[-18:19, -22:23]) < 18 if masked else None
    lazy = in_blocks(monkeypatch, stack, length)
    with pytest.warns(ConstantSliceWarning, match="8;"):
        result = lag_correlation(lazy, 6, mask=mask, nan_policy="propagate")
    with np.errstate(invalid="ignore"):
        assert_by_definition(result, stack, mask)
    assert lazy.most == length
    assert lazy.reads.max() == (1 if length == 7 else 2)


def test_threads_over_a_cell_change_nothing(monkeypatch):
    stack = stack_of("f4", (9, 64, 80))
    one = lag_correlation(stack, 4)
    monkeypatch.setattr(lags, "THREADED_PRODUCTS", 0)
    several = lag_correlation(stack, 4)
    np.testing.assert_array_equal(several.statistic, one.statistic)
    np.testing.assert_array_equal(several.standard_error, one.standard_error)


def test_pairs_with_constant_slices_are_left_out():
    stack = stack_of("u1", (8, 20, 24))
    stack[2] = 9
    with pytest.warns(ConstantSliceWarning, match="constant slices: 2;"):
        result = lag_correlation(stack, 3)
    assert result.n_pairs.tolist() == [7, 5, 4, 4]
    with np.errstate(invalid="ignore"):
        assert_by_definition(result, stack)


def test_nan():
    stack = stack_of("f8", (8, 20, 24))
    stack[5, 3, 3] = np.nan
    with pytest.raises(ParameterError, match=r"^slice 5 of the stack has 1 NaN pixels"):
        lag_correlation(stack, 3)
    result = lag_correlation(stack, 3, nan_policy="propagate")
    assert result.n_pairs.tolist() == [7, 5, 4, 4]
    assert_by_definition(result, stack)


def test_no_pair_at_all():
    stack = stack_of("u1", (4, 20, 24))
    stack[[1, 3]] = 5
    with pytest.warns(ConstantSliceWarning, match="1, 3;"):
        result = lag_correlation(stack, 2)
    assert result.n_pairs.tolist() == [2, 0, 1]
    assert np.isnan(result.statistic).tolist() == [False, True, False]
    low, high = result.confidence_interval()
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize("ci", ["tiles", "effective"])
def test_small_images_have_no_interval(ci):
    result = lag_correlation(stack_of("u1", (6, 15, 40)), 2, ci=ci)
    low, high = result.confidence_interval()
    assert low.tolist() == [-1, -1, -1]
    assert high.tolist() == [1, 1, 1]
    assert result.saturated.all()
    assert np.isfinite(result.statistic).all()


def test_fisher_and_none():
    stack = stack_of("u1", (6, 20, 24))
    mask = np.zeros((20, 24), bool)
    mask[:10] = True
    result = lag_correlation(stack, 2, ci="fisher", mask=mask)
    np.testing.assert_allclose(result.standard_error, 1 / math.sqrt(240 - 3))
    assert result.method == "fisher"
    result = lag_correlation(stack, 2, ci=None)
    assert result.method == "none"
    assert np.isnan(result.confidence_interval().low).all()


def pearson_and_filon(r, i, j, k, m):
    """Return the covariance of the correlations of (i, j) and (k, m) of Gaussian slices with the correlations r.

    As Olkin and Siotani (1976) have it, for independent pixels and times their number.
    """
    half = r[i, j] * r[k, m] / 2 * (r[i, k] ** 2 + r[i, m] ** 2 + r[j, k] ** 2 + r[j, m] ** 2)
    of_i = r[i, j] * (r[i, k] * r[i, m] + r[j, k] * r[j, m])
    of_k = r[k, m] * (r[i, k] * r[j, k] + r[i, m] * r[j, m])
    return half + r[i, k] * r[j, m] + r[i, m] * r[j, k] - of_i - of_k


@pytest.mark.parametrize("missing", [[], [2, 3, 9]])
def test_effective_adds_up_the_covariances_of_all_pairs_of_pairs(missing):
    n, pixels = 12, 400
    curve = np.exp(-np.minimum(np.arange(n), 5) / 1.5)
    vanished = np.argmax(curve < 0.1)
    tapered = curve * np.clip(2 - np.arange(n) / vanished, 0, 1)
    r = tapered[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))]
    known = np.array([[i + d < n and i not in missing and i + d not in missing for d in range(6)] for i in range(n)])
    found = effective_of_means(curve[:6], known, lag_power(np.eye(20)), np.ones((20, 20)))
    alone = effective_of_means(curve[:6], known[:1] | ~known[:1], lag_power(np.eye(20)), np.ones((20, 20)))
    share = 1 / (alone.n_eff[1] - 1)  # what one pair has, whatever its r
    for d in range(1, 6):
        pairs = [(i, i + d) for i in np.flatnonzero(known[:, d])]
        total = sum(pearson_and_filon(r, *a, *b) for a in pairs for b in pairs)
        factor = total / len(pairs) ** 2 / (1 - tapered[d] ** 2) ** 2
        own = (1 - curve[d] ** 2) ** 2 / (1 - tapered[d] ** 2) ** 2
        assert found.n_eff[d] == pytest.approx(min(1 + own / (share * factor), pixels * len(pairs)), rel=1e-9)
    assert found.standard_error[0] == 0
    assert not found.saturated.any()


@pytest.mark.parametrize("masked", [False, True])
def test_effective_of_one_pair_is_that_of_image_correlation(masked):
    """Up to the two slices' autocorrelations, whose mean is taken here."""
    stack = Kind("exponential", 3, 2).stack((2, 96, 80), np.random.default_rng(2))
    mask = np.hypot(*np.ogrid[-48:48, -40:40]) < 38 if masked else None
    result = lag_correlation(stack, 1, ci="effective", mask=mask)
    pair = image_correlation(stack[0], stack[1], ci="effective", mask=mask)
    assert result.statistic[1] == pytest.approx(pair.statistic, abs=1e-14)
    assert result.n_eff[1] == pytest.approx(pair.n_eff, rel=0.05)
    assert (result.method, result.window.tolist()) == ("effective", [0, 0])
    assert np.isinf(result.df).all()
    assert result.saturated.tolist() == [False, True]  # nothing is known of pairs that would share slices


def test_effective_of_unrelated_pixels_and_slices_is_their_number():
    stack = np.random.default_rng(0).normal(size=(40, 32, 32))
    result = lag_correlation(stack, 3, ci="effective")
    np.testing.assert_allclose(result.n_eff[1:], 32 * 32 * result.n_pairs[1:], rtol=0.1)
    assert not result.saturated.any()


def test_effective_leaves_out_what_has_no_r(monkeypatch):
    stack = stack_of("f8", (12, 20, 24))
    stack[5, 3, 3] = np.nan
    result = lag_correlation(stack, 3, ci="effective", nan_policy="propagate")
    assert result.n_pairs.tolist() == [11, 9, 8, 7]
    assert np.isfinite(result.standard_error).all()
    blocks = lag_correlation(in_blocks(monkeypatch, stack, 4), 3, ci="effective", nan_policy="propagate")
    np.testing.assert_allclose(blocks.n_eff[1:], result.n_eff[1:], rtol=1e-9)
    stack = np.ones((4, 20, 24), np.uint8)
    with pytest.warns(ConstantSliceWarning):
        result = lag_correlation(stack, 2, ci="effective")
    assert np.isnan(result.confidence_interval().low).all()


def test_effective_says_where_correlations_do_not_vanish():
    stack = Kind("exponential", 9, 1).stack((12, 64, 64), np.random.default_rng(1))
    result = lag_correlation(stack, 4, ci="effective")
    assert result.saturated.tolist() == [False, True, True, True, True]
    result = lag_correlation(stack_of("u1", (9, 20, 20))[[0, 0, 0, 0, 0, 0, 0, 0, 0]], 2, ci="effective")
    assert result.statistic.tolist() == [1, 1, 1]
    assert result.standard_error.tolist() == [0, 0, 0]


def test_a_field_of_large_structures_is_flagged():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:64, :64] / 64
    a, b = rng.normal(size=(2, 6, 1, 1))
    result = lag_correlation(a * y + b * x + 0.01 * rng.normal(size=(6, 64, 64)), 2)
    assert result.saturated[1:].all()
    assert not result.saturated[0]


@pytest.mark.parametrize("max_lag", [0, -1, 4, 1.0, True, None])
def test_lags_that_are_refused(max_lag):
    with pytest.raises(ParameterError, match=r"^max_lag = .*: allowed are 1 to 3, half the number of slices \(7\)$"):
        lag_correlation(stack_of("u1", (7, 5, 6)), max_lag)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ci": ["tiles"]}, r"^ci = \['tiles'\]: allowed are 'tiles', 'effective', 'fisher', None$"),
        ({"ci": "bootstrap"}, r"^ci = 'bootstrap': allowed are 'tiles', 'effective', 'fisher', None$"),
        ({"nan_policy": "omit"}, r"^nan_policy = 'omit'"),
        ({"mask": np.zeros((5, 6), bool)}, r"^mask has .* 0 pixels"),
    ],
)
def test_what_is_refused(parameters, message):
    with pytest.raises(ParameterError, match=message):
        lag_correlation(stack_of("u1", (4, 5, 6)), 2, **parameters)


def test_one_slice_is_refused():
    with pytest.raises(ParameterError, match=r"^stack has 1 slice"):
        lag_correlation(stack_of("u1", (1, 5, 6)), 1)


def test_table_and_plot():
    figure = pytest.importorskip("matplotlib.figure").Figure()

    class Volume:
        shape, dtype, voxel_size = (8, 20, 24), np.dtype("u1"), (40.0, 4.0, 4.0)

        def __getitem__(self, key):
            return stack_of("u1", self.shape)[key]

    result = lag_correlation(Volume(), 3)
    assert result.spacing == 40
    columns = result.columns(0.8)
    assert columns["distance_nm"] == [0, 40, 80, 120]
    assert columns["pairs"] == [8, 7, 6, 5]
    np.testing.assert_array_equal(columns["low"], result.confidence_interval(0.8).low)
    ax = result.plot(ax=figure.add_subplot(), confidence_level=0.8)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), result.statistic)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["80 % band", "mean of all pairs"]
    assert ax.child_axes[0].get_xlabel() == "Distance in nm"
    plain = lag_correlation(stack_of("u1", (8, 20, 24)), 3)
    assert plain.columns()["distance_nm"] == [None] * 4
    assert not plain.plot(ax=figure.add_subplot()).child_axes


@pytest.mark.parametrize("ci", ["tiles", "effective"])
def test_intervals_hold_on_simulated_stacks(ci):
    """A small version of bench/lag_coverage.py: 40 stacks, of which 33 and fewer would be 1 in 1000 at 95 %."""
    found = simulate(Kind("exponential", 3, 1.5), 40, seed=5, shape=(24, 64, 64), max_lag=12, ci=ci)
    assert found["ci"] == ci
    assert found["depth_covered"] >= 34 / 40
    assert found["r_covered_mean"] >= 0.9
    assert found["separation_too_short"] <= 3 / 40
    assert found["separation_unreached"] < 0.5
