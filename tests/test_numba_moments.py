"""Moments by compiled loops where vectors, blocks and threads meet: held against the specification."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.arrays import available_backends, get_backend
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

COMPILED, PLAIN = get_backend("numba"), get_backend("numpy")
DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "float32", "float64")


def images(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Return random images over the whole range of a small integer type."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(np.int16 if kind.itemsize > 2 else kind)
        return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
    return (rng.random(shape) < 0.5) if kind.kind == "b" else rng.normal(100, 3, shape).astype(kind)


def assert_same(found, expected):
    """Assert equal moments: exact sums to the bit, others to 1e-12 of what they are made of."""
    np.testing.assert_array_equal(found.count, expected.count)
    assert (found.sums is None) == (expected.sums is None)
    if expected.sums is not None:
        for ours, theirs in zip(found.sums.arrays(), expected.sums.arrays(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for name in ("mean_x", "mean_y", "ss_x", "ss_y"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-300)
    scale = np.sqrt(expected.ss_x * expected.ss_y)
    assert np.all(np.abs(found.ss_xy - expected.ss_xy) <= 1e-12 * scale)
    if expected.cells is not None:
        assert_same(found.cells, expected.cells)


def compare(references, slices, **options):
    """Assert that every number of threads gives the same bits, and those of the specification."""
    expected = PLAIN.moments(references, slices, **options)
    found = []
    for threads in (1, 2, 3, 7):
        with use_threads(threads):
            found.append(COMPILED.moments(references, slices, **options))
    for own, theirs in zip(found[0], expected, strict=True):
        assert_same(own, theirs)
    for others in found[1:]:
        for own, other in zip(found[0], others, strict=True):
            for part, same in ((own, other), (own.cells, other.cells)):
                if part is not None:
                    assert [a.tobytes() for a in part.arrays()] == [a.tobytes() for a in same.arrays()]


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 1023, 1025])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_remainders_of_vectors_and_blocks(dtype, width):
    slices = images((3, 5, width), dtype)
    compare([slices[1], slices[2]], slices)


@pytest.mark.parametrize("height", [1, 63, 64, 65, 129])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_remainders_of_bands(dtype, height):
    slices = images((2, height, 37), dtype)
    edges = np.unique(np.array([0, height // 3, height])), np.array([0, 5, 21, 37])
    compare([slices[0]], slices, tiles=edges)


@pytest.mark.parametrize("y", DTYPES)
@pytest.mark.parametrize("x", DTYPES)
def test_every_mixture_of_dtypes(x, y):
    compare([images((19, 70), x), images((19, 70), x, 1)], images((4, 19, 70), y, 2))


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("uint16", 65535), ("int16", -32768), ("int8", -128)])
def test_extremes_do_not_overflow(dtype, value):
    slices = np.full((2, 600, 1100), value, dtype)
    slices[1, ::2] = 0
    compare([slices[0], slices[1]], slices)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_masks_of_references_and_slices(dtype):
    rng = np.random.default_rng(3)
    slices, references = images((4, 40, 50), dtype), list(images((2, 40, 50), dtype, 1))
    own, each = rng.random((2, 40, 50)) < 0.6, rng.random((4, 40, 50)) < 0.7
    edges = np.array([0, 13, 40]), np.array([0, 25, 26, 50])
    for reference_mask in (None, own[0], own):
        for slice_mask in (None, each[0], each):
            compare(references, slices, reference_mask=reference_mask, slice_mask=slice_mask, tiles=edges)


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32", ">f8"])
def test_views_are_read_where_they_lie(dtype):
    whole = images((9, 60, 80), np.dtype(dtype).newbyteorder("=").name).astype(dtype)
    for slices in (whole[::2], whole[:, ::-1], whole[:, :, ::-1], whole[:, ::2, ::3], whole.transpose(0, 2, 1)):
        compare([slices[1][::-1], slices[0]], slices)


@pytest.mark.parametrize("numbers", [(0, 1, 2), (6, 4, 2, 0), (3, 3), (0, 1, 3), (5,)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32", "float64"])
def test_references_of_one_stack_are_as_their_copies(dtype, numbers):
    stack = images((7, 30, 80), dtype)
    for taken in (stack, stack[:, ::2, 3:70], stack[:, ::-1]):
        for tiles in (None, (np.array([0, 7, taken.shape[1]]), np.array([0, 33, taken.shape[2]]))):
            own = COMPILED.moments([taken[n] for n in numbers], taken, tiles=tiles)
            copied = COMPILED.moments([taken[n].copy() for n in numbers], taken, tiles=tiles)
            for found, expected in zip(own, copied, strict=True):
                assert [a.tobytes() for a in found.arrays()] == [a.tobytes() for a in expected.arrays()]
                assert_same(found, expected)


@pytest.mark.parametrize("references", [1, 3, 6])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_a_pair_depends_on_nothing_else(dtype, references):
    slices = images((7, 65, 130), dtype)
    edges = np.array([0, 30, 65]), np.array([0, 64, 130])
    together = COMPILED.moments(list(slices[:references]), slices, tiles=edges)
    for k in range(references):
        for n in range(len(slices)):
            (alone,) = COMPILED.moments([slices[k]], slices[n : n + 1], tiles=edges)
            same = together[k][n : n + 1]
            assert [a.tobytes() for a in alone.arrays()] == [a.tobytes() for a in same.arrays()]
            assert [a.tobytes() for a in alone.cells.arrays()] == [a.tobytes() for a in same.cells.arrays()]


@pytest.mark.parametrize("references", [1, 4, 6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_image_with_itself_has_the_same_sums(dtype, references):
    slices = images((6, 65, 130), dtype)
    edges = np.array([0, 31, 65]), np.array([0, 9, 130])
    for k, moments in enumerate(COMPILED.moments(list(slices[:references]), slices, tiles=edges)):
        for part in (moments, moments.cells):
            assert part.ss_x[k].tobytes() == part.ss_y[k].tobytes() == part.ss_xy[k].tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_own_pair_alone(bad):
    slices = images((5, 33, 70), "float32")
    slices[2, 7, 69] = bad
    r = COMPILED.moments([slices[0]], slices)[0].correlation()
    assert np.isnan(r).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-7)])
@pytest.mark.parametrize("ratio", [1, 1e3, 1e6])
def test_large_means_cost_no_digits(dtype, tolerance, ratio):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 300))
    stack = np.stack([x, 0.6 * x + 0.8 * rng.standard_normal(x.shape)]) + ratio
    stack = stack.astype(dtype)
    exact = stack.astype(np.longdouble)
    exact -= exact.mean(axis=(1, 2), keepdims=True)
    r = (exact[0] * exact[1]).sum() / np.sqrt((exact[0] ** 2).sum() * (exact[1] ** 2).sum())
    (found,) = COMPILED.moments([stack[0]], stack)
    assert found.correlation()[0] == 1
    assert abs(found.correlation()[1] - float(r)) <= tolerance


@pytest.mark.parametrize("dtype", ["bool", "uint8"])
@pytest.mark.parametrize("width", [1, 31, 32, 63, 64, 65, 200])
def test_bytes_without_products_of_bytes(monkeypatch, dtype, width):
    """Processors without the instruction, which this one may have, take the loop that all have."""
    from gpu_stackcorr.backends.numba_ import moments

    slices = images((5, 70, width), dtype)
    slices[0], slices[1] = np.iinfo(np.uint8).max if dtype == "uint8" else 1, 0
    mask = np.random.default_rng(1).random((70, width)) < 0.8
    for options in ({}, {"tiles": (np.array([0, 3, 70]), np.array([0, width // 2, width]))}, {"slice_mask": mask}):
        found = COMPILED.moments([slices[2], slices[0]], slices, **options)
        with monkeypatch.context() as patch:
            patch.setattr(moments, "has_byte_products", lambda: False)
            for ours, portable in zip(found, COMPILED.moments([slices[2], slices[0]], slices, **options), strict=True):
                assert_same(ours, portable)
        for ours, expected in zip(found, PLAIN.moments([slices[2], slices[0]], slices, **options), strict=True):
            assert_same(ours, expected)


@pytest.mark.parametrize("tiles", [None, (np.array([0, 30, 70]), np.array([0, 33, 130]))])
def test_sums_over_more_pixels_than_int64_takes(monkeypatch, tiles):
    from gpu_stackcorr.backends.numba_ import cell_moments

    slices = images((3, 70, 130), "uint16")
    (expected,) = COMPILED.moments([slices[1]], slices, tiles=tiles)
    monkeypatch.setattr(cell_moments, "INT64_PIXELS", 70 * 130)
    (found,) = COMPILED.moments([slices[1]], slices, tiles=tiles)
    assert found.sums.xy.dtype == object
    assert_same(found, expected)
