"""The largest correlation over small shifts: hand-worked shifts, agreement with a plain loop, drift in a phantom."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr import image_correlation, phantom, stack_correlation
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError
from gpu_stackcorr.shift_search import best_shifts
from gpu_stackcorr.shifts import shifted_correlation, shifted_stack_correlation
from gpu_stackcorr.transforms import flip_up_down

SCENE = np.random.default_rng(0).integers(0, 256, (60, 70), np.uint8)
DTYPES = [np.uint8, np.int16, np.float32, np.float64]


def view(dy: int, dx: int, shape: tuple[int, int] = (30, 40)) -> np.ndarray:
    """Return a window of the scene whose content is moved by (dy, dx)."""
    return SCENE[15 - dy : 15 - dy + shape[0], 15 - dx : 15 - dx + shape[1]]


def loop(first: np.ndarray, second: np.ndarray, max_shift: int, mask: np.ndarray | None = None) -> dict:
    """Return r at every shift, each from its own overlapping parts; shifts with a flat part are missing."""
    Y, X = first.shape
    found = {}
    for dy in range(-max_shift, max_shift + 1):
        for dx in range(-max_shift, max_shift + 1):
            here = np.s_[max(0, -dy) : min(Y, Y - dy), max(0, -dx) : min(X, X - dx)]
            there = np.s_[max(0, dy) : min(Y, Y + dy), max(0, dx) : min(X, X + dx)]
            valid = np.ones(first[here].shape, bool) if mask is None else mask[here]
            x, y = (part[valid].astype(float) for part in (first[here], second[there]))
            if x.size > 1 and np.ptp(x) > 0 and np.ptp(y) > 0:
                x, y = x - x.mean(), y - y.mean()
                found[dy, dx] = float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, 0), (0, -5), (-4, 2), (5, 5), (-5, -5), (1, -1)])
def test_a_shifted_copy_is_found_exactly(dy, dx, dtype):
    result = shifted_correlation(view(0, 0).astype(dtype), view(dy, dx).astype(dtype), max_shift=5)
    assert result.shift == (dy, dx)
    assert result.statistic == 1.0
    assert result.n == (30 - abs(dy)) * (40 - abs(dx))


def test_every_shift_in_range_is_found():
    reference = view(0, 0)
    shifts = [(dy, dx) for dy in range(-4, 5) for dx in range(-4, 5)]
    found = best_shifts(reference, np.stack([view(*shift) for shift in shifts]), 4)
    assert list(zip(found.dy.tolist(), found.dx.tolist(), strict=True)) == shifts
    assert (found.r == 1).all()


def test_a_shift_beyond_the_range_is_not_found():
    result = shifted_correlation(view(0, 0), view(5, 0), max_shift=4)
    assert result.statistic < 0.2


def test_a_shift_is_found_in_noise():
    noise = np.random.default_rng(1).normal(0, 150, (2, 30, 40))
    result = shifted_correlation(view(0, 0) + noise[0], view(-3, 4) + noise[1], max_shift=6)
    assert result.shift == (-3, 4)
    assert 0.05 < result.statistic < 0.4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ci", ["tiles", "effective", "fisher", None])
def test_at_no_shift_it_is_the_plain_correlation(dtype, ci):
    first, second = view(0, 0).astype(dtype), view(2, 1).astype(dtype)
    plain = image_correlation(first, second, ci=ci)
    shifted = shifted_correlation(first, second, max_shift=0, ci=ci)
    for name in ("statistic", "n", "n_eff", "standard_error", "df", "window", "saturated", "method"):
        np.testing.assert_array_equal(getattr(shifted, name), getattr(plain, name))


def test_it_is_the_plain_correlation_of_the_overlapping_parts():
    first, second = view(0, 0), view(2, -3) // 2 + view(9, 9) // 4
    shifted = shifted_correlation(first, second, max_shift=5)
    plain = image_correlation(first[:-2, 3:], second[2:, :-3])
    assert shifted.shift == (2, -3)
    assert (shifted.statistic, shifted.standard_error) == (plain.statistic, plain.standard_error)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(11, 11), (9, 14), (13, 8)])
def test_it_agrees_with_a_loop_over_all_shifts(shape, masked, dtype):
    rng = np.random.default_rng(2)
    for _ in range(5):
        first, second = rng.integers(0, 100, (2, *shape)).astype(dtype)
        mask = rng.random(shape) < 0.7 if masked else None
        by_loop = loop(first, second, 4, mask)
        result = shifted_correlation(first, second, max_shift=4, mask=mask)
        assert result.statistic == pytest.approx(max(by_loop.values()), abs=1e-12)
        assert by_loop[result.shift] == pytest.approx(result.statistic, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.integers(3, 9), st.integers(0, 8), st.integers(1, 5))
def test_it_agrees_with_a_loop_on_any_small_images(seed, height, width, largest, levels):
    max_shift = min(largest, height - 1, width - 1)
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, levels + 1, (2, height, width))
    first[0, 0], first[-1, -1] = 0, levels  # never constant
    by_loop = loop(first, second, max_shift)
    best = best_shifts(first, second[np.newaxis], max_shift)
    if by_loop:
        assert best.r[0] == pytest.approx(max(by_loop.values()), abs=1e-12)
    else:
        assert np.isnan(best.r[0])


def test_of_equal_shifts_the_smallest_is_taken():
    stripes = np.tile(np.arange(4, dtype=np.uint8), (12, 6))
    moved = np.roll(stripes, 1, axis=1)  # also by -3, 5, and any shift along y
    assert shifted_correlation(stripes, moved, max_shift=8).shift == (0, 1)


def test_an_offset_and_a_gain_do_not_matter():
    result = shifted_correlation(view(0, 0), 1e6 - 3.0 * view(2, 2), max_shift=3)
    assert result.statistic < 0.3  # the image is inverted: r at the true shift is -1
    result = shifted_correlation(view(0, 0), 1e6 + 3.0 * view(2, 2), max_shift=3)
    assert result.shift == (2, 2)
    assert result.statistic == pytest.approx(1, abs=1e-9)


def test_a_mask_belongs_to_the_reference():
    first, second = view(0, 0).copy(), view(2, 3)
    mask = np.ones(first.shape, bool)
    mask[5:20, 5:20] = False
    first[5:20, 5:20] = 255
    result = shifted_correlation(first, second, max_shift=4, mask=mask)
    assert result.shift == (2, 3)
    assert result.statistic == 1.0
    assert result.n == mask[:-2, :-3].sum()


def test_the_peak_is_found_between_pixels():
    y, x = np.mgrid[:64, :64]
    first, second = (np.exp(-((y - 32 - dy) ** 2 + (x - 32 - dx) ** 2) / 60) for dy, dx in ((0, 0), (2.3, -1.4)))
    result = shifted_correlation(first, second, max_shift=5)
    assert result.shift == (2, -1)
    assert (result.peak_y, result.peak_x) == (pytest.approx(2.3, abs=0.05), pytest.approx(-1.4, abs=0.05))


def test_a_drift_is_told_from_decorrelation():
    scene = phantom((12, 160, 160), correlation_length=12.0, seed=3)
    drift = [(z, -2 * z) for z in range(12)]
    stack = np.stack([scene[z, 30 - dy : 130 - dy, 30 - dx : 130 - dx] for z, (dy, dx) in enumerate(drift)])
    result = shifted_stack_correlation(stack, max_shift=25)
    found = np.stack([result.shift_y, result.shift_x], axis=1)
    assert np.abs(found - drift).max() <= 1  # membranes move sideways of their own
    straight = stack_correlation(scene[:, 30:130, 30:130])
    np.testing.assert_allclose(result.statistic, straight.statistic, atol=0.12)  # of parts that overlap by 3/4
    np.testing.assert_array_equal(result.unshifted.statistic, stack_correlation(stack).statistic)
    assert result.unshifted.statistic[6:].max() < result.statistic[6:].min()
    assert not result.at_limit.any()


def test_a_stack_is_its_slices_one_by_one(backend):
    stack = np.stack([view(dy, dx) // 2 + view(7, dy) // 2 for dy, dx in ((0, 0), (2, 1), (-3, 3))] * 4)
    result = shifted_stack_correlation(stack, -2, max_shift=4, backend=backend.name)
    assert result.reference == 10
    assert result.distance.tolist() == list(range(-10, 2))
    for z, image in enumerate(stack):
        own = shifted_correlation(stack[-2], image, max_shift=4, backend=backend.name)
        assert (own.statistic, own.shift_y, own.shift_x) == (
            result.statistic[z], result.shift_y[z], result.shift_x[z],
        )  # fmt: skip
        assert own.standard_error == result.standard_error[z]


def test_the_result_is_a_table_and_a_figure(tmp_path):
    from matplotlib.figure import Figure

    stack = np.stack([view(0, 0), view(1, 2), view(3, 4)])
    result = shifted_stack_correlation(stack, view(0, 0), max_shift=4)
    table = json.loads(result.to_json())
    assert table["shift_x"] == [0, 2, 4]
    assert table["r"] == [1.0, 1.0, 1.0]
    assert table["r_unshifted"] == result.unshifted.statistic.tolist()
    assert result.reference is None
    assert result.at_limit.tolist() == [False, False, True]
    assert len(result.plot(Figure().add_subplot()).lines) == 2
    row = shifted_correlation(view(0, 0), view(1, 2), max_shift=4).columns()
    assert (row["shift_y"], row["shift_x"], row["r"]) == ([1], [2], [1.0])


def test_a_flat_slice_is_flagged():
    stack = np.stack([view(0, 0), np.full((30, 40), 7, np.uint8), view(1, 1)])
    with pytest.warns(ConstantSliceWarning, match="slices without variance have r = NaN: 1"):
        result = shifted_stack_correlation(stack, max_shift=3)
    assert result.flags == ("", "constant", "")
    assert np.isnan(result.statistic).tolist() == [False, True, False]
    assert (result.shift_y[1], result.shift_x[1]) == (0, 0)
    with pytest.warns(ConstantSliceWarning, match="image_2 has no variance"):
        assert math.isnan(shifted_correlation(view(0, 0), stack[1], max_shift=3).statistic)


def test_a_slice_that_is_flat_but_for_its_edge_is_no_trouble():
    image = np.zeros((20, 20))
    image[0, 0] = 1.0
    result = shifted_correlation(view(0, 0)[:20, :20], image, max_shift=4)
    assert -1 <= result.statistic <= 1


def test_small_overlaps_have_no_interval():
    result = shifted_correlation(view(0, 0)[:17, :17], view(3, 0)[:17, :17], max_shift=5)
    assert result.shift == (3, 0)
    assert result.saturated
    assert math.isinf(result.standard_error)


@pytest.mark.parametrize("max_shift", [-1, 30, 1.5, True, None])
def test_the_largest_shift_is_checked(max_shift):
    for call in (
        lambda: shifted_correlation(view(0, 0), view(1, 1), max_shift=max_shift),
        lambda: shifted_stack_correlation(view(0, 0)[np.newaxis], max_shift=max_shift),
    ):
        with pytest.raises(ParameterError, match=r"max_shift = .*: allowed are whole numbers from 0 to 29"):
            call()


def test_bad_input_is_an_error_of_one_line():
    image, nan = view(0, 0), view(0, 0).astype(float)
    nan[3, 3] = np.nan
    cases = {
        "shapes": lambda: shifted_correlation(image, image[:-1], max_shift=1),
        "image_1 has 1 NaN": lambda: shifted_correlation(nan, image, max_shift=1),
        "image_2 has 1 NaN": lambda: shifted_correlation(image, nan, max_shift=1),
        "stack has 1 NaN": lambda: shifted_stack_correlation(nan[np.newaxis], image, max_shift=1),
        "reference is constant": lambda: shifted_correlation(np.ones_like(image), image, max_shift=1),
        "mask has shape": lambda: shifted_correlation(image, image, max_shift=1, mask=np.ones((3, 3), bool)),
        "reference = 5": lambda: shifted_stack_correlation(image[np.newaxis], 5, max_shift=1),
        "reference has shape": lambda: shifted_stack_correlation(image[np.newaxis], image[:5], max_shift=1),
        "ci = 'none'": lambda: shifted_correlation(image, image, max_shift=1, ci="none"),
    }
    for message, call in cases.items():
        with pytest.raises(ParameterError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_as_an_option_of_stack_correlation():
    stack = phantom((3, 48, 64), correlation_length=6.0, seed=1)
    stack[1] = np.roll(stack[1], (2, -1), axis=(0, 1))
    result = stack_correlation(stack, 0, max_shift=4)
    expected = shifted_stack_correlation(stack, 0, max_shift=4)
    np.testing.assert_array_equal(result.statistic, expected.statistic)
    assert (result.shift_y[1], result.shift_x[1]) == (2, -1)
    both = stack_correlation(stack, [0, 2], max_shift=4)
    assert [r.reference for r in both] == [0, 2]
    for keywords in ({"noise": 1.0}, {"transform": flip_up_down}, {"nan_policy": "omit"}):
        with pytest.raises(ParameterError, match="max_shift = 4 allows no transform"):
            stack_correlation(stack, 0, max_shift=4, **keywords)
