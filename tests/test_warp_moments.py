"""warp_moments: displacement, warp and moments in one go, for every dtype, mode, mask and grid of cells."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.base import INTERPOLATION_MODES, Backend
from gpu_stackcorr.displacement_fields import displacement_streams
from gpu_stackcorr.moments import EXACT_DTYPES


def images(dtype, shape, seed=0):
    """Return images over the whole range of an integer dtype, or around 3."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (3 + rng.normal(size=shape)).astype(dtype)
    low, high = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def linspace(n, cells):
    return np.rint(np.linspace(0, n, cells + 1)).astype(np.intp)


def deformed(slices, first=0, **changes):
    """Return the arguments of a deformation of slices, the first of which has this number."""
    streams = displacement_streams(2, first + np.arange(len(slices)))
    return {"seed": 9, "stream": streams, "alpha": np.array([20.0, 30.0]), "sigma": [3.0, 2.0]} | changes


def assert_same(found, expected, room=0.0):
    """Sums of integers are equal; means, and moments about them, to `room` of the range of the values."""
    for name in ("count", "mean_x", "mean_y", "ss_x", "ss_y", "ss_xy"):
        one, two = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(one, two, rtol=room, atol=room * max(1, np.nanmax(np.abs(two), initial=0)))
    assert (found.cells is None) == (expected.cells is None)
    if found.cells is not None:
        assert_same(found.cells, expected.cells, room)


def check(backend, references, slices, **kwargs):
    """Hold the operation against the composition that every backend inherits, one slice at a time."""
    found = backend.warp_moments(references, slices, **kwargs)
    expected = Backend.warp_moments(backend, references, slices, **kwargs)
    assert len(found) == len(references)
    for reference, one, two in zip(references, found, expected, strict=True):
        exact = reference.dtype in EXACT_DTYPES and slices.dtype in EXACT_DTYPES
        assert (one.sums is not None) == exact
        assert_same(one, two, room=0.0 if exact else 1e-5 if slices.dtype == np.float32 else 1e-11)


@pytest.mark.cross(
    dtype=["?", "i1", "u1", "i2", "u2", "i4", "f4", "f8"],
    mode=INTERPOLATION_MODES,
    shape=[(37, 53), (1, 1), (70, 131), (3, 200), (129, 2)],
    references=[1, 3, 5],
    mask=["none", "one", "each"],
    tiles=["none", "one", "each"],
    sigma=[(3.0, 2.0), (0.0, 0.0), (0.0, 1.5), (6.0, 0.1)],
)
def test_the_composition(backend, dtype, mode, shape, references, mask, tiles, sigma):
    slices = images(dtype, (3, *shape), 1)
    others = [images("f4" if k == 1 and references == 3 else dtype, shape, 2 + k) for k in range(references)]
    kwargs = deformed(slices, mode=mode, sigma=sigma, cval=-0.3)
    if mask != "none":
        masks = np.random.default_rng(5).random((references, *shape)) < 0.7
        kwargs["reference_mask"] = masks if mask == "each" else masks[0]
    if tiles != "none":
        edges = [(linspace(shape[0], 2 + k % 2), linspace(shape[1], 3)) for k in range(references)]
        kwargs["tiles"] = edges if tiles == "each" else edges[0]
    check(backend, others, slices, **kwargs)


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
@pytest.mark.parametrize("order", [0, 2, 3])
def test_other_orders(backend, dtype, order):
    slices = images(dtype, (3, 21, 30), 1)
    check(backend, [slices[0]], slices, **deformed(slices, order=order))


@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_displacements_many_times_the_image(backend, mode, dtype):
    slices = images(dtype, (2, 13, 17), 1)
    check(backend, [slices[0]], slices, **deformed(slices, alpha=np.array([900.0, 2e4]), mode=mode, cval=3.0))


@pytest.mark.parametrize("cval", [-1e9, 0.4999, 1e9, np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["?", "u1", "i2"])
def test_any_constant(backend, dtype, cval):
    slices = images(dtype, (2, 33, 40), 1)
    for mode in ("constant", "grid-constant"):
        check(backend, [slices[0]], slices, **deformed(slices, mode=mode, cval=cval))


def test_the_notebooks_deformation(backend):
    """Alpha 250, sigma 5: displacements of up to 30 pixels on an image of less."""
    slices = images("u1", (2, 29, 27), 1)
    check(backend, [slices[0]], slices, **deformed(slices, alpha=250.0, sigma=[5.0, 5.0]))


def test_a_gaussian_wider_than_any_tile(backend):
    slices = images("u1", (1, 9, 12), 1)
    check(backend, [slices[0]], slices, **deformed(slices, sigma=[45.0, 40.0], alpha=3000.0))


@pytest.mark.parametrize("truncate", [0.0, 1.5, 6.0])
def test_truncate(backend, truncate):
    slices = images("u1", (2, 20, 40), 1)
    check(backend, [slices[0]], slices, **deformed(slices, truncate=truncate))


def test_no_displacement(backend):
    slices = images("u2", (3, 20, 70), 1)
    (found,) = backend.warp_moments([slices[0]], slices, **deformed(slices, alpha=0.0))
    (expected,) = backend.moments([slices[0]], slices)
    assert_same(found, expected)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0)])
def test_no_slices_and_no_pixels(backend, dtype, shape):
    slices = np.zeros(shape, dtype)
    for found in backend.warp_moments([np.zeros(shape[1:], dtype)] * 3, slices, **deformed(slices)):
        assert found.count.shape == shape[:1]
        assert not found.count.any()
    assert backend.warp_moments([], slices, **deformed(slices)) == []


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_bits_do_not_depend_on_other_slices_and_references(backend, dtype):
    slices = images(dtype, (5, 40, 66), 1)
    tiles = linspace(40, 3), linspace(66, 4)
    together = backend.warp_moments(list(slices), slices, tiles=tiles, **deformed(slices))
    for k, n in ((0, 0), (4, 2), (2, 4)):
        part = slices[n : n + 1]
        (alone,) = backend.warp_moments([slices[k]], part, tiles=tiles, **deformed(part, n))
        assert_same(alone, together[k][n : n + 1])


def test_slices_that_are_not_contiguous(backend):
    slices = images("u2", (6, 24, 80), 1)
    for view in (slices[::-2, ::-1, ::2], slices.astype(">u2"), np.asfortranarray(slices)):
        (found,) = backend.warp_moments([view[0]], view, **deformed(view))
        (expected,) = backend.warp_moments([view[0].copy()], np.ascontiguousarray(view, "u2"), **deformed(view))
        assert_same(found, expected)


def test_nan_stays_where_it_is_pulled_to(backend):
    """NaN reaches the cells of the pixels that it is a tap of."""
    slices = images("f4", (2, 30, 64), 1)
    tiles = linspace(30, 3), linspace(64, 8)
    (clean,) = backend.warp_moments([slices[0]], slices, tiles=tiles, **deformed(slices, alpha=2.0))
    reference, slices[1, 4, 4] = slices[0].copy(), np.nan
    (found,) = backend.warp_moments([reference], slices, tiles=tiles, **deformed(slices, alpha=2.0))
    assert np.isnan(found.cells.ss_xy[1, 0, 0])
    np.testing.assert_array_equal(found.cells.ss_xy[:, :, 2:], clean.cells.ss_xy[:, :, 2:])
    reference[25, 60] = np.nan
    (found,) = backend.warp_moments([reference], slices, tiles=tiles, **deformed(slices, alpha=2.0))
    assert np.isnan(found.cells.ss_xy[:, 2, 7]).all()
    np.testing.assert_array_equal(found.cells.ss_xy[:, :2, 2:], clean.cells.ss_xy[:, :2, 2:])


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_backends_agree(backend, dtype):
    """Displacements may differ by 1e-5 of alpha, and so may a rounded pixel here and there."""
    slices = np.cumsum(images("f8", (3, 60, 70), 1) - 3, axis=2)
    slices = ((slices - slices.min()) / np.ptp(slices) * 255).astype(dtype)
    (found,) = backend.warp_moments([slices[0]], slices, **deformed(slices))
    (expected,) = get_backend("numpy").warp_moments([slices[0]], slices, **deformed(slices))
    np.testing.assert_allclose(found.correlation(), expected.correlation(), rtol=0, atol=2e-4)
