"""Transforms: what each does to an image, how they compose, and which part of them the reference can take over."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from gpu_stackcorr import elastic_transform
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.transforms import (
    AddNoise,
    Affine,
    Compose,
    Elastic,
    Function,
    Permutation,
    as_transform,
    flip_right_left,
    flip_up_down,
    identity,
    noise_field,
    plan,
    rotate_90,
)

IMAGE = np.arange(15).reshape(3, 5)
SQUARE = {
    (turns, mirrored): Permutation(f"{turns}{mirrored}", turns, mirrored) for turns in range(4) for mirrored in (0, 1)
}


def test_flips_and_rotation_by_hand():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert identity(image).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert flip_right_left(image).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert flip_up_down(image).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert rotate_90(image).tolist() == [[3, 6], [2, 5], [1, 4]]
    assert [t.name for t in (identity, flip_right_left, flip_up_down, rotate_90)] == [
        "identity",
        "flip_right_left",
        "flip_up_down",
        "rotate_90",
    ]


@pytest.mark.parametrize(("turns", "mirrored"), SQUARE)
def test_a_permutation_mirrors_and_then_turns(turns, mirrored):
    expected = np.rot90(np.fliplr(IMAGE) if mirrored else IMAGE, turns)
    np.testing.assert_array_equal(SQUARE[turns, mirrored](IMAGE), expected)


def test_permutations_work_on_the_last_two_axes():
    stack = np.arange(30).reshape(2, 3, 5)
    for permutation in SQUARE.values():
        np.testing.assert_array_equal(permutation(stack), np.stack([permutation(image) for image in stack]))


def test_the_eight_are_different():
    assert len({(p(IMAGE).shape, p(IMAGE).tobytes()) for p in SQUARE.values()}) == 8


@pytest.mark.parametrize(("first", "second"), list(product(SQUARE, SQUARE)))
def test_products(first, second):
    a, b = SQUARE[first], SQUARE[second]
    both = b.after(a)
    np.testing.assert_array_equal(both(IMAGE), b(a(IMAGE)))
    assert (both.turns, both.mirrored) in SQUARE


@pytest.mark.parametrize("key", SQUARE)
def test_inverses(key):
    permutation = SQUARE[key]
    back = permutation.inverse()
    np.testing.assert_array_equal(back(permutation(IMAGE)), IMAGE)
    np.testing.assert_array_equal(permutation(back(IMAGE)), IMAGE)
    assert (back.turns, back.mirrored) in SQUARE


def test_any_number_of_turns():
    for turns in (-5, -1, 4, 7):
        permutation = Permutation("many", turns, True)
        np.testing.assert_array_equal(permutation(IMAGE), np.rot90(np.fliplr(IMAGE), turns))
        np.testing.assert_array_equal(permutation.inverse()(permutation(IMAGE)), IMAGE)


# Noise.


def numpy_normal(seed, shape):
    """The normal field of DESIGN.md section 6: Box-Muller on the uniforms 2i and 2i + 1 of the noise stream."""
    bits = np.random.Philox(key=np.array([seed, 1 << 56], np.uint64))
    u0, u1 = np.random.Generator(bits).random((int(np.prod(shape)), 2)).T
    return (np.sqrt(-2 * np.log1p(-u0)) * np.cos(2 * np.pi * u1)).reshape(shape)


def test_the_noise_field_belongs_to_the_seed(backend):
    for seed in (0, 7, 2**64 - 1):
        np.testing.assert_allclose(
            noise_field((3, 5), seed, backend.name), numpy_normal(seed, (3, 5)), rtol=0, atol=1e-6
        )


def test_noise_is_added_to_the_standardised_image():
    image = np.random.default_rng(0).normal(40, 9, (16, 17))
    before = image.copy()
    standard = (image - image.mean()) / image.std()
    noise = np.random.default_rng(1).normal(size=image.shape)
    np.testing.assert_allclose(AddNoise(noise)(image), standard + noise, rtol=0, atol=1e-12)
    np.testing.assert_allclose(AddNoise(0)(image), standard, rtol=0, atol=1e-12)
    np.testing.assert_allclose(AddNoise(2.5, seed=3)(image), standard + 2.5 * numpy_normal(3, image.shape), atol=1e-5)
    np.testing.assert_array_equal(image, before)
    assert AddNoise(1, seed=3)(image.astype(np.uint8)).dtype == np.float64


def test_noise_without_a_seed_is_new_each_time():
    image = np.random.default_rng(0).normal(size=(8, 8))
    assert (AddNoise(1)(image) != AddNoise(1)(image)).any()
    np.testing.assert_array_equal(AddNoise(1, seed=2)(image), AddNoise(1, seed=2)(image))


def test_noise_of_another_shape_is_refused():
    with pytest.raises(ParameterError, match=r"noise has shape \(3, 4\): .*\(4, 4\)"):
        AddNoise(np.zeros((3, 4)))(np.eye(4))


# Elastic deformation and functions.


def test_elastic_is_elastic_transform_with_the_index_of_the_slice():
    image = np.random.default_rng(0).normal(size=(12, 13))
    transform = Elastic(20, 3, seed=5, order=3, mode="constant", cval=2.0)
    for index in (0, 4):
        expected = elastic_transform(image, 20, 3, seed=5, index=index, order=3, mode="constant", cval=2.0)
        np.testing.assert_array_equal(transform(image, index=index), expected)
    per_axis = Elastic((20, 0), (3, 2), seed=5)(image)
    np.testing.assert_array_equal(per_axis, elastic_transform(image, (20, 0), (3, 2), seed=5))


def test_functions_are_transforms():
    def invert(image):
        return 255 - image

    transform = as_transform(invert)
    assert isinstance(transform, Function)
    assert transform.name == "invert"
    np.testing.assert_array_equal(transform(IMAGE, index=3), 255 - IMAGE)
    assert as_transform(None) is identity
    assert as_transform(rotate_90) is rotate_90
    assert as_transform(functools.partial(np.roll, shift=1)).name


# Composition.


def test_compose_goes_from_first_to_last():
    def double(image):
        return 2 * image

    def add_one(image):
        return image + 1

    np.testing.assert_array_equal(Compose(double, add_one)(IMAGE), 2 * IMAGE + 1)
    np.testing.assert_array_equal(Compose(add_one, double)(IMAGE), 2 * (IMAGE + 1))
    np.testing.assert_array_equal(Compose(rotate_90, flip_right_left)(IMAGE), np.fliplr(np.rot90(IMAGE)))
    np.testing.assert_array_equal(Compose(flip_right_left, rotate_90)(IMAGE), np.rot90(np.fliplr(IMAGE)))
    np.testing.assert_array_equal(Compose()(IMAGE), IMAGE)


def test_compose_hands_the_index_on():
    image = np.random.default_rng(0).normal(size=(12, 12))
    composed = Compose(flip_up_down, Compose(Elastic(9, 2, seed=1), rotate_90))
    expected = np.rot90(elastic_transform(image[::-1], 9, 2, seed=1, index=6))
    np.testing.assert_array_equal(composed(image, index=6), expected)


def test_noise_comes_after_every_other_transform():
    noise = np.random.default_rng(1).normal(size=(4, 4))
    image = np.random.default_rng(2).normal(size=(4, 4))
    standard = (image[:, ::-1] - image.mean()) / image.std()
    for composed in (
        Compose(AddNoise(noise), flip_right_left),
        Compose(flip_right_left, AddNoise(noise)),
        Compose(Compose(AddNoise(noise)), flip_right_left),
    ):
        np.testing.assert_allclose(composed(image), standard + noise, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (Compose(), "identity"),
        (Compose(flip_right_left), "flip_right_left"),
        (Compose(flip_right_left, Compose(rotate_90, identity)), "flip_right_left, rotate_90, identity"),
        (AddNoise(2), "noise 2"),
        (AddNoise(0.5), "noise 0.5"),
        (AddNoise(np.zeros((2, 2))), "noise"),
        (Elastic(250, 10), "elastic(250, 10)"),
        (Elastic(12.5, (3, 4)), "elastic(12.5, 3x4)"),
        (Compose(AddNoise(1), Elastic(50, 10)), "elastic(50, 10), noise 1"),
    ],
)
def test_names(transform, name):
    assert transform.name == name


def square(image):
    return image**2


ELASTIC, NOISE = Elastic(9, 2), AddNoise(2)


@pytest.mark.parametrize(
    ("parts", "name", "steps", "moved", "noise"),
    [
        ((), "identity", 0, (0, False), False),
        ((identity,), "identity", 0, (0, False), False),
        ((rotate_90,), "rotate_90", 0, (1, False), False),
        ((NOISE,), "identity", 0, (0, False), True),
        ((flip_up_down, NOISE), "flip_up_down", 0, (2, True), True),
        ((rotate_90, rotate_90), "rotate_90, rotate_90", 0, (2, False), False),
        ((rotate_90, flip_right_left), "rotate_90, flip_right_left", 0, (3, True), False),
        ((flip_right_left, rotate_90), "flip_right_left, rotate_90", 0, (1, True), False),
        ((ELASTIC,), "elastic(9, 2)", 1, (0, False), False),
        ((ELASTIC, rotate_90, NOISE), "elastic(9, 2), rotate_90", 1, (1, False), True),
        ((rotate_90, ELASTIC), "rotate_90, elastic(9, 2)", 2, (0, False), False),
        (
            (square, rotate_90, square, flip_right_left),
            "square, rotate_90, square, flip_right_left",
            3,
            (0, True),
            False,
        ),
    ],
)
def test_plan(parts, name, steps, moved, noise):
    made = plan(Compose(*parts))
    assert made.name == name
    assert len(made.steps) == steps
    assert (made.permutation.turns % 4, bool(made.permutation.mirrored)) == moved
    assert (made.noise is not None) == noise
    if len(parts) == 1 and parts[0] is not square:
        assert plan(parts[0]).name == name


@pytest.mark.parametrize("key", SQUARE)
@pytest.mark.parametrize(
    "parts", [(flip_up_down,), (rotate_90,), (square, rotate_90, flip_right_left), (rotate_90, square)]
)
def test_the_parts_of_a_plan_are_the_transform(key, parts):
    whole = Compose(*parts, SQUARE[key])
    made = plan(whole)
    image = IMAGE
    for step in made.steps:
        image = step(image)
    np.testing.assert_array_equal(made.permutation(image), whole(IMAGE))


# What is not allowed.


@pytest.mark.parametrize(
    "magnitude", [-1, -1e-9, float("nan"), float("inf"), -np.float32(2), np.zeros(3), np.zeros((1, 2, 2))]
)
def test_noise_magnitudes(magnitude):
    with pytest.raises(ParameterError, match=r"^noise "):
        AddNoise(magnitude)


@pytest.mark.parametrize("magnitude", ["1", None, 1j])
def test_noise_magnitudes_that_are_no_numbers(magnitude):
    with pytest.raises(ParameterError, match=r"^noise "):
        AddNoise(magnitude)


@pytest.mark.parametrize("array", [[[1.0, np.nan]], [[np.inf, 1.0]], [[1j, 1.0]], [["a", "b"]]])
def test_noise_arrays_are_finite_numbers(array):
    with pytest.raises(ParameterError, match=r"^noise "):
        AddNoise(np.array(array)).field((1, 2), 0)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "1", None])
def test_seeds(seed):
    if seed is None:
        assert AddNoise(1, seed=None).seed is None
        return
    with pytest.raises(ParameterError, match=r"^seed = .*: allowed are the integers 0 to 2\^64 - 1"):
        AddNoise(1, seed=seed)
    with pytest.raises(ParameterError, match=r"^seed = "):
        Elastic(1, 1, seed=seed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1}, "^alpha = -1"),
        ({"alpha": float("nan")}, "^alpha = nan"),
        ({"sigma": -0.5}, "^sigma = -0.5"),
        ({"sigma": (1, -2)}, r"^sigma = \(1, -2\)"),
        ({"alpha": (1, 2, 3, 4)}, r"^alpha = \(1, 2, 3, 4\)"),
        ({"sigma": ()}, r"^sigma = \(\)"),
        ({"order": 6}, "^order = 6: allowed are 0, 1, 2, 3, 4, 5"),
        ({"order": -1}, "^order = -1"),
        ({"mode": "same"}, "^mode = 'same': allowed are 'reflect'"),
        ({"alpha": "ten"}, "^alpha = 'ten'"),
        ({"sigma": None}, "^sigma = None"),
    ],
)
def test_elastic_parameters(arguments, message):
    with pytest.raises(ParameterError, match=message):
        Elastic(**{"alpha": 1, "sigma": 1, **arguments})


def test_two_noises_and_things_that_are_no_transforms():
    with pytest.raises(ParameterError, match="noise 2 times: allowed is once"):
        Compose(AddNoise(1), flip_up_down, Compose(AddNoise(2)))
    for wrong in ("flip", 3, np.eye(2)):
        with pytest.raises(ParameterError, match=r"^transform = .*allowed are Transform objects and functions"):
            as_transform(wrong)
        with pytest.raises(ParameterError, match=r"^transform = "):
            Compose(identity, wrong)


# For training.


def test_workers_threads_and_restarts_agree():
    image, labels = smooth_image(), np.arange(32 * 32).reshape(32, 32)
    augment = Compose(Elastic(30, 4, seed=2**64 - 1), flip_right_left, Affine.rotation(10))

    def sample(index):
        moved, copied = augment(image, index=index, labels=labels)
        return moved.tobytes() + copied.tobytes()

    alone = [sample(index) for index in range(8)]
    assert len(set(alone)) == 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(sample, range(8))) == alone
    code = """if True:
        import hashlib, numpy as np
        from test_transforms import smooth_image
        from gpu_stackcorr.transforms import Affine, Compose, Elastic, flip_right_left
        augment = Compose(Elastic(30, 4, seed=2**64 - 1), flip_right_left, Affine.rotation(10))
        moved, copied = augment(smooth_image(), index=5, labels=np.arange(32 * 32).reshape(32, 32))
        print(hashlib.sha256(moved.tobytes() + copied.tobytes()).hexdigest())"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.strip() == hashlib.sha256(alone[5]).hexdigest()


def test_transforms_can_be_sent_to_workers():
    augment = Compose(Elastic(30, 4, seed=1), flip_right_left, Affine.rotation(10), AddNoise(0.5, seed=2))
    image = smooth_image()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(augment))(image, index=3), augment(image, index=3))


def smooth_image():
    """An image of float32 numbers."""
    y, x = np.mgrid[:32, :32]
    return (np.sin(x / 5) + np.cos(y / 4)).astype(np.float32)
