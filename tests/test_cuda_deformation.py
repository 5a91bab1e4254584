"""Deformation of arrays on a device, by CuPy or the stand-in for it: computed where they lie, as on the host."""

from __future__ import annotations

import numpy as np
import pytest

import gpu_stackcorr as gsc
from gpu_stackcorr.errors import FoldWarning
from gpu_stackcorr.transforms import Affine, Compose, Elastic, flip_right_left

rng = np.random.default_rng(0)
IMAGE = rng.normal(size=(24, 33)).astype(np.float32)
FIELD = gsc.displacement_field(IMAGE.shape, 20.0, 4.0, seed=1, backend="numpy")


def same(cupy, found, expected, tolerance=2e-4):
    """A device array with the numbers of the host's."""
    assert isinstance(found, cupy.ndarray)
    np.testing.assert_allclose(cupy.asnumpy(found), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("channel_axis", [0, -1])
def test_channels(cupy, channel_axis):
    image = np.stack([IMAGE, 2 * IMAGE], axis=channel_axis)
    labels = np.arange(IMAGE.size, dtype=np.uint64).reshape(IMAGE.shape) + np.uint64(2**63)
    how = {"alpha": 20.0, "sigma": 3.0, "channel_axis": channel_axis, "seed": 1}
    found, moved = gsc.elastic_transform(cupy.asarray(image), labels=cupy.asarray(labels), **how)
    expected, copied = gsc.elastic_transform(image, labels=labels, check_folds=False, backend="numpy", **how)
    same(cupy, found, expected)
    assert (cupy.asnumpy(moved) != copied).mean() < 0.01


def test_a_few_slices_at_a_time(cupy, monkeypatch):
    image = cupy.asarray(np.stack([IMAGE] * 5))
    labels = cupy.asarray(np.arange(5 * IMAGE.size).reshape(image.shape))
    how = {"axes": (1, 2), "labels": labels, "seed": 1}
    at_once = gsc.elastic_transform(image, 20.0, 3.0, **how)
    monkeypatch.setattr(type(gsc.get_backend("cuda")), "slab_bytes", 2 * 2 * IMAGE.nbytes)
    for whole, in_parts in zip(at_once, gsc.elastic_transform(image, 20.0, 3.0, **how), strict=True):
        assert isinstance(in_parts, cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(in_parts), cupy.asnumpy(whole))


@pytest.mark.parametrize("how", [{"method": "grid", "sigma": 9.0}, {"spacing": 4.0, "sigma": 16.0}])
def test_fields_of_other_kinds(cupy, how):
    found = gsc.elastic_transform(cupy.asarray(IMAGE), 5.0, seed=1, **how)
    same(cupy, found, gsc.elastic_transform(IMAGE, 5.0, seed=1, check_folds=False, backend="numpy", **how))


def test_folds_are_looked_for_where_that_is_asked_for(cupy):
    image = cupy.asarray(IMAGE)
    gsc.elastic_transform(image, 250.0, 3.0, seed=1)
    with pytest.warns(FoldWarning, match="folds"):
        gsc.elastic_transform(image, 250.0, 3.0, seed=1, check_folds=True)
    report = gsc.fold_report(cupy.asarray(FIELD))
    assert report.minimum == gsc.fold_report(FIELD, backend="numpy").minimum


def test_compositions_and_inverses(cupy):
    field = cupy.asarray(FIELD)
    same(cupy, gsc.compose_displacements(field, field), gsc.compose_displacements(FIELD, FIELD, backend="numpy"), 1e-4)
    kept, scale = gsc.limit_folds(field)
    assert scale == pytest.approx(gsc.limit_folds(FIELD, backend="numpy")[1], rel=1e-6)
    same(cupy, kept, scale * FIELD, 1e-5)
    same(cupy, gsc.invert_displacement(kept), gsc.invert_displacement(cupy.asnumpy(kept), backend="numpy"), 4e-3)


def test_transforms_interpolate_once(cupy):
    whole = Compose(Elastic(20.0, 4.0, seed=1), flip_right_left, Affine.rotation(20), Elastic(10.0, 4.0, seed=2))
    with gsc.use_backend("numpy"):
        expected = whole(IMAGE, index=3)
    same(cupy, whole(cupy.asarray(IMAGE), index=3), expected, 1e-3)
