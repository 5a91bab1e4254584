"""Random fields, displacements and their moments by Numba: borders of chunks, boxes and threads, fused forms."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr import elastic_transform
from gpu_stackcorr.arrays import available_backends, get_backend
from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.random_fields import Axis, Purpose, stream
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from gpu_stackcorr.backends.numba_ import box_muller, memory, random_field, warp_moments

numba = get_backend("numba")

CHUNK = 8 * random_field.BLOCKS
"""float32 numbers drawn together."""


def drawn(count, dtype=np.float32, seed=12, name=34):
    """The first numbers of a stream, by NumPy."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, name], np.uint64))).random(count, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [*range(1, 20), CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7, 4099])
def test_lengths_around_blocks_and_chunks(dtype, count):
    np.testing.assert_array_equal(numba.random_field(12, 34, (count,), dtype=dtype), drawn(count, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", [*range(1, 10), CHUNK - 1, CHUNK, CHUNK + 3])
def test_starts_within_blocks_and_chunks(dtype, start):
    box = ((start, start + CHUNK + 5),)
    field = numba.random_field(12, 34, (5 * CHUNK,), box=box, dtype=dtype)
    np.testing.assert_array_equal(field, drawn(start + CHUNK + 5, dtype)[start:])


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_no_bit(distribution, dtype):
    """Parts of streams among the threads, in runs that they cut."""
    shape, box = (3, 331, 401), ((1, 3), (2, 331), (5, 398))
    names = stream(Purpose.NOISE, Axis.X, np.arange(3))
    kwargs = {"box": box, "dtype": dtype, "distribution": distribution}
    fields = []
    for threads in (1, 2, 3, 7):
        with use_threads(threads):
            fields.append(numba.random_field(5, names, shape, **kwargs))
            np.testing.assert_array_equal(fields[-1][1], numba.random_field(5, int(names[1]), shape, **kwargs))
    for field in fields[1:]:
        np.testing.assert_array_equal(field, fields[0])
    expected = get_backend("numpy").random_field(5, names, shape, **kwargs)
    np.testing.assert_allclose(fields[0], expected, rtol=0, atol=1e-6 if distribution == "normal" else 0)


def test_long_fields_are_cut_into_parts(monkeypatch):
    monkeypatch.setattr(random_field, "PART", 1000)
    monkeypatch.setattr(random_field, "LONGEST_PART", 3001)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(numba.random_field(12, 34, (70_001,), dtype=dtype), drawn(70_001, dtype))


def test_a_field_that_64_bits_do_not_count():
    shape, box = (2**40, 2**40), ((2**40 - 2, 2**40), (7, 10))
    field = numba.random_field(1, 2, shape, box=box)
    np.testing.assert_array_equal(field, get_backend("numpy").random_field(1, 2, shape, box=box))


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_the_last_numbers_that_64_bits_count(distribution):
    box = ((2**63 - 11, 2**63),)
    field = numba.random_field(1, 2, (2**63,), box=box, distribution=distribution)
    expected = get_backend("numpy").random_field(1, 2, (2**63,), box=box, distribution=distribution)
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-6 if distribution == "normal" else 0)


def test_words_at_the_ends_of_their_range():
    words = np.array([0, 1, 2**11 - 1, 2**11, 2**43 - 1, 2**43, 2**63 - 1, 2**63, 2**64 - 2**11, 2**64 - 1], np.uint64)
    numbers = np.empty(words.size)
    random_field._of_doubles(words, 0, numbers, random_field.UNIFORM_64, 0.0)
    np.testing.assert_array_equal(numbers, (words >> np.uint64(11)) / 2.0**53)


def test_normal_numbers_from_words_at_the_ends_of_their_range():
    """No radius at u = 0, the largest at 1 - 2^-53; angles around the eighths of a turn, where the polynomials meet."""
    ends = [0, 2**11, 2**12, 2**40, 2**63, 2**64 - 2**12, 2**64 - 1]
    radii = np.array(ends + [int((1 - np.sqrt(0.5)) * 2**64) + k for k in (-4096, 0, 4096)], np.uint64)
    angles = np.array([(k << 61) + step for k in range(8) for step in (0, 2**11, 2**61 - 2**11)], np.uint64)
    words = np.array(np.meshgrid(radii, angles)).reshape(2, -1).T.ravel()
    numbers = np.empty(words.size // 2)
    box_muller.normal(words, numbers)
    u0, u1 = (words >> np.uint64(11)).reshape(-1, 2).T / 2.0**53
    np.testing.assert_allclose(numbers, np.sqrt(-2 * np.log1p(-u0)) * np.cos(2 * np.pi * u1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["constant", "reflect", "grid-wrap"])
@pytest.mark.parametrize("sigma", [(0.0, 0.0), (2.0, 0.0), (0.0, 1.5), (3.0, 4.0)])
@pytest.mark.parametrize("box", [None, ((5, 66), (1, 20)), ((0, 1), (0, 97)), ((3, 3), (0, 97))])
def test_the_fused_displacement_is_the_composition(dtype, mode, sigma, box):
    """To the bit on any number of threads; in float64 products and sums are fused here and not there."""
    names = stream(Purpose.DISPLACEMENT, Axis.Y, np.arange(6).reshape(2, 3))
    kwargs = {"alpha": np.array([[3.0], [40.0]]), "sigma": sigma, "box": box, "mode": mode, "dtype": dtype}
    expected = Backend.displacement(numba, 7, names, (67, 97), **kwargs)
    tolerance = 0 if dtype == np.float32 else 4e-15 * np.max(np.abs(expected), initial=0)
    with use_threads(1):
        field = numba.displacement(7, names, (67, 97), **kwargs)
    assert field.dtype == dtype
    np.testing.assert_allclose(field, expected, rtol=0, atol=tolerance)
    for threads in (2, 3, 7):
        with use_threads(threads):
            np.testing.assert_array_equal(numba.displacement(7, names, (67, 97), **kwargs), field)


@pytest.mark.parametrize("shape", [(50,), (4, 9), (5, 8, 9)])
@pytest.mark.parametrize(("names", "alpha"), [(3, 2.0), (3, np.array([1.0, 2.0])), (np.empty((2, 0), np.uint64), 1.0)])
def test_displacements_of_any_number(shape, names, alpha):
    kwargs = {"alpha": alpha, "sigma": [1.0] * len(shape)}
    expected = Backend.displacement(numba, 7, names, shape, **kwargs)
    np.testing.assert_array_equal(numba.displacement(7, names, shape, **kwargs), expected)


@pytest.mark.parametrize(("shape", "alpha"), [((20, 30), np.ones(2)), ((5, 8, 9), np.array([1.0, 2.0])), ((4,), 3.0)])
def test_temporary_fields_lie_in_the_memory_of_those_before(shape, alpha):
    names, kwargs = np.arange(np.size(alpha), dtype=np.uint64), {"alpha": alpha, "sigma": [1.0] * len(shape)}
    before = numba.displacement(7, names, shape, **kwargs, temporary=True)
    field = numba.displacement(8, names, shape, **kwargs, temporary=True)
    assert np.shares_memory(before, field)
    np.testing.assert_array_equal(field, numba.displacement(8, names, shape, **kwargs))


def test_large_temporary_fields_are_not_kept(monkeypatch):
    monkeypatch.setattr(memory, "KEPT_BYTES", 2399)
    fields = [
        numba.displacement(seed, 3, (20, 30), alpha=1.0, sigma=[1.0, 1.0], temporary=True, dtype=np.float32)
        for seed in (7, 8)
    ]
    assert not np.shares_memory(*fields)


def test_images_deformed_one_after_the_other_share_nothing():
    image = np.random.default_rng(0).random((40, 50))
    first = elastic_transform(image, 10.0, 3.0, seed=1, check_folds=False, backend="numba")
    copy = first.copy()
    second = elastic_transform(image, 10.0, 3.0, seed=2, check_folds=False, backend="numba")
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, copy)


def test_a_radius_that_needs_much_memory():
    kwargs = {"alpha": 2.0, "sigma": [40_000.0, 1.0], "mode": "reflect"}
    expected = Backend.displacement(numba, 7, np.array([1, 2], np.uint64), (3, 4), **kwargs)
    np.testing.assert_array_equal(numba.displacement(7, np.array([1, 2], np.uint64), (3, 4), **kwargs), expected)


def random_images(rng, shape, dtype):
    if np.dtype(dtype).kind == "f":
        return rng.normal(100, 20, shape).astype(dtype)
    return rng.integers(0, 2 if dtype is np.bool_ else 250, shape).astype(dtype)


def assert_same(result, expected):
    """All numbers of two Moments, to the bit."""
    for name in ("count", "mean_x", "mean_y", "ss_x", "ss_y", "ss_xy"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
    assert (result.sums is None) == (expected.sums is None)
    if result.sums is not None:
        np.testing.assert_array_equal(np.array(result.sums.arrays()), np.array(expected.sums.arrays()))
    assert (result.cells is None) == (expected.cells is None)
    if result.cells is not None:
        assert_same(result.cells, expected.cells)


@pytest.mark.parametrize(
    ("dtype", "order"), [(np.bool_, 0), (np.uint8, 1), (np.int16, 1), (np.uint8, 3), (np.float32, 1), (np.float64, 1)]
)
@pytest.mark.parametrize("extras", ["none", "mask and tiles"])
def test_moments_of_warped_slices_have_the_bits_of_the_composition(dtype, order, extras):
    rng = np.random.default_rng(3)
    count, shape = 5, (41, 37)
    slices = random_images(rng, (count, *shape), dtype)
    references = [random_images(rng, shape, dtype), random_images(rng, shape, np.float32)]
    kwargs = {
        "seed": 9,
        "stream": np.stack([stream(Purpose.DISPLACEMENT, axis, np.arange(count)) for axis in (Axis.Y, Axis.X)]),
        "alpha": np.array([20.0, 30.0]),
        "sigma": [3.0, 2.0],
        "order": order,
    }
    if extras != "none":
        kwargs["reference_mask"] = rng.random((2, *shape)) < 0.8
        kwargs["tiles"] = (np.array([0, 20, 41]), np.array([0, 9, 18, 37]))
    expected = Backend.warp_moments(numba, references, slices, **kwargs)
    for threads in (1, 2, 3, 7):
        with use_threads(threads):
            for result, wanted in zip(numba.warp_moments(references, slices, **kwargs), expected, strict=True):
                assert_same(result, wanted)


def test_moments_of_no_warped_slices():
    reference = np.zeros((4, 5), np.uint8)
    kwargs = {"seed": 1, "stream": np.empty((2, 0), np.uint64), "alpha": 1.0, "sigma": [1.0, 1.0]}
    results = numba.warp_moments([reference] * 3, np.zeros((0, 4, 5), np.uint8), **kwargs)
    assert [result.count.shape for result in results] == [(0,)] * 3


def test_large_slices_take_all_threads(monkeypatch):
    rng = np.random.default_rng(3)
    slices = random_images(rng, (4, 12, 13), np.uint8)
    names = np.stack([stream(Purpose.DISPLACEMENT, axis, np.arange(4)) for axis in (Axis.Y, Axis.X)])
    kwargs = {"seed": 1, "stream": names, "alpha": 5.0, "sigma": [1.0, 1.0]}
    expected = numba.warp_moments(slices[:1], slices, **kwargs)
    monkeypatch.setattr(warp_moments, "LARGEST_SLICE", 10)
    assert_same(numba.warp_moments(slices[:1], slices, **kwargs)[0], expected[0])
