"""Batteries of transforms by hand: each slice transformed, standardised, noise added, np.corrcoef."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from properties import given, st
from real_data import real_data
from transforms_by_hand import DTYPES, ELASTIC, SEED, TRANSFORMS, by_hand, near, one, root, stack_of

from gpu_stackcorr import noise_sweep, phantom, stack_correlation, transform_battery
from gpu_stackcorr.errors import ParameterError
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

pytestmark = pytest.mark.usefixtures("chosen_backend")


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
