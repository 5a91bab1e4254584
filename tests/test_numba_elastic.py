"""elastic on the numba backend: pieces, groups and threads change no bit, and no displacement is kept at order 1."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.arrays import available_backends, get_backend
from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.displacement_fields import displacement_streams
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from gpu_stackcorr.backends.numba_ import elastic, flat_images, smooth_noise

numba = get_backend("numba")


def images(dtype, shape=(5, 150, 170)):
    return (np.random.default_rng(2).random(shape) * 250).astype(dtype)


def deformed(slices, backend=numba, **changes):
    how = {"alpha": 40.0, "sigma": (3.0, 2.0), "order": 1, "mode": "reflect"} | changes
    return backend.elastic(slices, 5, displacement_streams(2, np.arange(len(slices))), **how)


@pytest.mark.parametrize("mode", ["reflect", "constant", "wrap"])
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_pieces_and_groups_change_no_bit(dtype, mode, monkeypatch):
    slices = images(dtype)
    with use_threads(1):
        whole, folds = deformed(slices, mode=mode, count_folds=True)
    monkeypatch.setattr(smooth_noise, "LOWEST", 8)
    monkeypatch.setattr(smooth_noise, "WIDEST", 48)
    monkeypatch.setattr(elastic, "smooth_noise", smooth_noise.SmoothNoise)
    for group in (1, 2 * slices[0].size):
        monkeypatch.setattr(elastic, "GROUP", group)
        for threads in (1, 2, 7):
            with use_threads(threads):
                np.testing.assert_array_equal(deformed(slices, mode=mode)[0], whole)
                assert deformed(slices, mode=mode, count_folds=True)[1] == folds


def test_slices_by_strips_keep_no_displacement(monkeypatch):
    slices = images("u1")
    expected, _ = deformed(slices, order=1, count_folds=True)
    monkeypatch.setattr(elastic.Deformation, "draw", None)
    np.testing.assert_array_equal(deformed(slices)[0], expected)


def test_slices_too_large_to_be_copied(monkeypatch):
    slices = images(">u2", (2, 20, 30))
    expected, folds = deformed(slices.astype("u2"), count_folds=True)
    monkeypatch.setattr(flat_images, "COPIED_BYTES", 100)
    monkeypatch.setattr(elastic, "elastic", None)
    found = deformed(slices, count_folds=True)
    np.testing.assert_array_equal(found[0], expected)
    assert found[1] == folds


@pytest.mark.parametrize("radius", [19, 20])
def test_a_filter_that_reaches_too_far_for_strips(radius, monkeypatch):
    from gpu_stackcorr.backends.numba_ import displacement

    slices = images("f4", (2, 60, 50))
    expected = Backend.elastic(
        numba, slices, 5, displacement_streams(2, np.arange(2)), alpha=40.0, sigma=(5.0, 5.0), order=1, mode="reflect"
    )[0]
    monkeypatch.setattr(displacement, "LARGEST_RADIUS", radius)
    np.testing.assert_array_equal(deformed(slices, sigma=(5.0, 5.0))[0], expected)
