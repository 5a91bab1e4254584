"""cross_moments of the numba backend: borders of tiles and blocks, the ends of every type, and threads."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.moments import EXACT_DTYPES
from gpu_stackcorr.threads import use_threads

pytest.importorskip("numba")

ENGINE = get_backend("numba")
SPECIFICATION = get_backend("numpy")


def images(count, shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(3.0, 1.0, (count, *shape)).astype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return rng.integers(low, high, (count, *shape), endpoint=True).astype(dtype)


def assert_close(found, expected):
    """The same sums of integers; of floats, within 1e-12 of the product of the standard deviations."""
    assert (found.count, found.exact) == (expected.count, expected.exact)
    if expected.exact:
        for a, b in zip(found.arrays(), expected.arrays(), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        return
    scale = np.sqrt(np.outer(expected.xx, expected.yy)) + 1e-300
    assert (np.abs(found.xy - expected.xy) <= 1e-12 * scale).all()
    for name in ("x", "y", "xx", "yy"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 11, 12, 13, 25])
def test_numbers_of_images_around_whole_tiles(dtype, count):
    slices = images(count, (5, 7), dtype)
    assert_close(ENGINE.cross_moments(slices), SPECIFICATION.cross_moments(slices))
    for first in {1, count // 2} if count > 1 else ():
        pair = slices[:first], slices[first:]
        assert_close(ENGINE.cross_moments(*pair), SPECIFICATION.cross_moments(*pair))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f8"])
@pytest.mark.parametrize(
    "shape",
    [
        *((1, width) for width in (1, 15, 17, 31, 33, 255, 257, 1023, 1025, 5000)),
        *((1031, 1), (3, 127), (2, 128), (4, 257), (5, 1031), (31, 33), (97, 101)),
    ],
)
def test_boxes_around_whole_vectors_and_blocks(dtype, shape):
    """As they are, and as parts of larger images, whose rows do not follow one another."""
    slices = images(4, shape, dtype)
    assert_close(ENGINE.cross_moments(slices), SPECIFICATION.cross_moments(slices))
    larger = images(4, (shape[0] + 2, shape[1] + 3), dtype)[:, 1:-1, 2:-1]
    expected = SPECIFICATION.cross_moments(larger)
    assert_close(ENGINE.cross_moments(larger), expected)
    mask = np.random.default_rng(1).random(shape) < 0.5
    assert_close(ENGINE.cross_moments(larger, mask=mask), SPECIFICATION.cross_moments(larger, mask=mask))


@pytest.mark.parametrize("dtype", EXACT_DTYPES, ids=str)
def test_no_sum_overflows_at_the_ends_of_a_type(dtype):
    """Rows of 16-bit numbers whose high bytes, low bytes and products are the largest that there are."""
    info = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = sorted({info[0], info[0] + 1, 0, 1, info[1] - 1, info[1]} | ({127, 128, 129} if info[1] > 255 else set()))
    slices = np.empty((len(values), 3, 1024), dtype)
    slices[:] = np.array(values, dtype)[:, np.newaxis, np.newaxis]
    if dtype == np.uint16:
        slices[4:6, 1] = 128  # its low byte, once shifted, is -128
    wide = slices.reshape(len(values), -1).astype(np.int64)
    for found in (ENGINE.cross_moments(slices), ENGINE.cross_moments(slices, slices)):
        np.testing.assert_array_equal(found.xy, wide @ wide.T)
        np.testing.assert_array_equal(found.xx, (wide * wide).sum(axis=1))
        np.testing.assert_array_equal(found.x, wide.sum(axis=1))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("count", [7, 90])
def test_the_number_of_threads_changes_no_bit(dtype, count):
    slices = images(count, (130, 401), dtype)
    mask = np.random.default_rng(2).random((130, 401)) < 0.9
    for arguments, options in (((slices,), {}), ((slices,), {"mask": mask}), ((slices[:3], slices[3:]), {})):
        found = []
        for threads in (1, 2, 3, 7):
            with use_threads(threads):
                found.append(ENGINE.cross_moments(*arguments, **options))
        for other in found[1:]:
            for a, b in zip(found[0].arrays(), other.arrays(), strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_blocks_of_very_different_means_merge(dtype):
    """What lies between blocks and between tasks outweighs what lies inside of them."""
    steps = np.repeat(np.arange(400), 997).reshape(400, 997)
    slices = (1000 * steps[np.newaxis] * np.array([1, -1, 2])[:, np.newaxis, np.newaxis]).astype(dtype)
    slices += images(3, (400, 997), "i2").astype(dtype)
    assert_close(ENGINE.cross_moments(slices), SPECIFICATION.cross_moments(slices))


@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_masks_without_pixels_in_some_blocks(dtype):
    slices = images(5, (40, 700), dtype)
    mask = np.zeros((40, 700), bool)
    mask[7, 3:690] = mask[39, 699] = True
    expected = SPECIFICATION.cross_moments(slices, mask=mask)
    if dtype == "f8":
        slices[:, ~mask] = np.nan
    assert_close(ENGINE.cross_moments(slices, mask=mask), expected)
    nothing = ENGINE.cross_moments(slices, slices[:2], mask=np.zeros_like(mask))
    assert nothing.count == 0
    assert nothing.xy.shape == (5, 2)
    assert not nothing.xy.any()


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "crop",
    [np.s_[:], np.s_[:, :, 3:200], np.s_[::-2, ::-1], np.s_[:, :, ::-1], np.s_[:, :, ::2], np.s_[:, 4:5, :7]],
    ids=str,
)
def test_floats_of_every_layout(dtype, masked, crop):
    """Rows that lie in one piece are read in place, others are packed; blocks have one row, several, or a few last."""
    slices = images(7, (40, 301), dtype)[crop]
    mask = np.random.default_rng(1).random(slices.shape[1:]) < 0.7 if masked else None
    expected = SPECIFICATION.cross_moments(slices, slices[:2], mask=mask)
    assert_close(ENGINE.cross_moments(slices, slices[:2], mask=mask), expected)
    assert_close(ENGINE.cross_moments(slices, mask=mask), SPECIFICATION.cross_moments(slices, mask=mask))


def test_nan_of_one_block_stays_with_its_pairs():
    slices = images(8, (60, 300), "f4")
    expected = SPECIFICATION.cross_moments(slices)
    slices[3, 30, 100], slices[6, 0, 0] = np.nan, -np.inf
    found = ENGINE.cross_moments(slices)
    good = np.array([0, 1, 2, 4, 5, 7])
    assert np.isnan(found.xy[[3, 6]]).all()
    assert np.isnan(found.xy[:, [3, 6]]).all()
    np.testing.assert_allclose(found.xy[np.ix_(good, good)], expected.xy[np.ix_(good, good)], atol=1e-8)


def test_no_images_or_no_pixels():
    for shape in ((0, 4, 4), (3, 0, 4), (3, 4, 0)):
        for dtype in ("u1", "u2", "f4"):
            found = ENGINE.cross_moments(np.zeros(shape, dtype))
            assert found.xy.shape == (shape[0], shape[0])
            assert found.count == shape[1] * shape[2]
            assert not found.xy.any()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("two", [False, True])
def test_bytes_without_products_of_bytes(monkeypatch, dtype, masked, two):
    """Processors without the instruction, which this one may have, take the loop that all have."""
    from gpu_stackcorr.backends.numba_ import cross_moments

    slices, others = images(9, (41, 67), dtype), images(5, (41, 67), dtype, seed=1)
    slices[0] = np.iinfo(dtype).max if dtype != "bool" else True
    mask = np.random.default_rng(2).random((41, 67)) < 0.7 if masked else None
    arguments = (slices, others) if two else (slices,)
    expected = SPECIFICATION.cross_moments(*arguments, mask=mask)
    assert_close(ENGINE.cross_moments(*arguments, mask=mask), expected)
    monkeypatch.setattr(cross_moments, "has_byte_products", lambda: False)
    assert_close(ENGINE.cross_moments(*arguments, mask=mask), expected)
