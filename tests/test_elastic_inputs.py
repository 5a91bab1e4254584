"""What elastic_transform takes beside an image: labels, the caller's generator; what it refuses; warp beneath it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from test_elastic_transform import INTEGERS, image_of, pulled

from gpu_stackcorr import displacement_field, elastic_transform, warp
from gpu_stackcorr.errors import InputTypeError, ParameterError

pytestmark = pytest.mark.filterwarnings("ignore::gpu_stackcorr.errors.FoldWarning")  # small images, large fields


# Labels.


@pytest.mark.parametrize("dtype", [*INTEGERS, ">u8", ">i4"])
def test_labels_keep_every_bit(backend, dtype):
    generator = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        labels = generator.random((17, 23)) < 0.5
    else:
        limits = np.iinfo(kind)
        labels = generator.integers(limits.min, limits.max, (17, 23), kind.newbyteorder("="), endpoint=True).astype(
            kind
        )
        labels[::3], labels[1::3] = limits.max, limits.max - 1
    image = image_of()
    result, moved = elastic_transform(image, 30, 3, seed=6, labels=labels, backend=backend.name)
    field = displacement_field(image.shape, 30, 3, seed=6, dtype=np.float64, backend=backend.name)
    nearest = np.floor(np.indices(image.shape) + field + 0.5).astype(int)
    for axis, n in enumerate(image.shape):  # reflect: d c b a | a b c d | d c b a
        nearest[axis] %= 2 * n
        nearest[axis] = np.where(nearest[axis] >= n, 2 * n - 1 - nearest[axis], nearest[axis])
    np.testing.assert_array_equal(moved, labels[tuple(nearest)])
    assert moved.dtype.newbyteorder("=") == kind.newbyteorder("=")
    np.testing.assert_array_equal(result, elastic_transform(image, 30, 3, seed=6, backend=backend.name))


@pytest.mark.parametrize("value", [2**64 - 1, 2**53 + 1, 2**63])
def test_labels_beyond_float64(backend, value):
    labels = np.full((8, 8), value, np.uint64)
    labels[4:] -= np.uint64(1)
    _, moved = elastic_transform(np.zeros((8, 8)), 10, 2, seed=0, labels=labels, backend=backend.name)
    assert set(np.unique(moved).tolist()) <= {value, value - 1}
    assert (moved == value).any()


def test_labels_of_a_drawn_field(backend):
    image, labels = image_of(), np.arange(17 * 23).reshape(17, 23)
    first = elastic_transform(image, 30, 3, np.random.RandomState(1), labels=labels, backend=backend.name)
    alone = elastic_transform(labels, 30, 3, np.random.RandomState(1), order=0, backend=backend.name)
    np.testing.assert_array_equal(first[1], alone)


@pytest.mark.parametrize("labels", [np.zeros((17, 23)), np.zeros((17, 22), int), np.zeros((1, 17, 23), int)])
def test_labels_that_are_not_allowed(labels):
    with pytest.raises(ParameterError, match=r"^labels has shape"):
        elastic_transform(image_of(), 1, 1, seed=0, labels=labels)


# The caller's generator.


def drawn_by_hand(generator, shape, alpha, sigma):
    """The notebook's draws: the last axis first."""
    fields = [
        ndimage.gaussian_filter(generator.random(shape) * 2 - 1, sigma, mode="constant", cval=0) * alpha for _ in shape
    ]
    return np.stack(fields[::-1])


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
@pytest.mark.parametrize("shape", [(17, 23), (5, 6, 7)])
def test_a_generator_is_drawn_from_in_the_notebooks_order(backend, make, shape):
    image, generator, twin = image_of(shape=shape), make(3), make(3)
    expected = pulled(image, drawn_by_hand(twin, shape, 30, 2))
    result = elastic_transform(image, 30, 2, generator, backend=backend.name)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)
    assert generator.random() == twin.random()  # and no more was drawn


def test_random_and_rand_are_the_same_draws():
    np.testing.assert_array_equal(np.random.RandomState(3).rand(4, 5), np.random.RandomState(3).random((4, 5)))


def test_a_generator_serves_a_stack_slice_by_slice(backend):
    stack = image_of(shape=(3, 9, 8))
    together = elastic_transform(stack, 30, 2, np.random.RandomState(3), axes=(1, 2), backend=backend.name)
    generator = np.random.RandomState(3)
    for image, moved in zip(stack, together, strict=True):
        np.testing.assert_array_equal(elastic_transform(image, 30, 2, generator, backend=backend.name), moved)


def test_a_generator_gives_every_dtype_the_same_field(backend):
    image = image_of()
    double = elastic_transform(image, 30, 3, np.random.RandomState(5), backend=backend.name)
    single = elastic_transform(image.astype(np.float32), 30, 3, np.random.RandomState(5), backend=backend.name)
    assert np.abs(single - double).max() <= 2e-5 * np.ptp(image)


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1}, "^alpha = -1"),
        ({"alpha": np.nan}, "^alpha = nan"),
        ({"alpha": np.inf}, "^alpha = inf"),
        ({"alpha": (1, 2, 3)}, r"^alpha = \(1, 2, 3\)"),
        ({"alpha": None}, "^alpha = None"),
        ({"sigma": -0.1}, "^sigma = -0.1"),
        ({"sigma": (2, -1)}, r"^sigma = \(2, -1\)"),
        ({"sigma": "wide"}, "^sigma = 'wide'"),
        ({"order": 6}, "^order = 6"),
        ({"order": "1"}, "^order = '1'"),
        ({"order": 1.5}, "^order = 1.5"),
        ({"mode": "edge"}, "^mode = 'edge'"),
        ({"axes": (0,)}, r"^axes = \(0,\)"),
        ({"axes": (0, 1, 2)}, "^axes = "),
        ({"axes": 1}, "^axes = 1"),
        ({"seed": -1}, "^seed = -1"),
        ({"seed": 2**64}, "^seed = "),
        ({"seed": 0, "random_state": np.random.RandomState(0)}, "^seed and random_state are both given"),
        ({"seed": None, "random_state": 3}, "^random_state = 3: allowed are .*RandomState and Generator"),
        ({"seed": None, "random_state": np.random}, "^random_state = "),
        ({"image": np.zeros(5)}, "^image has 1 dimensions: allowed are 2 and 3"),
        ({"image": np.zeros((2, 2, 2, 2))}, "^image has 4 dimensions"),
        ({"image": np.zeros((2, 2)), "channel_axis": 0}, "^image has 1 dimensions"),
        ({"method": "spline"}, "^method = 'spline'"),
        ({"method": "grid", "sigma": 0}, "^sigma = 0"),
        ({"spacing": 0}, "^spacing = 0"),
        ({"method": "grid", "sigma": 3, "seed": None, "random_state": np.random.RandomState(0)}, "^method = 'grid'"),
    ],
)
def test_parameters(arguments, message):
    with pytest.raises(ParameterError, match=message):
        elastic_transform(**{"image": image_of(), "alpha": 1, "sigma": 1, "seed": 0, **arguments})


@pytest.mark.parametrize("dtype", ["float16", "complex64", "complex128", "O"])
def test_dtypes_that_are_refused(dtype):
    with pytest.raises(InputTypeError, match=r"^image has dtype"):
        elastic_transform(np.zeros((4, 4), dtype), 1, 1, seed=0)


def test_nothing_after_the_generator_is_positional():
    with pytest.raises(TypeError):
        elastic_transform(image_of(), 1, 1, None, image_of())  # type: ignore[misc]


# warp: what elastic_transform hands on, and what it checks itself.


@pytest.mark.parametrize(
    ("image", "displacement", "keywords", "message"),
    [
        (np.zeros((3, 4)), np.zeros((2, 3, 5)), {}, "^displacement has shape"),
        (np.zeros((3, 4)), np.zeros((1, 3, 4)), {"axes": (0, 1)}, "^displacement has shape"),
        (np.zeros((3, 4)), np.zeros((3, 3, 4)), {}, "^(axes|displacement)"),
        (np.zeros((3, 4)), np.zeros(()), {}, "^(axes|displacement)"),
        (np.zeros((3, 4)), np.zeros((0, 3, 4)), {}, "^(axes|displacement)"),
        (np.zeros((3, 4)), np.zeros((2, 3, 4), int), {}, "^displacement has dtype int64"),
        (np.zeros((3, 4)), np.full((2, 3, 4), np.nan), {}, "^displacement has 24 values that are NaN or infinite"),
        (np.zeros((3, 4)), np.array([[[0]], [[-np.inf]]]), {}, "^displacement has 1 values that are NaN or infinite"),
        (np.zeros((3, 4)), np.zeros((2, 3, 4)), {"axes": (1, 0)}, "^axes = "),
        (np.zeros((3, 4)), np.zeros((2, 3, 4)), {"order": -1}, "^order = -1"),
        (np.zeros((3, 4)), np.zeros((2, 3, 4)), {"mode": "x"}, "^mode = 'x'"),
        (np.zeros(()), np.zeros((1,)), {}, "^image has 0 dimensions"),
        (np.zeros((1,) * 5), np.zeros((1,) * 5), {}, "^image has 5 dimensions"),
    ],
)
def test_warps_that_are_not_allowed(image, displacement, keywords, message):
    with pytest.raises(ParameterError, match=message):
        warp(image, displacement, **keywords)


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_a_displacement_in_another_byte_order(backend, dtype):
    image = image_of()
    field = displacement_field(
        image.shape, 30, 3, seed=1, dtype=np.dtype(dtype).newbyteorder("="), backend=backend.name
    )
    expected = warp(image, field, backend=backend.name)
    np.testing.assert_array_equal(warp(image, field.astype(dtype), backend=backend.name), expected)
