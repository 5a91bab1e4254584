"""correlation_matrix: against np.corrcoef and stack_correlation, bands, stacks on disk, what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr import image_correlation, slice_pairs, stack_correlation
from gpu_stackcorr.arrays import Stack
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError
from gpu_stackcorr.matrices import correlation_matrix
from gpu_stackcorr.slice_pairs import SlicePairs


def stack_of(dtype, shape=(7, 24, 29), seed=0):
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=shape), axis=0)
    return (120 * (walk - walk.min()) / np.ptp(walk)).astype(dtype)


class Lazy:
    """A stack on disk: counts how often each slice is read, and how many slices at once."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.reads = np.zeros(len(array), int)
        self.most = 0

    def __getitem__(self, key):
        self.reads[key] += 1
        self.most = max(self.most, len(self.array[key]))
        return self.array[key]


def in_blocks(monkeypatch, stack, length):
    """Make stacks on disk count as too large to be held, with blocks of so many slices."""
    monkeypatch.setattr(slice_pairs, "WHOLE_BYTES", 0)
    monkeypatch.setattr(slice_pairs, "BLOCK_BYTES", length * stack[0].nbytes)
    return Lazy(stack)


def test_by_hand():
    stack = np.array([[[0, 1, 2, 3]], [[3, 2, 1, 0]], [[1, 0, 0, 1]]], np.uint8)
    result = correlation_matrix(stack)
    np.testing.assert_array_equal(result.statistic, [[1, -1, 0], [-1, 1, 0], [0, 0, 1]])
    assert result.columns() == {
        "i": [0, 0, 0, 1, 1, 2],
        "j": [0, 1, 2, 1, 2, 2],
        "r": [1.0, -1.0, 0.0, 1.0, 0.0, 1.0],
    }
    assert len(result) == 3
    assert result.band == 2
    assert result.method == "tiles"
    assert result.backend
    assert result.constant == ()


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u8", "f4", "f8", ">f8"])
def test_is_corrcoef(dtype):
    stack = stack_of(dtype, (7, 24, 29)) if dtype != "?" else np.random.default_rng(0).random((7, 24, 29)) < 0.4
    found = correlation_matrix(stack).statistic
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.corrcoef(stack.reshape(7, -1).astype(float)), atol=1e-13)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1)


@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_integers_have_the_bits_of_stack_correlation(dtype):
    stack = stack_of(dtype)
    found = correlation_matrix(stack).statistic
    for row, result in zip(found, stack_correlation(stack, list(range(7)), ci=None), strict=True):
        np.testing.assert_array_equal(row, result.statistic)


@pytest.mark.parametrize("dtype", ["u1", "f8"])
@pytest.mark.parametrize("band", [1, 2, 5, 39, 60])
@pytest.mark.parametrize("length", [1, 3, 16])
def test_a_band_of_a_stack_on_disk(monkeypatch, dtype, band, length):
    stack = stack_of(dtype, (40, 6, 7))
    whole = np.corrcoef(stack.reshape(40, -1).astype(float))
    distance = np.abs(np.subtract.outer(np.arange(40), np.arange(40)))
    result = correlation_matrix(in_blocks(monkeypatch, stack, length), band=band)
    assert result.band == min(band, 39)
    np.testing.assert_allclose(result.statistic, np.where(distance <= band, whole, np.nan), atol=1e-13)
    assert result.values.shape == (40, result.band + 1)
    assert len(result.columns()["r"]) == np.count_nonzero(np.triu(distance <= band))
    if dtype == "u1":
        in_memory = correlation_matrix(stack, band=band)
        np.testing.assert_array_equal(in_memory.statistic, result.statistic)


def test_what_is_read_of_a_stack_on_disk(monkeypatch):
    stack = stack_of("u1", (100, 6, 7))
    fits = Lazy(stack)
    correlation_matrix(fits, band=3)
    assert fits.reads.tolist() == [1] * 100
    narrow = in_blocks(monkeypatch, stack, 10)
    correlation_matrix(narrow, band=10)
    assert narrow.reads.tolist() == [1] * 100
    assert narrow.most == 10
    wide = in_blocks(monkeypatch, stack, 10)
    correlation_matrix(wide)
    assert wide.most == 10
    assert wide.reads.max() <= 10


def test_blocks_hold_every_pair_once():
    for count, band in [(2, 1), (97, 1), (300, 7), (300, 120), (100, 99)]:
        pairs = SlicePairs(Stack(np.zeros((count, 1, 2), np.uint8)), band, None, "raise")
        found = []
        for a, b in pairs:
            rows, columns = pairs.wanted(a, b)
            assert np.unique(rows).tolist() == list(range(len(a.slices)))  # no slice without a partner
            assert np.unique(columns).tolist() == list(range(len(b.slices)))
            found += zip((a.start + rows).tolist(), (b.start + columns).tolist(), strict=True)
        assert sorted(found) == [(i, j) for i in range(count) for j in range(i, min(count, i + band + 1))]


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_mask(dtype):
    stack = stack_of(dtype, (5, 24, 29))
    mask = np.random.default_rng(1).random((24, 29)) < 0.5
    expected = correlation_matrix(stack[:, mask][:, np.newaxis]).statistic
    if dtype == "f4":
        stack[:, ~mask] = np.nan
    result = correlation_matrix(stack, mask=mask, ci="fisher")
    np.testing.assert_allclose(result.statistic, expected, atol=1e-14)
    assert result.pair(0, 1).n == mask.sum()


@pytest.mark.parametrize("ci", ["tiles", "effective", "fisher", None])
def test_a_pair_is_image_correlation(ci):
    stack = stack_of("u1", (4, 32, 33))
    result = correlation_matrix(stack[:, np.newaxis], band=1, ci=ci)
    pair = result.pair(3, 0)  # outside the band too
    np.testing.assert_equal(pair.columns(), image_correlation(stack[3], stack[0], ci=ci).columns())
    assert result.method == pair.method == (ci or "none")
    assert result.pair(1, 2).statistic == result.statistic[1, 2]


@pytest.mark.parametrize(("i", "j", "name"), [(-1, 0, "i"), (4, 0, "i"), (0, 4, "j")])
def test_a_pair_that_is_not_there(i, j, name):
    result = correlation_matrix(stack_of("u1", (4, 5, 6)))
    with pytest.raises(ParameterError, match=rf"^{name} = .*slices 0 to 3$"):
        result.pair(i, j)


def test_constant_slices_are_named_and_have_no_r():
    stack = stack_of("u1", (5, 8, 9))
    stack[1] = 7
    stack[4] = 0
    with pytest.warns(ConstantSliceWarning, match="constant slices: 1, 4; "):
        result = correlation_matrix(stack, band=2)
    assert result.constant == (1, 4)
    r = result.statistic
    assert np.isnan(r[[1, 4]]).all()
    assert np.isfinite(r[[0, 2, 3], [0, 2, 3]]).all()
    assert np.isfinite(r[0, 2])


def test_nan():
    stack = stack_of("f4", (5, 8, 9))
    stack[3, 2, 2:4] = np.nan
    with pytest.raises(ParameterError, match=r"^slice 3 of the stack has 2 NaN pixels: nan_policy='propagate'"):
        correlation_matrix(stack)
    result = correlation_matrix(stack, nan_policy="propagate", ci=None)
    assert np.isnan(result.statistic[3]).all()
    assert np.isnan(result.statistic).sum() == 9
    assert result.constant == ()
    assert np.isnan(result.pair(0, 3).statistic)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"band": 0}, r"^band = 0: allowed are whole numbers from 1"),
        ({"band": 1.5}, r"^band = 1\.5"),
        ({"band": True}, r"^band = True"),
        ({"ci": "bootstrap"}, r"^ci = 'bootstrap'"),
        ({"nan_policy": "omit"}, r"^nan_policy = 'omit': allowed are 'raise', 'propagate'"),
        ({"mask": np.ones((2, 2), bool)}, r"^mask has shape \(2, 2\)"),
        ({"mask": np.zeros((5, 6), bool)}, r"^mask has .* 0 pixels"),
        ({"mask": np.ones((5, 6))}, r"^mask has .* float64"),
        ({"backend": "abacus"}, r"^backend = 'abacus'"),
    ],
)
def test_what_is_refused(parameters, message):
    with pytest.raises(ParameterError, match=message):
        correlation_matrix(stack_of("u1", (4, 5, 6)), **parameters)


def test_one_slice_is_refused():
    with pytest.raises(ParameterError, match=r"^stack has 1 slice: allowed are two or more"):
        correlation_matrix(stack_of("u1", (1, 5, 6)))


def test_tables(tmp_path):
    result = correlation_matrix(stack_of("u1", (4, 8, 9)), band=1)
    result.to_csv(tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["i"]), int(row["j"])) for row in rows] == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]
    assert float(rows[3]["r"]) == result.statistic[1, 2]
    assert json.loads(result.to_json())["r"] == result.columns()["r"]


def test_plot():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    stack = stack_of("u1", (5, 8, 9))
    stack[1] = 255 - stack[0]
    result = correlation_matrix(stack, band=2)
    ax = result.plot(ax=figure.add_subplot())
    image = ax.get_images()[0]
    np.testing.assert_array_equal(image.get_array().filled(np.nan), result.statistic)
    assert image.get_clim() == (-1, 1)
    assert image.get_cmap().name == "cividis"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Slice", "Slice")
    assert figure.axes[1].get_ylabel() == "Correlation r"


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["u1", "f8"]), count=st.integers(2, 9))
def test_reordering_the_slices_reorders_the_matrix(seed, dtype, count):
    rng = np.random.default_rng(seed)
    stack = (255 * rng.random((count, 4, 5))).astype(dtype)
    order = rng.permutation(count)
    r = correlation_matrix(stack).statistic
    moved = correlation_matrix(stack[order]).statistic
    np.testing.assert_allclose(moved, r[np.ix_(order, order)], atol=0 if dtype == "u1" else 1e-14)
    assert (np.abs(r) <= 1).all()
    assert np.linalg.eigvalsh(r).min() > -1e-12
