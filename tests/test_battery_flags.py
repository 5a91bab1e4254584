"""Batteries of transforms where pixels do not count: NaN, constant slices, masks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from transforms_by_hand import ELASTIC, SEED, TRANSFORMS, by_hand, near, one, root, stack_of

from gpu_stackcorr import noise_sweep, stack_correlation, transform_battery
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError
from gpu_stackcorr.transforms import (
    AddNoise,
    Compose,
    Elastic,
    flip_right_left,
    flip_up_down,
    identity,
    noise_field,
    rotate_90,
)

pytestmark = pytest.mark.usefixtures("chosen_backend")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_is_left_out_of_its_pair(backend, dtype):
    stack = stack_of(dtype, n=5)
    stack[2, 3:5, 1:4] = np.nan
    stack[4, 8, 8:] = np.nan
    mask = np.random.default_rng(4).random(stack.shape[1:]) < 0.8
    noise = 0.9 * noise_field(stack.shape[1:], SEED, backend.name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in (
            "identity",
            "flip_right_left",
            "rotate, flip",
            "function",
            "elastic",
            "elastic, flip",
            "flip, elastic",
        ):
            transform, hand = TRANSFORMS[name]
            for e, members in ((None, [transform]), (noise, [Compose(transform, AddNoise(0.9))])):
                result = one(stack, *members, nan_policy="omit", mask=mask, seed=SEED, backend=backend.name)
                for n, y in enumerate(stack):
                    moved = hand(y, n)
                    valid = mask & ~np.isnan(moved)
                    assert result.n[n] == valid.sum(), name
                    if valid.sum() > 3:
                        expected = by_hand(stack[0], moved, e, valid)
                        np.testing.assert_allclose(
                            result.statistic[n], expected, rtol=0, atol=near(backend, dtype), err_msg=name
                        )


@pytest.mark.parametrize("members", [[identity], [AddNoise(1)], [root], [Elastic(5, 3)]])
def test_a_slice_of_nan_alone_is_flagged_as_such(members):
    stack = stack_of(n=3)
    stack[1] = np.nan
    for policy in ("omit", "propagate"):
        result = one(stack, *members, nan_policy=policy, seed=1)
        assert result.flags == ("", "nan", "")
        assert np.isnan(result.statistic).tolist() == [False, True, False]


def test_nan_of_the_reference_is_left_out():
    stack = stack_of(n=3)
    stack[0, 2:5] = np.nan
    noise = noise_field(stack.shape[1:], SEED)
    for transform, hand in (TRANSFORMS["rotate, flip"], TRANSFORMS["elastic, flip"]):
        result = one(stack, Compose(transform, AddNoise(1)), nan_policy="omit", seed=SEED)
        for n, y in enumerate(stack):
            valid = ~np.isnan(stack[0]) & ~np.isnan(hand(y, n))
            assert result.n[n] == valid.sum()
            np.testing.assert_allclose(
                result.statistic[n], by_hand(stack[0], hand(y, n), noise, valid), rtol=0, atol=1e-12
            )
    with pytest.raises(ParameterError, match="reference has 39 NaN"):
        transform_battery(stack, [identity])


def test_nan_policies():
    stack = stack_of(n=5)
    stack[3, 2, 2] = np.nan
    with pytest.raises(ParameterError, match="1 NaN pixels in slice 3"):
        transform_battery(stack, [identity])
    members = [identity, flip_right_left, root, AddNoise(1), Compose(root, AddNoise(1))]
    flagged = transform_battery(stack, members, nan_policy="propagate", seed=1)
    clean = transform_battery(np.nan_to_num(stack), members, seed=1)
    for label in flagged:
        assert np.isnan(flagged[label].statistic).tolist() == [False, False, False, True, False]
        assert flagged[label].flags == ("", "", "", "nan", "")
        others = [0, 1, 2, 4]
        np.testing.assert_array_equal(flagged[label].statistic[others], clean[label].statistic[others])
    with pytest.raises(ParameterError, match=r"^nan_policy = 'ignore': allowed are 'raise', 'omit', 'propagate'"):
        transform_battery(stack, [identity], nan_policy="ignore")


def test_an_elastic_member_flags_a_slice_with_nan_too():
    stack = stack_of(n=3)
    stack[1, 6, 6] = np.nan
    result = one(stack, Elastic(5, 3), nan_policy="propagate", seed=1)
    assert result.flags == ("", "nan", "")
    noisy = one(stack, Compose(Elastic(5, 3), AddNoise(1)), nan_policy="propagate", seed=1)
    assert noisy.flags == ("", "nan", "")


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_constant_slices_are_flagged_with_one_warning_that_names_them(dtype):
    stack = stack_of(dtype, n=6)
    stack[2], stack[5] = 7, 0
    members = [identity, flip_up_down, ELASTIC, AddNoise(1), Compose(rotate_90, ELASTIC, AddNoise(2))]
    with pytest.warns(ConstantSliceWarning, match="2, 5") as caught:
        result = transform_battery(stack, members, seed=1)
    assert len(caught) == 1
    for member in result.values():
        assert np.isnan(member.statistic).tolist() == [False, False, True, False, False, True]
        assert member.flags == ("", "", "constant", "", "", "constant")
        low, high = member.confidence_interval()
        assert np.isnan(low[[2, 5]]).all()
        assert np.isnan(high[[2, 5]]).all()


@pytest.mark.parametrize(
    "call", [stack_correlation, lambda s: transform_battery(s, [identity]), lambda s: noise_sweep(s, [0])]
)
def test_warnings_point_at_the_callers_line(call):
    stack = stack_of(n=3)
    stack[2] = 1
    with pytest.warns(ConstantSliceWarning) as caught:
        call(stack)
    assert caught[0].filename == __file__


def test_a_constant_reference_is_an_error():
    stack = stack_of("uint8")
    stack[1] = 9
    with pytest.raises(ParameterError, match=r"reference, slice 1, is constant \(value 9\)"):
        transform_battery(stack, [identity, flip_up_down], reference=1)
    mask = np.zeros((13, 13), bool)
    mask[2, 2] = True
    with pytest.raises(ParameterError, match="constant"):
        transform_battery(stack, [identity], mask=mask)


@pytest.mark.parametrize("mask", [np.ones((3, 3), bool), np.ones((13, 13), int), np.zeros((13, 13), bool)])
def test_masks_that_are_not_allowed(mask):
    with pytest.raises(ParameterError, match=r"^mask has shape"):
        transform_battery(stack_of(), [identity], mask=mask)
