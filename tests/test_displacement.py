"""displacement: smoothed noise, the same in every box."""

from __future__ import annotations

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.random_fields import Axis, Purpose, stream


def by_hand(seed, name, shape, alpha, sigma, *, dtype=np.float32, mode="constant", truncate=4.0):
    """Uniform noise on [-1, 1), smoothed, times alpha, in float64 from the float32 noise."""
    noise = np.random.Generator(np.random.Philox(key=np.array([seed, name], np.uint64))).random(shape, np.float32)
    smooth = ndimage.gaussian_filter((2 * noise - 1).astype(dtype), sigma, mode=mode, truncate=truncate)
    return smooth * np.asarray(alpha, dtype)


@pytest.mark.parametrize("shape", [(40,), (24, 31), (6, 17, 12)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_by_hand(backend, shape, dtype, mode):
    sigma = [2.5, 1.0, 0.7][: len(shape)]
    field = backend.displacement(11, 22, shape, alpha=34.0, sigma=sigma, mode=mode, dtype=dtype)
    assert field.dtype == dtype
    assert field.shape == shape
    tolerance = 34e-12 if dtype == np.float64 else 34e-5
    expected = by_hand(11, 22, shape, 34.0, sigma, dtype=np.float64, mode=mode)
    np.testing.assert_allclose(field, expected, rtol=0, atol=tolerance)


def test_the_dtype_changes_rounding_only(backend):
    fields = [backend.displacement(1, 2, (30, 40), alpha=10.0, sigma=[3.0, 3.0], dtype=dtype) for dtype in ("f4", "f8")]
    np.testing.assert_allclose(fields[0], fields[1], rtol=0, atol=1e-5 * 10)
    assert not np.array_equal(fields[0], fields[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigma_0_is_the_noise_itself(backend, dtype):
    field = backend.displacement(3, 4, (5, 6), alpha=2.0, sigma=[0.0, 0.0], dtype=dtype)
    noise = np.random.Generator(np.random.Philox(key=np.array([3, 4], np.uint64))).random((5, 6), np.float32)
    np.testing.assert_array_equal(field, 2 * (2 * noise - 1))
    rows = backend.displacement(3, 4, (5, 6), alpha=1.0, sigma=[0.0, 2.0], dtype=np.float64)
    expected = ndimage.gaussian_filter1d((2 * noise - 1).astype(np.float64), 2.0, axis=1, mode="constant")
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-12)


def test_alpha_0_is_no_displacement(backend):
    assert not backend.displacement(3, 4, (5, 6), alpha=0.0, sigma=[1.0, 1.0]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_alpha_and_streams_of_each_component(backend, dtype):
    """Streams (2, 3): two components of three slices, with an alpha a component."""
    names = np.stack([stream(Purpose.DISPLACEMENT, axis, np.arange(3)) for axis in (Axis.Y, Axis.X)])
    alpha = np.array([[10.0], [20.0]])
    fields = backend.displacement(7, names, (20, 21), alpha=alpha, sigma=[2.0, 1.0], dtype=dtype)
    assert fields.shape == (2, 3, 20, 21)
    assert fields.dtype == dtype
    for k, n in np.ndindex(2, 3):
        alone = backend.displacement(
            7, int(names[k, n]), (20, 21), alpha=float(alpha[k, 0]), sigma=[2.0, 1.0], dtype=dtype
        )
        np.testing.assert_array_equal(fields[k, n], alone)


def test_truncate(backend):
    field = backend.displacement(1, 1, (50,), alpha=1.0, sigma=[3.0], truncate=1.5, dtype=np.float64)
    np.testing.assert_allclose(
        field, by_hand(1, 1, (50,), 1.0, [3.0], dtype=np.float64, truncate=1.5), rtol=0, atol=1e-12
    )


@st.composite
def fields_and_boxes(draw):
    shape = draw(st.lists(st.integers(1, 25), min_size=1, max_size=3))
    box = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        box.append((start, draw(st.integers(start + 1, n))))
    sigma = [draw(st.sampled_from([0.0, 0.1, 0.6, 1.3, 4.0])) for _ in shape]
    return tuple(shape), tuple(box), sigma


@given(
    case=fields_and_boxes(),
    seed=st.integers(0, 2**64 - 1),
    dtype=st.sampled_from([np.float32, np.float64]),
    mode=st.sampled_from(INTERPOLATION_MODES),
)
def test_any_box_is_that_box_of_the_whole(backend, case, seed, dtype, mode):
    shape, box, sigma = case
    kwargs = {"alpha": 50.0, "sigma": sigma, "mode": mode, "dtype": dtype}
    whole = backend.displacement(seed, 5, shape, **kwargs)
    part = backend.displacement(seed, 5, shape, box=box, **kwargs)
    assert part.dtype == dtype
    np.testing.assert_array_equal(part, whole[tuple(slice(*ends) for ends in box)])


def test_a_box_of_a_field_too_large_to_hold(backend):
    side = 2**20
    box = ((side - 4, side), (side - 6, side))
    field = backend.displacement(2, 3, (side, side), alpha=5.0, sigma=[1.0, 1.0], box=box)
    noise = backend.random_field(2, 3, (side, side), box=((side - 8, side), (side - 10, side)))
    smooth = ndimage.gaussian_filter(2 * noise.astype(np.float64) - 1, 1.0, mode="constant")
    np.testing.assert_allclose(field, 5 * smooth[4:, 4:], rtol=0, atol=5e-5)
