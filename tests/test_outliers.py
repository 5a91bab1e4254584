"""Faults planted in matrices whose correlations are known, in phantoms, and in real stacks."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from properties import given, st
from real_data import needs_real_data, real_data

from gpu_stackcorr import phantom
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError
from gpu_stackcorr.outliers import find_outlier_slices
from gpu_stackcorr.phantoms import phantom_correlation
from gpu_stackcorr.volumes import open_volume

COUNT = 40
LENGTHS = [3.0, 6.0, 12.0, 30.0]


def ideal(length: float, places: np.ndarray | None = None) -> np.ndarray:
    """Return the expected correlations of a phantom's slices that stand at some places."""
    places = np.arange(COUNT) if places is None else places
    return phantom_correlation(np.subtract.outer(places, places), correlation_length=length)


def found(given, **how) -> list[tuple[int, str]]:
    """Return the slices and faults that are found."""
    return [(outlier.slice, outlier.fault) for outlier in find_outlier_slices(given, **how)]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_stack_without_faults_has_none(length):
    assert found(ideal(length)) == []


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_missing_slices_are_counted(length, count):
    places = np.arange(COUNT) + count * (np.arange(COUNT) > 20)
    (gap,) = find_outlier_slices(ideal(length, places))
    assert (gap.slice, gap.fault, gap.count) == (20, "missing", count)
    assert gap.r == pytest.approx(phantom_correlation(1 + count, correlation_length=length)[()])
    assert gap.expected == pytest.approx(phantom_correlation(1, correlation_length=length)[()])
    assert f"missing between slices 20 and 21: r = {gap.r:.3f}" in gap.text


@pytest.mark.parametrize("length", LENGTHS)
def test_swapped_neighbours_are_found(length):
    places = np.arange(COUNT)
    places[[12, 13]] = 13, 12
    (swap,) = find_outlier_slices(ideal(length, places))
    assert (swap.slice, swap.fault) == (12, "swapped")
    assert swap.text.startswith("slices 12 and 13 fit their neighbours if exchanged")


@pytest.mark.parametrize("length", LENGTHS)
def test_an_inserted_copy_is_a_duplicate(length):
    places = np.r_[:15, 14:COUNT]
    (copy,) = find_outlier_slices(ideal(length, places))
    assert (copy.slice, copy.fault) == (15, "duplicate")
    assert copy.text.startswith("slice 15 repeats slice 14: r = 1.000")


@pytest.mark.parametrize(("places", "at", "of"), [((14, 14, 16), 15, 14), ((14, 16, 16), 15, 16)])
def test_a_copy_in_the_place_of_a_missing_slice_says_so(places, at, of):
    (copy,) = find_outlier_slices(ideal(6.0, np.r_[:14, places, 17:COUNT]))
    assert (copy.slice, copy.fault) == (at, "duplicate")
    assert f"slice {at} repeats slice {of}, in the place of a slice that is missing" in copy.text


def test_a_copy_farther_away_is_a_duplicate():
    (copy,) = find_outlier_slices(ideal(12.0, np.r_[:20, 15, 21:COUNT]))
    assert (copy.slice, copy.fault, copy.text) == (20, "duplicate", "slice 20 repeats slice 15")


def test_a_slice_imaged_twice_is_a_duplicate():
    r = ideal(12.0, np.r_[:15, 14:COUNT])
    r[14, 15] = r[15, 14] = 0.97  # two images of one slice, each with its noise; its neighbours have 0.93
    assert found(r) == [(15, "duplicate")]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_jump_is_found(length):
    r = ideal(length)
    r[:21, 21:] = 0.01
    (jump,) = find_outlier_slices(np.triu(r) + np.triu(r, 1).T)
    assert (jump.slice, jump.fault, jump.count) == (20, "jump", 0)


def test_more_missing_slices_than_can_be_counted_are_a_jump():
    assert found(ideal(3.0, np.arange(COUNT) + 30 * (np.arange(COUNT) > 20))) == [(20, "jump")]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("z", [0, 1, 20, COUNT - 1])
def test_a_damaged_slice_is_found_also_at_the_ends(length, z):
    r = ideal(length)
    r[z] *= 0.6
    r[:, z] *= 0.6
    (damaged,) = find_outlier_slices(r)
    assert (damaged.slice, damaged.fault) == (z, "damaged")
    assert "has 60% of the correlation expected" in damaged.text


def test_a_slice_that_has_lost_little_passes():
    r = ideal(12.0)
    r[20] *= 0.9
    r[:, 20] *= 0.9
    assert found(r) == []


def test_a_slice_of_nan_is_blank():
    r = ideal(6.0)
    r[20] = r[:, 20] = np.nan
    (blank,) = find_outlier_slices(r)
    assert (blank.slice, blank.fault, blank.score) == (20, "blank", math.inf)
    assert math.isnan(blank.r)


def test_several_faults_are_all_found():
    r = ideal(6.0, np.r_[:8, 9:20, 21, 20, 22 : COUNT + 1])  # 8 is missing: 20 and 21 are slices 19 and 20
    r[30] *= 0.5
    r[:, 30] *= 0.5
    r[35] = r[:, 35] = np.nan
    assert found(r) == [(7, "missing"), (19, "swapped"), (30, "damaged"), (35, "blank")]


def test_a_correlation_that_changes_along_the_stack_is_no_fault():
    steps = np.interp(np.arange(COUNT), [0, 15, 25, COUNT], [0.6, 0.6, 1.4, 1.4])
    assert found(ideal(12.0, np.cumsum(steps))) == []


def test_sections_of_unequal_thickness_are_no_fault():
    steps = np.random.default_rng(3).uniform(0.7, 1.3, COUNT)
    for length in LENGTHS:
        assert found(ideal(length, np.cumsum(steps))) == []


@pytest.mark.parametrize("length", LENGTHS[:3])
def test_a_gap_is_found_and_counted_where_sections_become_thin_and_thick_in_turn(length):
    """At every place: a gap among thin sections is hardly wider than thick ones are."""
    count = 60
    places = np.cumsum(1 + 0.15 * np.sin(2 * np.pi * np.arange(count) / 20))
    assert found(ideal(length, places)) == []
    for z in range(6, count - 6):
        (gap,) = find_outlier_slices(ideal(length, np.delete(places, z)))
        assert (gap.slice, gap.fault, gap.count) == (z - 1, "missing", 1)


def test_where_neighbours_are_as_alike_as_the_next_ones_a_gap_cannot_be_told():
    rng = np.random.default_rng(4)
    r = ideal(300.0, np.arange(COUNT) + (np.arange(COUNT) > 20)) + rng.normal(0, 0.005, (COUNT, COUNT))
    assert found(np.clip((r + r.T) / 2, -1, 1)) == []


@given(st.integers(6, COUNT - 8), st.sampled_from(LENGTHS), st.booleans())
def test_turned_upside_down_a_stack_has_the_same_faults(z, length, swap):
    places = np.arange(COUNT)
    if swap:
        places[[z, z + 1]] = z + 1, z
    else:
        places[z + 1 :] += 2
    upright, turned = (find_outlier_slices(ideal(length, p)) for p in (places, places[::-1]))
    assert [(o.fault, o.slice) for o in upright] == [(o.fault, COUNT - 2 - o.slice) for o in turned]


def test_a_matrix_may_be_a_band_on_one_side():
    r = ideal(6.0, np.arange(COUNT) + (np.arange(COUNT) > 20))
    apart = np.subtract.outer(np.arange(COUNT), np.arange(COUNT))
    for one_sided in ((apart <= 0) & (apart >= -10), (apart >= 0) & (apart <= 10)):
        assert found(np.where(one_sided, r, np.nan)) == [(20, "missing")]


def test_faults_planted_in_a_phantom(backend):
    stack = phantom((60, 128, 128), correlation_length=12.0, seed=2)
    stack[[10, 11]] = stack[[11, 10]]
    stack[30] = np.clip(128 + np.random.default_rng(0).normal(0, 1, (128, 128)), 0, 255)
    stack[40, :80] = stack[40].mean()
    stack[50] = 7
    stack = np.insert(np.delete(stack, 20, axis=0), 44, stack[44], axis=0)
    with pytest.warns(ConstantSliceWarning, match="50"):
        result = find_outlier_slices(stack[:, np.newaxis], backend=backend.name)
    faults = [(outlier.slice, outlier.fault) for outlier in result]
    assert faults == [
        (10, "swapped"), (19, "missing"), (29, "blank"), (39, "damaged"), (44, "duplicate"), (50, "blank"),
    ]  # fmt: skip
    assert "hardly any contrast" in result.outliers[2].text
    assert (len(result), result.slices, result.band) == (6, 60, 10)


def test_short_stacks_have_copies_and_blank_slices_only():
    stack = phantom((6, 64, 64), seed=1)
    stack[3] = stack[2]
    stack[5] = 0
    with pytest.warns(ConstantSliceWarning):
        assert found(stack) == [(3, "duplicate"), (5, "blank")]
    assert found(phantom((2, 64, 64), seed=1)) == []


def test_the_result_is_a_table():
    r = ideal(6.0, np.r_[:15, 14:COUNT])
    r[30] *= 0.5
    r[:, 30] *= 0.5
    table = json.loads(find_outlier_slices(r).to_json())
    assert list(table) == ["slice", "fault", "count", "r", "expected", "score", "text"]
    assert table["fault"] == ["duplicate", "damaged"]
    assert table["score"][0] is None
    assert table["score"][1] > 1
    assert find_outlier_slices(ideal(6.0)).columns()["slice"] == []


@pytest.mark.parametrize("band", [4, 0, 7.5, True, None])
def test_the_band_is_checked(band):
    with pytest.raises(ParameterError, match=r"band = .*: allowed are whole numbers from 5 on"):
        find_outlier_slices(ideal(6.0), band=band)


@pytest.mark.parametrize("matrix", [np.zeros((3, 4)), np.full((4, 4), 2.0), np.zeros((0, 0))])
def test_the_matrix_is_checked(matrix):
    with pytest.raises(ParameterError, match="stack_or_matrix has shape"):
        find_outlier_slices(matrix)


@needs_real_data
@pytest.mark.parametrize("name", ["fibsem/fibsem_250.tif", "sstem"])
def test_real_stacks_as_they_came_have_no_fault(name):
    folder = real_data()
    assert folder is not None
    with open_volume(folder / name) as volume:
        assert found(np.asarray(volume[:])[:, ::2, ::2]) == []
