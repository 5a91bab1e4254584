"""Fields of two dimensions on the numba backend: whatever the strips and pieces, they are smoothed noise."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr.arrays import available_backends
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from gpu_stackcorr.backends.numba_ import displacement as displacements
from gpu_stackcorr.backends.numba_ import smooth_noise
from gpu_stackcorr.backends.numba_.displacement import displacement
from gpu_stackcorr.backends.numba_.fir_blocks import BLOCK
from gpu_stackcorr.backends.numba_.gaussian import gaussian_filter
from gpu_stackcorr.backends.numba_.random_field import random_field

STRIP = smooth_noise.STRIP_BYTES // 4
HEIGHTS = [1, BLOCK - 1, BLOCK, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 3]
WIDTHS = [1, BLOCK - 1, BLOCK + 1, 4 * BLOCK - 1, 4 * BLOCK + 1, 150]


def step_by_step(seed, stream, shape, alpha, sigma, mode, dtype):
    noise = (2 * random_field(seed, stream, shape) - 1).astype(dtype)
    return gaussian_filter(noise, sigma, axes=[0, 1], mode=[mode] * 2) * np.dtype(dtype).type(alpha)


def check(field, expected):
    """float32 has the bits of the filter, in which products and sums are fused as well; float64 has others."""
    tolerance = 0 if field.dtype == np.float32 else 4e-15 * np.abs(expected).max()
    np.testing.assert_allclose(field, expected, rtol=0, atol=tolerance)


@pytest.mark.cross(height=HEIGHTS, width=WIDTHS, sigma=[(0.0, 2.0), (3.0, 0.4), (20.0, 7.0)], mode=INTERPOLATION_MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_smooth_noise(height, width, sigma, mode, dtype):
    how = 3, 4, (height, width)
    field = displacement(*how, alpha=9.0, sigma=sigma, mode=mode, dtype=dtype)
    check(field, step_by_step(*how, 9.0, sigma, mode, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_pieces_change_no_bit(mode, dtype, monkeypatch):
    shape, box, sigma = (150, 170), ((20, 141), (3, 168)), (2.0, 3.0)
    streams = np.arange(3, dtype=np.uint64)
    with use_threads(1):
        whole = displacement(5, streams, shape, alpha=1.0, sigma=sigma, mode=mode, dtype=dtype)
    monkeypatch.setattr(smooth_noise, "LOWEST", 8)
    monkeypatch.setattr(smooth_noise, "WIDEST", 48)
    monkeypatch.setattr(displacements, "smooth_noise", smooth_noise.SmoothNoise)
    for threads in (1, 2, 7):
        with use_threads(threads):
            field = displacement(5, streams, shape, alpha=1.0, sigma=sigma, mode=mode, dtype=dtype, box=box)
        np.testing.assert_array_equal(field, whole[:, 20:141, 3:168])


def test_pieces_keep_all_threads_busy(monkeypatch):
    box = (0, 1000), (0, 1000)

    def pieces(planes, mode="constant"):
        return len(smooth_noise.SmoothNoise((1000, 1000), box, (1.0, 1.0), 4.0, mode, "float32", planes, 4).pieces)

    assert [pieces(planes) for planes in (1, 2, 3, 4, 6, 32)] == [4, 2, 4, 1, 2, 1]
    monkeypatch.setattr(smooth_noise, "WIDEST", 250)
    assert pieces(32) == 4
    assert pieces(32, "wrap") == 1
    monkeypatch.setattr(smooth_noise, "LOWEST", 500)
    assert pieces(1, "wrap") == 2


def test_a_filter_that_reaches_too_far_for_strips(monkeypatch):
    how = 6, 7, (40, 50)
    in_strips = displacement(*how, alpha=2.0, sigma=(4.0, 5.0))
    monkeypatch.setattr(displacements, "LARGEST_RADIUS", 19)
    np.testing.assert_array_equal(displacement(*how, alpha=2.0, sigma=(4.0, 5.0)), in_strips)


def test_alphas_that_share_a_field():
    alpha = np.array([1.0, 3.0, 50.0])
    fields = displacement(6, 7, (40, 50), alpha=alpha, sigma=(4.0, 5.0), dtype="float64")
    for factor, field in zip(alpha, fields, strict=True):
        alone = displacement(6, 7, (40, 50), alpha=factor, sigma=(4.0, 5.0), dtype="float64")
        np.testing.assert_array_equal(field, alone)
