"""elastic: displacement and warp in one go, for every dtype, mode, order and way in which slices lie."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.backends.base import INTERPOLATION_MODES, field_dtype
from gpu_stackcorr.backends.numpy_ import elastic as in_groups
from gpu_stackcorr.displacement_fields import displacement_streams
from gpu_stackcorr.threads import use_threads

ALPHA = np.array([20.0, 30.0, 25.0])
SIGMA = [3.0, 2.0, 1.0]


def images(dtype, shape):
    """Return images over the whole range of an integer dtype, or around 3."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return (3 + rng.normal(size=shape)).astype(dtype)
    low, high = (0, 1) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def check(backend, image, ndim=2, *, order=1, mode="reflect", cval=0.0, alpha=None, sigma=None, name=7):
    """Hold the operation against displacement, warp and count_folds, one after the other."""
    fixed = image.ndim - ndim
    numbers = name + np.arange(np.prod(image.shape[:fixed], dtype=int)).reshape(image.shape[:fixed])
    streams = displacement_streams(ndim, numbers)
    alpha = ALPHA[:ndim].reshape(-1, *(1,) * fixed) if alpha is None else alpha
    sigma = SIGMA[:ndim] if sigma is None else sigma
    shape, axes = image.shape[fixed:], range(fixed, image.ndim)
    field = backend.displacement(9, streams, shape, alpha=alpha, sigma=sigma, dtype=field_dtype(image.dtype))
    expected = backend.warp(image, field, axes=axes, order=order, mode=mode, cval=cval)
    how = {"alpha": alpha, "sigma": sigma, "order": order, "mode": mode, "cval": cval}
    for count_folds in (False, True):
        found, folds = backend.elastic(image, 9, streams, **how, count_folds=count_folds)
        assert found.dtype == image.dtype.newbyteorder("=")
        np.testing.assert_array_equal(backend.to_host(found), backend.to_host(expected))
        assert folds == (backend.count_folds(field, axes=axes) if count_folds else None)


@pytest.mark.cross(
    dtype=["?", "i1", "u1", "i2", "u2", "i4", "f4", "f8"],
    mode=INTERPOLATION_MODES,
    shape=[(37, 53), (1, 1), (5, 70, 31), (3, 200), (2, 3, 9, 2)],
    order=[0, 1, 3],
)
def test_every_kind(backend, dtype, mode, shape, order):
    check(backend, images(dtype, shape), order=order, mode=mode, cval=1.0)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_volumes_and_lines(backend, dtype, order):
    check(backend, images(dtype, (9, 11, 13)), 3, order=order)
    check(backend, images(dtype, (2, 9, 11, 13)), 3, order=order)
    check(backend, images(dtype, (40, 31)), 1, order=order)


@pytest.mark.parametrize("shape", [(0, 5, 6), (3, 0, 6), (3, 5, 0)])
def test_nothing_to_deform(backend, shape):
    check(backend, np.zeros(shape, np.uint8))


def test_images_in_any_memory(backend):
    volume = images("u2", (4, 30, 50))
    for view in (volume[::-1, ::2, ::-3], volume.transpose(2, 0, 1), volume.astype(">u2")):
        check(backend, view)


def test_an_alpha_for_all(backend):
    check(backend, images("u1", (3, 20, 30)), alpha=15.0)


@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_an_alpha_for_each_slice(backend, dtype):
    check(backend, images(dtype, (5, 20, 30)), alpha=np.linspace(0, 40, 10).reshape(2, 5))


def test_groups_change_no_bit(backend, monkeypatch):
    monkeypatch.setattr(in_groups, "GROUP_VOXELS", 700)
    with use_threads(1):
        check(backend, images("f4", (5, 20, 30)))
        check(backend, images("u1", (2, 3, 20, 30)), order=3)


@pytest.mark.parametrize("sigma", [(0.0, 0.0), (0.0, 4.0), (40.0, 2.0), (3.0, 80.0)])
def test_filters_of_any_reach(backend, sigma):
    check(backend, images("f4", (2, 90, 70)), sigma=sigma)


def test_a_constant_comes_back(backend):
    slices = images("f4", (3, 40, 50))
    slices[1] = 0.1
    found, _ = backend.elastic(
        slices, 1, displacement_streams(2, np.arange(3)), alpha=30.0, sigma=[2.0, 2.0], order=1, mode="reflect"
    )
    assert (backend.to_host(found)[1] == np.float32(0.1)).all()
