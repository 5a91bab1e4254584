"""Batteries of transforms by hand: each slice transformed, standardised, noise added, np.corrcoef."""

from __future__ import annotations

import hashlib
import math
import threading
import time
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from properties import given, st
from real_data import real_data

from gpu_stackcorr import (
    battery,
    compose_displacements,
    displacement_field,
    elastic_transform,
    measurement,
    noise_sweep,
    phantom,
    stack_correlation,
    transform_battery,
    use_backend,
    warp,
)
from gpu_stackcorr.arrays import Stack, get_backend
from gpu_stackcorr.backends.base import field_dtype
from gpu_stackcorr.correlation import find_reference
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError
from gpu_stackcorr.transforms import (
    AddNoise,
    Compose,
    Elastic,
    Transform,
    flip_right_left,
    flip_up_down,
    identity,
    noise_field,
    rotate_90,
)

SEED = 11
DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint64", "float32", "float64"]


def stack_of(dtype="float64", n=4, shape=(13, 13), seed=0):
    """A stack whose slices are alike, of a range that suits the dtype."""
    generator = np.random.default_rng(seed)
    common, own = generator.normal(size=shape), generator.normal(size=(n, *shape))
    stack = common + 0.7 * own
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return stack > 0
    if dtype.kind in "iu":
        middle = 0 if dtype.kind == "i" else 100
        return np.clip(np.rint(middle + 30 * stack), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    return (5 + stack).astype(dtype)


def by_hand(x, y, noise=None, mask=None):
    """r of a reference with a transformed slice, in plain NumPy, over the pixels that count."""
    mask = np.ones(x.shape, bool) if mask is None else mask
    x, y = x[mask].astype(np.float64), y[mask].astype(np.float64)
    y = (y - y.mean()) / y.std()
    if noise is not None:
        y = y + noise[mask]
    return np.corrcoef(x, y)[0, 1]


def root(image):
    """A function of an image that is neither linear nor the same for all pixels."""
    return np.sqrt(np.abs(image.astype(np.float64) - 3)) + np.linspace(0, 0.5, image.shape[1])


def elastic(image, index, seed=SEED, order=1):
    return elastic_transform(image, 40, 3, seed=seed, index=index, order=order, check_folds=False)


def twice(image, index):
    """Two deformations by one field, interpolated once."""
    field = displacement_field(image.shape, 40, 3, seed=SEED, index=index, dtype=field_dtype(image.dtype))
    return warp(image, compose_displacements(field, field))


ELASTIC = Elastic(40, 3)
TRANSFORMS = {
    "identity": (identity, lambda y, n: y),
    "flip_right_left": (flip_right_left, lambda y, n: y[:, ::-1]),
    "flip_up_down": (flip_up_down, lambda y, n: y[::-1]),
    "rotate_90": (rotate_90, lambda y, n: np.rot90(y)),
    "rotate twice": (Compose(rotate_90, rotate_90), lambda y, n: y[::-1, ::-1]),
    "rotate, flip": (Compose(rotate_90, flip_right_left), lambda y, n: np.rot90(y)[:, ::-1]),
    "flip, rotate": (Compose(flip_right_left, rotate_90), lambda y, n: np.rot90(y[:, ::-1])),
    "elastic": (ELASTIC, elastic),
    "elastic, flip": (Compose(ELASTIC, flip_up_down), lambda y, n: elastic(y, n)[::-1]),
    "flip, elastic": (Compose(flip_up_down, ELASTIC), lambda y, n: elastic(y[::-1], n)),
    "elastic, rotate": (Compose(ELASTIC, rotate_90), lambda y, n: np.rot90(elastic(y, n))),
    "own seed": (Elastic(40, 3, seed=5), lambda y, n: elastic(y, n, seed=5)),
    "elastic twice": (Compose(ELASTIC, ELASTIC), twice),
    "elastic, elastic": (
        Compose(ELASTIC, Elastic((40, 40), 3, order=0)),
        lambda y, n: elastic(elastic(y, n), n, order=0),
    ),
    "function": (root, lambda y, n: root(y)),
    "function, rotate": (Compose(root, rotate_90), lambda y, n: np.rot90(root(y))),
    "rotate, function": (Compose(rotate_90, root), lambda y, n: root(np.rot90(y))),
    "function, elastic, flip": (Compose(root, ELASTIC, flip_right_left), lambda y, n: elastic(root(y), n)[:, ::-1]),
}


@pytest.fixture(autouse=True)
def _what_is_done_by_hand_runs_on_the_same_backend(request):
    if "backend" not in request.fixturenames:
        yield
        return
    with use_backend(request.getfixturevalue("backend").name):
        yield


def one(stack, transform, **keywords):
    (result,) = transform_battery(stack, [transform], **keywords).values()
    return result


def near(backend, dtype):
    """Return a tolerance: where cuda correlates float32 slices that it deforms, they are not the same in float32."""
    return 1e-6 if backend.name == "cuda" and dtype == "float32" else 1e-12


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_transform_by_hand(backend, dtype, name):
    stack = stack_of(dtype)
    transform, hand = TRANSFORMS[name]
    noise = 0.8 * noise_field(stack.shape[1:], SEED, backend.name)
    plain = one(stack, transform, seed=SEED, backend=backend.name)
    noisy = one(stack, Compose(transform, AddNoise(0.8)), seed=SEED, backend=backend.name)
    expected = [by_hand(stack[0], hand(y, n)) for n, y in enumerate(stack)]
    with_noise = [by_hand(stack[0], hand(y, n), noise) for n, y in enumerate(stack)]
    np.testing.assert_allclose(plain.statistic, expected, rtol=0, atol=near(backend, dtype))
    np.testing.assert_allclose(noisy.statistic, with_noise, rtol=0, atol=near(backend, dtype))
    assert plain.backend == backend.name
    assert noisy.noise == 0.8
    assert plain.n.tolist() == [stack[0].size] * len(stack)


@pytest.mark.parametrize("reference", [2, -1, "image"])
def test_all_at_once_with_another_reference_and_a_mask(backend, reference):
    stack = stack_of("uint16", n=5)
    mask = np.random.default_rng(4).random(stack.shape[1:]) < 0.6
    mask[:3] = False
    x = np.rot90(stack[1]).astype(np.float32) / 7 if reference == "image" else stack[reference]
    noise = noise_field(stack.shape[1:], SEED, backend.name)
    labels = {}
    for name, (transform, _) in TRANSFORMS.items():
        for magnitude in (0, 0.5, 3):
            labels.setdefault(Compose(transform, AddNoise(magnitude)).name, (name, magnitude, transform))
    labels = {label: row for label, row in labels.items() if row[0] != "own seed"}
    result = transform_battery(
        stack,
        [Compose(transform, AddNoise(magnitude)) for _, magnitude, transform in labels.values()],
        reference=x if reference == "image" else reference,
        mask=mask,
        seed=SEED,
        backend=backend.name,
    )
    for member, (name, magnitude, _) in zip(result.values(), labels.values(), strict=True):
        hand = TRANSFORMS[name][1]
        expected = [by_hand(x, hand(y, n), magnitude * noise, mask) for n, y in enumerate(stack)]
        np.testing.assert_allclose(member.statistic, expected, rtol=0, atol=1e-12, err_msg=f"{name}, noise {magnitude}")
        assert member.n.tolist() == [mask.sum()] * 5
        assert member.reference == (None if reference == "image" else reference % 5)
        assert member.distance.tolist() == [n - (member.reference or 0) for n in range(5)]


@pytest.mark.parametrize("shape", [(7, 11), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("name", ["flip_right_left", "flip_up_down", "rotate twice", "elastic, flip", "flip, elastic"])
def test_slices_that_are_not_square(backend, name, shape):
    stack = stack_of("float32", shape=shape)
    transform, hand = TRANSFORMS[name]
    noise = 1.5 * noise_field(shape, SEED, backend.name)
    result = one(stack, Compose(transform, AddNoise(1.5)), seed=SEED, backend=backend.name)
    expected = [by_hand(stack[0], hand(y, n), noise) for n, y in enumerate(stack)]
    np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=near(backend, "float32"))


@pytest.mark.parametrize(
    "transform", [rotate_90, Compose(rotate_90, flip_up_down), Compose(root, rotate_90), Compose(rotate_90, root)]
)
def test_rotating_slices_that_are_not_square_is_an_error(transform):
    with pytest.raises(ParameterError, match=r"^transform = .*\(7, 11\)"):
        transform_battery(stack_of(shape=(7, 11)), [transform])


def test_a_function_that_changes_the_shape_is_an_error():
    with pytest.raises(ParameterError, match=r"\(13, 13\) into \(12, 13\)"):
        transform_battery(stack_of(), [Compose(flip_up_down, lambda image: image[1:])])
    with pytest.raises(ParameterError, match=r"\(13, 13\) into \(\)"):
        transform_battery(stack_of(), [np.mean])


def test_rotating_and_then_going_back_is_exact():
    stack = stack_of("uint8")
    turned = one(stack, Compose(*[rotate_90] * 4))
    np.testing.assert_array_equal(turned.statistic, stack_correlation(stack).statistic)


def test_a_dtype_that_numpy_reads_backwards(backend):
    stack = stack_of("uint16")
    members = [identity, rotate_90, ELASTIC, Compose(flip_up_down, ELASTIC, AddNoise(2))]
    for swapped in (stack.astype(">u2"), np.asfortranarray(stack), stack[:, ::-1, ::-1][:, ::-1, ::-1]):
        native = transform_battery(stack, members, seed=1, backend=backend.name)
        other = transform_battery(swapped, members, seed=1, backend=backend.name)
        for label in native:
            np.testing.assert_array_equal(other[label].statistic, native[label].statistic)


# Noise.


def test_noise_members_share_one_field():
    stack = stack_of()
    magnitudes = [0, 0.5, 1, 2, 4]
    sweep = noise_sweep(stack, magnitudes, seed=SEED)
    assert list(sweep) == ["identity", *(f"identity, noise {m:g}".removeprefix("identity, ") for m in magnitudes[1:])]
    noise = noise_field(stack.shape[1:], SEED)
    for magnitude, result in zip(magnitudes, sweep.values(), strict=True):
        expected = [by_hand(stack[0], y, magnitude * noise) for y in stack]
        np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=1e-12)
        assert result.noise == magnitude
        alone = stack_correlation(stack, noise=magnitude, seed=SEED)
        np.testing.assert_array_equal(alone.statistic, result.statistic)


def test_a_sweep_of_a_transform():
    stack = stack_of()
    sweep = noise_sweep(stack, [0, 2], transform=flip_up_down, seed=SEED)
    assert list(sweep) == ["flip_up_down", "flip_up_down, noise 2"]
    expected = [by_hand(stack[0], y[::-1], 2 * noise_field(stack.shape[1:], SEED)) for y in stack]
    np.testing.assert_allclose(sweep["flip_up_down, noise 2"].statistic, expected, rtol=0, atol=1e-12)


def test_noise_with_a_seed_of_its_own():
    stack = stack_of()
    result = one(stack, AddNoise(1, seed=3), seed=SEED)
    expected = [by_hand(stack[0], y, noise_field(stack.shape[1:], 3)) for y in stack]
    np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["float64", "float32", "int", "list", "big-endian"])
def test_a_noise_array_is_added_as_it_is(kind):
    stack = stack_of("uint8")
    noise = np.random.default_rng(9).normal(0.3, 2, stack.shape[1:])
    given_noise = {
        "float64": noise,
        "float32": noise.astype(np.float32),
        "int": np.rint(noise).astype(int),
        "list": noise.tolist(),
        "big-endian": noise.astype(">f8"),
    }[kind]
    before = np.array(given_noise)
    result = stack_correlation(stack, transform=flip_right_left, noise=given_noise)
    expected = [by_hand(stack[0], y[:, ::-1], np.asarray(given_noise, np.float64)) for y in stack]
    np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(given_noise, before)
    assert math.isnan(result.noise)
    assert result.label == "flip_right_left, noise"


def test_a_seed_is_not_taken_for_a_noise_array():
    """Whatever the arrays' addresses are: a field by its seed and a field given are kept apart."""
    stack = stack_of()
    noise = np.random.default_rng(9).normal(size=stack.shape[1:])
    result = transform_battery(stack, [AddNoise(noise), AddNoise(1, seed=id(noise))])
    expected = [by_hand(stack[0], y, noise_field(stack.shape[1:], id(noise))) for y in stack]
    np.testing.assert_allclose(result["noise 1"].statistic, expected, rtol=0, atol=1e-12)


def known_stack():
    if (folder := real_data()) is not None:
        tifffile = pytest.importorskip("tifffile")
        return tifffile.imread(folder / "fibsem" / "fibsem_250.tif", key=range(3))
    return phantom((3, 200, 200), correlation_length=5.0, seed=1)


def test_noise_on_the_reference_itself_is_within_its_interval():
    sweep = noise_sweep(known_stack(), [0, 1, 2, 3, 4], seed=SEED)
    assert next(iter(sweep.values())).statistic[0] == 1.0
    for magnitude, result in enumerate(sweep.values()):
        low, high = result.confidence_interval(0.99)
        assert low[0] <= 1 / math.sqrt(1 + magnitude**2) <= high[0]


@given(
    magnitude=st.floats(0, 1e3),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    offset=st.sampled_from([0.0, 1e3]),
    seed=st.integers(0, 2**64 - 1),
)
def test_noise_does_not_know_the_scale_of_the_slices(magnitude, scale, offset, seed):
    stack = stack_of(n=2, shape=(6, 7))
    noise = magnitude * noise_field((6, 7), seed)
    result = stack_correlation(scale * (stack + offset), noise=magnitude, seed=seed)
    expected = [by_hand(stack[0], y, noise) for y in stack]
    np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=1e-10)


# Seeds.


def test_seeds_are_recorded_and_repeat_the_run():
    stack = stack_of()
    members = [ELASTIC, Compose(root, ELASTIC), AddNoise(1)]
    first = transform_battery(stack, members)
    seeds = {result.seed for result in first.values()}
    assert len(seeds) == 1
    second = transform_battery(stack, members, seed=seeds.pop())
    for label in first:
        np.testing.assert_array_equal(first[label].statistic, second[label].statistic)
    third = transform_battery(stack, members)
    assert (first["noise 1"].statistic != third["noise 1"].statistic).all()


def test_no_seed_where_nothing_is_random():
    stack = stack_of()
    assert stack_correlation(stack, transform=flip_up_down).seed is None
    assert stack_correlation(stack, transform=root, seed=4).seed is None
    assert stack_correlation(stack, noise=0).seed is None
    assert stack_correlation(stack, noise=1, seed=4).seed == 4


def test_noise_that_is_given_is_not_random():
    assert stack_correlation(stack_of(), noise=np.ones((13, 13))).seed is None


@pytest.mark.parametrize(
    "transform", [Elastic(40, 3, seed=5), AddNoise(1, seed=5), Compose(root, Elastic(40, 3, seed=5))]
)
def test_the_seed_that_is_recorded_is_the_one_that_was_used(transform):
    assert one(stack_of(), transform).seed == 5


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", True])
def test_seeds_that_are_not_allowed(seed):
    with pytest.raises(ParameterError, match=r"^seed = "):
        transform_battery(stack_of(), [ELASTIC], seed=seed)


# NaN, constant slices, masks.


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


# Labels, parameters.


def test_labels_are_in_the_order_asked_for():
    members = [ELASTIC, flip_up_down, AddNoise(2), identity, Compose(flip_up_down, AddNoise(1)), root]
    result = transform_battery(stack_of(), members, seed=0)
    assert list(result) == ["elastic(40, 3)", "flip_up_down", "noise 2", "identity", "flip_up_down, noise 1", "root"]
    assert len(result) == 6
    assert result["root"].transform == "root"
    assert result["flip_up_down, noise 1"].transform == "flip_up_down"
    with pytest.raises(KeyError, match="rotate"):
        _ = result["rotate"]


@pytest.mark.parametrize(
    "members",
    [
        [identity, identity],
        [AddNoise(1), flip_up_down, AddNoise(1, seed=3)],
        [Elastic(1, 1), Elastic(1, 1, seed=2)],
        [],
    ],
)
def test_labels_differ(members):
    with pytest.raises(ParameterError, match=r"^transforms = .*names that differ"):
        transform_battery(stack_of(), members)


def test_transforms_whose_parts_cannot_be_hashed():
    """Sequences for alpha and callables without a hash are allowed by their docstrings."""

    @dataclass
    class Power:
        exponent: float

        def __call__(self, image):
            return np.abs(image) ** self.exponent

    stack = stack_of()
    expected = [by_hand(stack[0], np.abs(y) ** 2) for y in stack]
    np.testing.assert_allclose(one(stack, Power(2)).statistic, expected, rtol=0, atol=1e-12)
    expected = one(stack, Elastic((40, 20), (3, 2)), seed=1).statistic
    np.testing.assert_array_equal(one(stack, Elastic([40, 20], [3, 2]), seed=1).statistic, expected)
    arrays = Elastic(np.array([40, 20]), np.array([3, 2]))
    np.testing.assert_array_equal(one(stack, arrays, seed=1).statistic, expected)


def test_transforms_of_the_callers_own_class_see_the_index():
    class Shift(Transform):
        name = "shift"

        def __call__(self, image, *, index=0):
            return np.roll(image, index, axis=1)

    stack = stack_of()
    expected = [by_hand(stack[0], np.roll(y, n, axis=1)) for n, y in enumerate(stack)]
    np.testing.assert_allclose(one(stack, Shift()).statistic, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("noise", [-1, float("nan"), np.zeros(3), np.zeros((3, 3)), "1"])
def test_noise_that_is_not_allowed(noise):
    with pytest.raises(ParameterError, match=r"^noise "):
        stack_correlation(stack_of(), noise=noise)


def test_the_spacing_of_a_volume_is_kept():
    class Volume:
        voxel_size = (45.0, 4.6, 4.6)

        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def __getitem__(self, key):
            return self.array[key]

    assert stack_correlation(Volume(stack_of())).spacing == 45.0
    assert one(Volume(stack_of()), flip_up_down).spacing == 45.0


# One read, any slabs, any number of threads.


class Counting:
    """A lazy source that counts how often each slice is read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.reads = np.zeros(len(array), int)

    def __getitem__(self, key):
        self.reads[key] += 1
        return self.array[key].copy()


@pytest.mark.parametrize("nan_policy", ["raise", "omit", "propagate"])
def test_a_whole_battery_reads_each_slice_once(nan_policy):
    source = Counting(stack_of(n=9)[:, np.newaxis])
    members = [
        *(transform for name, (transform, _) in TRANSFORMS.items() if name != "own seed"),
        AddNoise(1),
        AddNoise(2),
    ]
    transform_battery(source, members, reference=4, seed=1, nan_policy=nan_policy)
    assert np.delete(source.reads, 4).tolist() == [1] * 8
    assert source.reads[4] <= 2


def measured(plan, stack, length, threads):
    """Return the results of a plan over slabs of `length` slices, each array as bytes."""
    starts = range(0, len(stack), length)
    parts = measurement.run(plan, ((n, stack[n : n + length]) for n in starts), threads=threads)
    return [
        (
            r.flags,
            *(getattr(r, name).tobytes() for name in ("statistic", "n", "n_eff", "standard_error", "df", "distance")),
        )
        for r in measurement.finish(plan, parts)
    ]


@pytest.mark.parametrize("nan_policy", ["propagate", "omit"])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_slabs_and_threads_change_no_bit(backend, dtype, nan_policy):
    stack = stack_of(dtype, n=6)
    if np.dtype(dtype).kind == "f":
        stack[3, 4:6, 5] = np.nan
        stack[5, 1, 3:] = np.nan
    chosen = ("identity", "flip, rotate", "elastic", "elastic, flip", "flip, elastic", "function, rotate")
    members = [TRANSFORMS[name][0] for name in chosen]
    members += [Compose(t, AddNoise(0.5)) for t in members]
    plan = battery.prepare(
        [find_reference(Stack(stack), 1)], members, seed=2, ci="fisher", nan_policy=nan_policy, backend=backend
    )
    whole = measured(plan, stack, len(stack), 1)
    for length, threads in ((1, 1), (2, 3), (4, 2)):
        assert measured(plan, stack, length, threads) == whole, (length, threads)


def test_several_references_share_the_read():
    stack = stack_of("uint8", n=6)
    source = Counting(stack)
    results = stack_correlation(source, [0, 3, stack[5].astype(np.float64)], transform=flip_up_down, noise=1, seed=2)
    assert source.reads.tolist() == [2, 1, 1, 2, 1, 1]
    assert [r.reference for r in results] == [0, 3, None]
    for result, x in zip(results, (stack[0], stack[3], stack[5]), strict=True):
        expected = [by_hand(x, y[::-1], noise_field((13, 13), 2)) for y in stack]
        np.testing.assert_allclose(result.statistic, expected, rtol=0, atol=1e-12)


def test_the_choice_of_backend_reaches_every_thread_and_step(monkeypatch):
    """An explicit choice must hold where a step of a composition asks again, in a worker thread."""
    monkeypatch.setenv("GPU_STACKCORR_BACKEND", "nonsense")
    members = [ELASTIC, Compose(flip_up_down, ELASTIC), Compose(root, ELASTIC, AddNoise(1))]
    by_argument = transform_battery(stack_of(), members, seed=1, backend="numpy")
    with use_backend("numpy"):
        by_context = transform_battery(stack_of(), members, seed=1)
    for label in by_argument:
        np.testing.assert_array_equal(by_argument[label].statistic, by_context[label].statistic)


def test_the_context_reaches_functions_of_the_caller(monkeypatch):
    monkeypatch.setenv("GPU_STACKCORR_BACKEND", "nonsense")
    with use_backend("numpy"):
        transform_battery(stack_of(), [lambda image: elastic_transform(image, 1, 1, seed=len(get_backend().name))])


def test_a_failing_transform_raises_its_own_error_and_stops():
    stack = stack_of(n=200)
    source = Counting(stack)
    error = RuntimeError("no such luck")

    def fails(image):
        raise error

    with pytest.raises(RuntimeError) as caught:
        transform_battery(source, [identity, fails])
    assert caught.value is error
    assert source.reads[-1] == 0
    assert threading.active_count() < 20


# Nothing is modified.


def digest(*arrays):
    return [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in arrays]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_nothing_modifies_its_input(dtype):
    stack, noise = stack_of(dtype), np.random.default_rng(0).normal(size=(13, 13))
    mask = np.random.default_rng(1).random((13, 13)) < 0.7
    reference = stack[1].copy()
    before = digest(stack, noise, mask, reference)
    members = [t for name, (t, _) in TRANSFORMS.items() if name != "own seed"]
    members += [Compose(t, AddNoise(noise)) for t in members]
    transform_battery(stack, members, mask=mask, seed=1)
    transform_battery(stack, members, mask=mask, seed=1, reference=reference, nan_policy="omit")
    assert digest(stack, noise, mask, reference) == before


def test_read_only_input():
    stack = stack_of("float32")
    stack.setflags(write=False)
    transform_battery(stack, [t for name, (t, _) in TRANSFORMS.items() if name != "own seed"], seed=1)


def test_a_function_that_draws_into_its_argument_spoils_nothing():
    """The notebook's grid did: it was drawn into the stack, and every later figure had it."""
    stack = stack_of("uint8", n=6)
    clean = stack.copy()

    def draw(image):
        image[::4] = 255
        return image

    drawn = clean.copy()
    drawn[:, ::4] = 255
    result = transform_battery(stack, [draw, identity, Compose(draw, flip_up_down), root])
    np.testing.assert_array_equal(stack, clean)
    np.testing.assert_allclose(result["draw"].statistic, [by_hand(clean[0], y) for y in drawn], rtol=0, atol=1e-12)
    for name in ("identity", "root"):
        hand = TRANSFORMS["function" if name == "root" else name][1]
        expected = [by_hand(clean[0], hand(y, n)) for n, y in enumerate(clean)]
        np.testing.assert_allclose(result[name].statistic, expected, rtol=0, atol=1e-12)


def test_functions_may_be_slow_and_finish_in_any_order():
    stack = stack_of(n=8)

    def slow(image):
        time.sleep(0.02 if np.array_equal(image, stack[0]) else 0.0)
        return -image

    np.testing.assert_allclose(one(stack, slow).statistic, -stack_correlation(stack).statistic, rtol=0, atol=1e-12)
