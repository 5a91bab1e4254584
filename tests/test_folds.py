"""fold_report, limit_folds, and the warning of folds."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from properties import given, st

import gpu_stackcorr.folds as folds
from gpu_stackcorr.errors import FoldWarning, ParameterError
from gpu_stackcorr.folds import fold_report, limit_folds, percentage, warn_of_folds


def field(shape, count, *, size=1.0, dtype=np.float64, seed=0):
    """Return a random displacement, rough enough to fold where `size` is large."""
    return np.random.default_rng([seed, *shape]).normal(0, size, (count, *shape)).astype(dtype)


def along_x(*values):
    """Return a displacement of a plane of five rows, along x alone."""
    return np.stack([np.zeros((5, len(values))), np.broadcast_to(values, (5, len(values)))])


def least(displacement, axes=None):
    return fold_report(displacement, axes=axes, backend="numpy").minimum


def test_a_planted_fold_is_found_where_it_is(backend):
    planted = np.zeros((2, 40, 50), np.float32)
    planted[1, 17, 31] = -3
    report = fold_report(planted, backend=backend.name)
    assert (report.minimum, report.maximum) == (-0.5, 2.5)
    assert report.position == (17, 30)
    assert (report.folded, report.voxels, report.fraction_folded) == (1, 2000, 1 / 2000)
    assert report.largest_displacement == 3
    assert report.counts.sum() == 2000


def test_a_report_does_not_depend_on_blocks(backend, monkeypatch):
    rough = field((6, 9, 11), 3, dtype=np.float32)
    whole = fold_report(rough, backend=backend.name)
    monkeypatch.setattr(folds, "BLOCK", 50)
    parts = fold_report(rough, backend=backend.name)
    assert parts.to_json() == whole.to_json()
    assert limit_folds(rough, backend=backend.name)[1] == limit_folds(rough, backend="numpy")[1]


def test_axes(backend):
    """A field a slice, and one of lines; by default the last axes move."""
    rough = field((3, 7, 8), 2, dtype=np.float32)
    report = fold_report(rough, backend=backend.name)
    assert report.voxels == 168
    slices = [fold_report(rough[:, n], backend=backend.name) for n in range(3)]
    assert report.minimum == min(each.minimum for each in slices)
    assert report.folded == sum(each.folded for each in slices)
    across = fold_report(rough, axes=(0, 2), backend=backend.name)
    assert across.minimum == least(np.moveaxis(rough, 2, 1))


def test_a_constant_displacement(backend):
    report = fold_report(np.full((2, 4, 5), 3.0), backend=backend.name)
    assert (report.minimum, report.maximum, report.folded, report.position) == (1, 1, 0, (0, 0))
    assert report.counts.sum() == 20
    assert report.largest_displacement == pytest.approx(18**0.5)


def test_determinants_that_differ_in_their_last_digits(backend):
    """As those of an affine map do."""
    y, x = np.mgrid[:30, :40]
    report = fold_report(np.stack([0.1 * y + 0.3 * x, 0.7 * x - 0.2 * y]), backend=backend.name)
    assert 0 < report.maximum - report.minimum < 1e-12
    assert report.counts.sum() == 1200
    assert report.edges[-1] - report.edges[0] == pytest.approx(1)


@pytest.mark.parametrize("bins", [1, 7, [-1, 0, 0.5, 2]])
def test_bins(bins):
    rough = field((20, 30), 2, size=0.5)
    values = folds.take_displacement(rough, None, "numpy")[0].jacobian_determinant(rough, axes=(0, 1))
    report = fold_report(rough, bins=bins, backend="numpy")
    counts, edges = np.histogram(values, bins)
    np.testing.assert_array_equal(report.counts, counts)
    np.testing.assert_array_equal(report.edges, edges)


def test_a_report_as_text_and_json(tmp_path):
    report = fold_report(along_x(0, 0, -3, 0, 0), bins=2, backend="numpy")
    assert str(report) == (
        "determinant -0.5 to 2.5, the least at (0, 1); largest displacement 3 voxels\n20.0 % folded, of 25 voxels"
    )
    record = json.loads(report.to_json(tmp_path / "folds.json"))
    assert json.loads((tmp_path / "folds.json").read_text()) == record
    assert record == {
        "minimum": -0.5,
        "maximum": 2.5,
        "position": [0, 1],
        "voxels": 25,
        "folded": 5,
        "fraction_folded": 0.2,
        "largest_displacement": 3.0,
        "counts": [5, 20],
        "edges": [-0.5, 1.0, 2.5],
    }


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 10**9, "0.01 %"),
        (10**9 - 1, 10**9, "99.9 %"),
        (1, 3, "33.3 %"),
        (1, 81, "1.2 %"),
    ],
)
def test_percentages_tell_none_from_few(part, whole, text):
    assert percentage(part, whole) == text


def test_a_scale_by_hand(backend):
    """Along a line the determinant is 1 + s g: it falls to 0.1 at s = 0.9 / 1.8."""
    steep = along_x(*(-1.8 * np.arange(6)))
    limited, scale = limit_folds(steep, backend=backend.name)
    assert scale == pytest.approx(0.5, abs=1e-14)
    np.testing.assert_allclose(limited, 0.5 * steep, rtol=1e-14)


def test_a_displacement_that_is_fine_comes_back_itself(backend):
    gentle = along_x(0, 0.1, 0.2, 0.3)
    limited, scale = limit_folds(gentle, backend=backend.name)
    assert limited is gentle
    assert scale == 1


def test_a_dip_on_the_way_counts(backend):
    """Half a turn, p + d(p) = -p, does not fold; half of it takes everything to one point: det = (1 - 2 s)^2."""
    y, x = np.mgrid[:5, :6].astype(np.float64)
    turned = np.stack([-2 * y, -2 * x])
    assert least(turned) == 1
    limited, scale = limit_folds(turned, minimum=0.25, backend=backend.name)
    assert scale == pytest.approx(0.25, abs=1e-14)
    assert least(limited) == pytest.approx(0.25, abs=1e-14)


def test_a_dip_of_a_volume(backend):
    """(1 - 2 s)^2 (1 + 3 s) is least between 0 and 1 at 0.5, where it touches 0."""
    z, y, x = np.mgrid[:4, :5, :6].astype(np.float64)
    turned = np.stack([3 * z, -2 * y, -2 * x])
    scale = limit_folds(turned, minimum=0.5, backend=backend.name)[1]
    assert (1 - 2 * scale) ** 2 * (1 + 3 * scale) == pytest.approx(0.5, abs=1e-13)
    assert scale < 0.5


@given(
    shape=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    size=st.sampled_from([0.01, 0.3, 1.0, 30.0]),
    minimum=st.sampled_from([0.01, 0.1, 0.9]),
)
def test_the_scale_is_the_largest(shape, seed, size, minimum):
    rough = field(tuple(shape), len(shape), size=size, seed=seed)
    limited, scale = limit_folds(rough, minimum=minimum, backend="numpy")
    assert 0 < scale <= 1
    assert least(limited) >= minimum - 1e-9
    for s in np.linspace(0, scale, 9):
        assert least(s * rough) >= minimum - 1e-9
    if scale < 1:
        assert least(min(1, scale * (1 + 1e-6)) * rough) < minimum


def test_float32(backend):
    rough = field((30, 40), 2, dtype=np.float32)
    limited, scale = limit_folds(rough, backend=backend.name)
    assert limited.dtype == np.float32
    assert scale < 1
    assert least(limited) >= 0.1 - 1e-6


def test_a_warning_says_how_much_folds(backend):
    steep = along_x(0, 0, -3, 0, 0)
    with pytest.warns(FoldWarning, match=r"folds 20.0 % of the image over itself \(least determinant -0.5\)"):
        warn_of_folds(backend.count_folds(steep, axes=(0, 1)), steep[0].size)
    with warnings.catch_warnings(action="error"):
        warn_of_folds(backend.count_folds(steep / 4, axes=(0, 1)), steep[0].size)


WRONG = [
    (np.zeros((2, 3, 4), int), {}, "dtype int64: allowed are float32 and float64"),
    (np.zeros((2, 3)), {}, "a component for each of 1 to 3 axes that move"),
    (np.zeros((2, 3, 4)), {"axes": (0,)}, "2 components: allowed are 1"),
    (np.zeros((2, 0, 4)), {}, "none of which is empty"),
    (np.full((2, 3, 4), np.nan), {}, "24 values that are NaN or infinite"),
]


@pytest.mark.parametrize("function", [fold_report, limit_folds])
@pytest.mark.parametrize(("displacement", "options", "message"), WRONG)
def test_what_is_no_displacement(function, displacement, options, message):
    with pytest.raises(ParameterError, match=message):
        function(displacement, **options)


@pytest.mark.parametrize("minimum", [0, 1, -0.5, np.nan, "0.1"])
def test_wrong_minimum(minimum):
    with pytest.raises(ParameterError, match="minimum = "):
        limit_folds(along_x(0, 0), minimum=minimum)


@pytest.mark.parametrize("bins", [0, -3, 1.5, [1, 0], "many", [[0, 1]]])
def test_wrong_bins(bins):
    with pytest.raises(ParameterError, match="bins = "):
        fold_report(along_x(0, 0), bins=bins, backend="numpy")
