"""elastic_transform: which field belongs to which seed, what it does to images and labels, and what it refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr import displacement_field, elastic_transform, warp
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.random_fields import Axis, Purpose, check_seed, grow_box, seed_or_fresh, stream, whole_box

pytestmark = pytest.mark.filterwarnings("ignore::gpu_stackcorr.errors.FoldWarning")  # small images, large fields

INTEGERS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def image_of(dtype="float64", shape=(17, 23), seed=0):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    image = (image - image.min()) / (image.max() - image.min())
    return image > 0.5 if dtype == "bool" else (100 * image).astype(dtype)


def field_by_hand(seed, index, shape, alpha, sigma, dtype=np.float64):
    """The field of DESIGN.md section 6: NumPy's Philox, smoothed by SciPy, times alpha; a component an axis."""
    ndim = len(shape)
    alpha, sigma = np.broadcast_to(alpha, ndim), np.broadcast_to(sigma, ndim)
    components = []
    for axis in range(ndim):
        number = (ndim - 1 - axis) << 48 | index  # x is 0, y is 1, z is 2
        uniform = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64))).random(
            shape, np.float32
        )
        noise = (2 * uniform - 1).astype(dtype)
        components.append(ndimage.gaussian_filter(noise, sigma, mode="constant", cval=0) * dtype(alpha[axis]))
    return np.stack(components)


def pulled(image, field, order=1, mode="reflect", cval=0.0):
    """The image at p + d by SciPy, float64."""
    grid = np.indices(image.shape, dtype=np.float64)
    return ndimage.map_coordinates(image.astype(np.float64), grid + field, order=order, mode=mode, cval=cval)


# Streams and seeds.


def test_streams():
    assert stream(Purpose.DISPLACEMENT, Axis.X, 5) == 5
    assert stream(Purpose.DISPLACEMENT, Axis.Y, 5) == 1 << 48 | 5
    assert stream(Purpose.DISPLACEMENT, Axis.Z, 0) == 2 << 48
    assert stream(Purpose.NOISE, Axis.X, 2**48 - 1) == 1 << 56 | (2**48 - 1)
    several = stream(Purpose.NOISE, 1, np.arange(6).reshape(2, 3))
    assert several.dtype == np.uint64
    assert several.tolist() == [[1 << 56 | 1 << 48 | n for n in row] for row in ((0, 1, 2), (3, 4, 5))]


@pytest.mark.parametrize("index", [-1, 2**48, 2**63, 2**64, 1.5])
def test_indices_of_fields_that_are_not_allowed(index):
    with pytest.raises(ParameterError, match=r"^index = "):
        displacement_field((4, 4), 1, 1, seed=0, index=index)
    with pytest.raises(ParameterError, match=r"^index = "):
        elastic_transform(np.ones((4, 4)), 1, 1, seed=0, index=index)


def test_the_last_index_of_a_stack_counts():
    last = displacement_field((1, 4, 4), 1, 1, seed=0, index=2**48 - 1, axes=(1, 2))
    np.testing.assert_array_equal(last[:, 0], displacement_field((4, 4), 1, 1, seed=0, index=2**48 - 1))
    with pytest.raises(ParameterError, match=r"^index = "):
        displacement_field((2, 4, 4), 1, 1, seed=0, index=2**48 - 1, axes=(1, 2))


def test_seeds():
    for seed in (0, 2**64 - 1, np.uint64(2**64 - 1), np.int8(3)):
        assert check_seed(seed) == int(seed)
        assert type(check_seed(seed)) is int
    for seed in (-1, 2**64, 1.0, True, np.bool_(True), "1", None):
        with pytest.raises(ParameterError, match=r"^seed = .*0 to 2\^64 - 1"):
            check_seed(seed)


def test_a_missing_seed_is_drawn_and_logged(caplog):
    with caplog.at_level("INFO", "gpu_stackcorr"):
        first, second = seed_or_fresh(None), seed_or_fresh(None)
    assert first != second
    assert [str(first) in record.getMessage() for record in caplog.records] == [True, False]
    caplog.clear()
    image = image_of()
    with caplog.at_level("INFO", "gpu_stackcorr"):
        drawn = elastic_transform(image, 20, 2)
    (seed,) = (re.search(r"seed=(\d+)", record.getMessage()) for record in caplog.records)
    np.testing.assert_array_equal(elastic_transform(image, 20, 2, seed=int(seed[1])), drawn)


def test_boxes():
    assert whole_box((3, 4)) == ((0, 3), (0, 4))
    grown, inner = grow_box(((1, 3), (5, 9)), (2, 3), (10, 9))
    assert grown == ((0, 5), (2, 9))
    assert inner == (slice(1, 3), slice(3, 7))


# The field.


@pytest.mark.parametrize("shape", [(19,), (13, 9), (6, 7, 8)])
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
@pytest.mark.parametrize("index", [0, 41, 2**48 - 1])
def test_fields_by_hand(backend, shape, seed, index):
    alpha, sigma = 250.0, 2.0
    expected = field_by_hand(seed, index, shape, alpha, sigma)
    field = displacement_field(shape, alpha, sigma, seed=seed, index=index, dtype=np.float64, backend=backend.name)
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-12 * alpha)
    single = displacement_field(shape, alpha, sigma, seed=seed, index=index, backend=backend.name)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5 * alpha)


def test_fields_by_axis_and_by_slice(backend):
    whole = displacement_field(
        (3, 9, 8), (10, 20), (1, 2), seed=4, index=7, axes=(1, 2), dtype=np.float64, backend=backend.name
    )
    assert whole.shape == (2, 3, 9, 8)
    for n in range(3):
        expected = field_by_hand(4, 7 + n, (9, 8), (10, 20), (1, 2))
        np.testing.assert_allclose(whole[:, n], expected, rtol=0, atol=1e-12)
    same = displacement_field(
        (3, 9, 8), (10, 20), (1, 2), seed=4, index=7, axes=(-2, -1), dtype="f8", backend=backend.name
    )
    np.testing.assert_array_equal(same, whole)


@given(data=st.data(), mode=st.sampled_from(["constant", "reflect", "nearest", "mirror", "wrap"]))
def test_a_box_is_that_box_of_the_whole(backend, data, mode):
    shape = tuple(data.draw(st.integers(1, 14)) for _ in range(data.draw(st.integers(1, 3))))
    moving = data.draw(st.integers(1, len(shape)))
    box = []
    for n in shape:
        start = data.draw(st.integers(0, n))
        box.append((start, data.draw(st.integers(start, n))))
    keywords = {
        "seed": 3,
        "index": 5,
        "axes": tuple(range(len(shape)))[-moving:],
        "mode": mode,
        "backend": backend.name,
    }
    sigma = data.draw(st.sampled_from([0, 0.3, 1.0, 2.5]))
    whole = displacement_field(shape, 30, sigma, **keywords)
    part = displacement_field(shape, 30, sigma, box=tuple(box), **keywords)
    np.testing.assert_array_equal(part, whole[(slice(None), *(slice(*ends) for ends in box))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4, 4, 4, 4)}, "^(axes|shape) = "),
        ({"shape": ()}, "^(axes|shape) = "),
        ({"axes": (0,)}, "^axes = "),
        ({"axes": (1, 0)}, "^axes = "),
        ({"axes": (1, 1)}, "^axes = "),
        ({"axes": (2,)}, "^axes = "),
        ({"axes": ()}, "^axes = "),
        ({"axes": 1}, "^axes = "),
        ({"shape": (-1, 4)}, "^shape = "),
        ({"box": ((0, 4),)}, "^box = "),
        ({"box": ((0, 4), (2, 5))}, "^box = "),
        ({"box": ((0, 4), (3, 2))}, "^box = "),
        ({"box": ((-1, 4), (0, 4))}, "^box = "),
        ({"mode": "zero"}, "^mode = 'zero'"),
        ({"dtype": np.float16}, "^dtype = float16"),
        ({"dtype": int}, "^dtype = int64"),
        ({"seed": -3}, "^seed = -3"),
        ({"alpha": -1}, "^alpha = -1"),
        ({"sigma": (1, 2, 3)}, r"^sigma = \(1, 2, 3\)"),
    ],
)
def test_fields_that_are_not_allowed(arguments, message):
    with pytest.raises(ParameterError, match=message):
        displacement_field(**{"shape": (4, 4), "alpha": 1, "sigma": 1, "seed": 0, **arguments})


# Images.


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest", "mirror", "grid-wrap"])
def test_images_by_hand(backend, order, mode):
    image = image_of()
    field = field_by_hand(6, 2, image.shape, (30, 20), (3, 2))
    expected = pulled(image, field, order, mode, cval=7.0)
    result = elastic_transform(
        image, (30, 20), (3, 2), order=order, mode=mode, cval=7.0, seed=6, index=2, backend=backend.name
    )
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 * 100)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32"])
def test_dtypes_are_kept(backend, dtype):
    image = image_of(dtype)
    expected = pulled(image, field_by_hand(6, 0, image.shape, 30, 3))
    result = elastic_transform(image, 30, 3, seed=6, backend=backend.name)
    assert result.dtype == image.dtype
    assert result.shape == image.shape
    error = np.abs(result.astype(np.float64) - expected)
    assert error.max() <= (1e-3 if dtype == "float32" else 0.5 + 1e-3)


def test_float32_is_close_to_float64(backend):
    image = image_of()
    double = elastic_transform(image, 50, 3, seed=1, backend=backend.name)
    single = elastic_transform(image.astype(np.float32), 50, 3, seed=1, backend=backend.name)
    assert single.dtype == np.float32
    # The displacement, too, is rounded to float32: a gradient of at most the range a voxel adds 1e-5 voxels.
    assert np.abs(single - double).max() <= 2e-5 * np.ptp(image)


def test_three_dimensions(backend):
    image = image_of(shape=(7, 8, 9))
    field = field_by_hand(6, 0, image.shape, (5, 10, 20), (1, 2, 2))
    result = elastic_transform(image, (5, 10, 20), (1, 2, 2), seed=6, backend=backend.name)
    np.testing.assert_allclose(result, pulled(image, field), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_stack_in_its_planes_is_its_slices(backend, dtype):
    stack, labels = image_of(dtype, (4, 9, 11)), image_of("int32", (4, 9, 11), seed=1)
    keywords = {"seed": 8, "order": 1, "backend": backend.name}
    moved, moved_labels = elastic_transform(stack, 25, (2, 3), labels=labels, axes=(1, 2), index=5, **keywords)
    for n in range(4):
        image, label = elastic_transform(stack[n], 25, (2, 3), labels=labels[n], index=5 + n, **keywords)
        np.testing.assert_array_equal(moved[n], image)
        np.testing.assert_array_equal(moved_labels[n], label)
    one_axis = elastic_transform(stack, 25, 3, axes=(-1,), seed=8, backend=backend.name)
    assert one_axis.shape == stack.shape


def test_seeds_and_indices_differ_and_repeat(backend):
    image = image_of()
    results = {}
    for seed, index in ((0, 0), (0, 1), (1, 0), (2**64 - 1, 0)):
        first = elastic_transform(image, 30, 3, seed=seed, index=index, backend=backend.name)
        again = elastic_transform(image, 30, 3, seed=seed, index=index, backend=backend.name)
        np.testing.assert_array_equal(first, again)
        results[seed, index] = first.tobytes()
    assert len(set(results.values())) == 4


def test_the_dtype_does_not_change_the_field(backend):
    field = [displacement_field((9, 9), 30, 0, seed=5, dtype=t, backend=backend.name) for t in (np.float32, np.float64)]
    np.testing.assert_allclose(field[0], field[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("mode", ["reflect", "constant", "wrap"])
def test_alpha_zero_is_the_identity(backend, dtype, order, mode):
    image = image_of(dtype)
    labels = image_of("uint16", seed=2)
    same = elastic_transform(image, 0, 3, seed=1, order=order, mode=mode, labels=labels, backend=backend.name)
    np.testing.assert_array_equal(same[0], image)
    np.testing.assert_array_equal(same[1], labels)
    field = np.zeros((2, *image.shape), np.float32)
    np.testing.assert_array_equal(warp(image, field, order=order, mode=mode, backend=backend.name), image)


def test_sigma_zero_leaves_the_noise_alone(backend):
    field = displacement_field((5, 6), 1, 0, seed=3, backend=backend.name)
    np.testing.assert_array_equal(field, field_by_hand(3, 0, (5, 6), 1, 0, np.float32))
    assert field.min() >= -1
    assert field.max() < 1


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (1, 9), (9, 1), (0, 3, 3), (1, 1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_empty_and_one_pixel_images(backend, shape, dtype):
    image = np.ones(shape, dtype)
    result, labels = elastic_transform(image, 9, 2, seed=1, labels=np.ones(shape, int), backend=backend.name)
    np.testing.assert_allclose(result, image, rtol=1e-15 if dtype == "float64" else 1e-6)
    assert result.shape == shape
    np.testing.assert_array_equal(labels, 1)
    drawn = elastic_transform(image, 9, 2, np.random.RandomState(0), backend=backend.name)
    np.testing.assert_allclose(drawn, image, rtol=1e-15 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_kinds_of_arrays(backend, dtype, tmp_path):
    image = image_of(dtype)
    expected = elastic_transform(image, 30, 3, seed=6, backend=backend.name)
    before = image.copy()
    read_only = image.copy()
    read_only.setflags(write=False)
    np.save(tmp_path / "image.npy", image)
    wide = np.zeros((2 * image.shape[0], 3 * image.shape[1]), dtype)
    wide[::2, ::3] = image
    for other in (
        read_only,
        image.astype(image.dtype.newbyteorder(">")),
        np.asfortranarray(image),
        np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1],
        wide[::2, ::3],
        np.load(tmp_path / "image.npy", mmap_mode="r"),
    ):
        result = elastic_transform(other, 30, 3, seed=6, backend=backend.name)
        np.testing.assert_array_equal(result, expected)
        assert result.dtype.newbyteorder("=") == image.dtype
        assert result.flags.writeable
        assert not np.shares_memory(result, other)
        np.testing.assert_array_equal(other, before)
    assert isinstance(elastic_transform(image.tolist(), 30, 3, seed=6), np.ndarray)
