"""Folds and inverses of displacements that lie on the device: what is made of them stays there."""

import numpy as np
import pytest
from scipy import ndimage

import gpu_stackcorr as gsc
import gpu_stackcorr.inversion as inversion
from gpu_stackcorr.errors import ParameterError

NOISE = np.random.default_rng(3).uniform(-1, 1, (2, 3, 30, 40))
FIELD = 30 * ndimage.gaussian_filter(NOISE, (0, 0, 3, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_folds(cupy, dtype):
    field = FIELD.astype(dtype)
    on_device = cupy.asarray(field)
    report = gsc.fold_report(on_device)
    assert report.folded > 0
    assert report.to_json() == gsc.fold_report(field, backend="numpy").to_json()
    limited, scale = gsc.limit_folds(on_device)
    expected, same = gsc.limit_folds(field, backend="numpy")
    assert isinstance(limited, cupy.ndarray)
    assert scale == same
    np.testing.assert_array_equal(cupy.asnumpy(limited), expected)
    small = cupy.asarray(field / 100)
    assert gsc.limit_folds(small) == (small, 1.0)


@pytest.mark.parametrize("block", [10, 2**20])
def test_inverse(cupy, block, monkeypatch):
    monkeypatch.setattr(inversion, "BLOCK", block)
    field = gsc.limit_folds(FIELD, minimum=0.01)[0]
    field[:, 1] = gsc.limit_folds(NOISE[:, 1])[0]  # rough: some voxels take the way of points
    inverse = gsc.invert_displacement(cupy.asarray(field))
    assert isinstance(inverse, cupy.ndarray)
    expected = gsc.invert_displacement(field, backend="numpy")
    np.testing.assert_allclose(cupy.asnumpy(inverse), expected, rtol=0, atol=1e-9)


def test_points(cupy):
    field = gsc.limit_folds(FIELD)[0]
    points = [[0, 3.5, 4.25], [2, 20, 30]]
    np.testing.assert_array_equal(
        gsc.transform_points(points, cupy.asarray(field)), gsc.transform_points(points, field)
    )


def test_nan_on_the_device(cupy):
    for function in (gsc.fold_report, gsc.limit_folds, gsc.invert_displacement):
        with pytest.raises(ParameterError, match="NaN or infinite"):
            function(cupy.asarray(np.full((2, 5, 6), np.nan)))
