"""jacobian_determinant and count_folds: det(I + dd/dp) as numpy.gradient has it, to the bit on every backend."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.backends.cuda_ import jacobian as on_cuda
from gpu_stackcorr.backends.cuda_ import slabs
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.threads import use_threads

try:
    from gpu_stackcorr.backends.numba_ import jacobian as on_numba
except ImportError:  # the machines with a GPU have no Numba
    on_numba = None

SHAPES = [(1,), (2,), (41,), (1, 7), (7, 9), (3, 300), (4, 5, 6), (1, 2, 37), (2, 3, 4, 5)]


def fields(shape, count, *, dtype=np.float32, seed=0):
    """Return random displacements of any size, some of which fold."""
    return np.random.default_rng([seed, *shape]).normal(0, 0.8, (count, *shape)).astype(dtype)


def by_gradient(field, axes):
    """Return the determinants by numpy.gradient and numpy.linalg, in float64."""
    field = field.astype(np.float64)
    matrix = np.zeros((*field.shape[1:], len(axes), len(axes)))
    for i, component in enumerate(field):
        for j, axis in enumerate(axes):
            if component.shape[axis] > 1:
                matrix[..., i, j] = np.gradient(component, axis=axis)
    return np.linalg.det(matrix + np.eye(len(axes)))


def as_numpy(backend, field, axes, **options):
    """Return what a backend gives, after it was found to be what the numpy backend gives."""
    found = backend.to_host(backend.jacobian_determinant(field, axes=axes, **options))
    np.testing.assert_array_equal(found, get_backend("numpy").jacobian_determinant(field, axes=axes, **options))
    assert found.dtype == field.dtype.newbyteorder("=")
    return found


def test_a_plane_by_hand(backend):
    """d = (y, x) scaled: the image is squeezed by 3 along y and mirrored along x."""
    y, x = np.mgrid[:3, :4].astype(np.float32)
    np.testing.assert_array_equal(as_numpy(backend, np.stack([2 * y, -2 * x]), (0, 1)), np.full((3, 4), -3))
    assert backend.count_folds(np.stack([2 * y, -2 * x]), axes=(0, 1)) == (-3, 12)


def test_a_line_by_hand(backend):
    line = np.array([[0, 1, -2, -2, 5]], np.float64)
    np.testing.assert_array_equal(as_numpy(backend, line, (0,)), [2, 0, -0.5, 4.5, 8])
    assert backend.count_folds(line, axes=(0,)) == (-0.5, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_numpy_gradient(backend, shape, dtype):
    for count in range(1, min(3, len(shape)) + 1):
        for axes in combinations(range(len(shape)), count):
            field = fields(shape, count, dtype=dtype)
            found = as_numpy(backend, field, axes)
            tolerance = 1e-12 if dtype == np.float64 else 1e-5
            np.testing.assert_allclose(found, by_gradient(field, axes), rtol=tolerance, atol=tolerance)
            assert backend.count_folds(field, axes=axes) == (found.min(), np.count_nonzero(found <= 0))


def test_batched_axes_are_alone(backend):
    field = fields((3, 5, 40), 2)
    found = as_numpy(backend, field, (1, 2))
    for n in range(3):
        np.testing.assert_array_equal(found[n], as_numpy(backend, field[:, n], (0, 1)))


@given(data=st.data())
def test_any_box_is_that_box_of_the_whole(backend, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    axes = data.draw(st.sampled_from([a for k in (1, 2, 3) for a in combinations(range(len(shape)), k)]))
    starts = [data.draw(st.integers(0, n)) for n in shape]
    box = tuple((start, data.draw(st.integers(start, n))) for start, n in zip(starts, shape, strict=True))
    field = fields(shape, len(axes), seed=1)
    whole = as_numpy(backend, field, axes)
    np.testing.assert_array_equal(as_numpy(backend, field, axes, box=box), whole[tuple(slice(*ends) for ends in box)])
    fused, composed = backend.count_folds(field, axes=axes), Backend.count_folds(backend, field, axes=axes)
    assert fused == composed == (whole.min(), np.count_nonzero(whole <= 0))


@pytest.mark.parametrize("layout", ["reversed", "transposed", "strided", "big-endian", "read-only"])
def test_any_layout(backend, layout):
    field = fields((6, 31, 20), 2, dtype=np.float64)
    match layout:
        case "reversed":
            field = field[:, :, ::-1, ::-1]
        case "transposed":
            field = field.transpose(0, 3, 2, 1)
        case "strided":
            field = field[:, ::2, :, 1::3]
        case "big-endian":
            field = field.astype(">f8")
        case _:
            field.flags.writeable = False
    plain = np.ascontiguousarray(field, np.float64)
    found = as_numpy(backend, field, (1, 2))
    np.testing.assert_array_equal(found, as_numpy(backend, plain, (1, 2)))
    assert backend.count_folds(field, axes=(1, 2)) == backend.count_folds(plain, axes=(1, 2))


def test_nan_is_neither_least_nor_a_fold(backend):
    field = np.zeros((2, 9, 40), np.float32)
    field[0, 4, 5], field[1, 8, 39], field[0, 2, 20] = np.nan, np.inf, 3
    found = as_numpy(backend, field, (0, 1))
    assert np.isnan(found).any()
    assert backend.count_folds(field, axes=(0, 1)) == (np.nanmin(found), np.count_nonzero(found <= 0))
    assert backend.count_folds(np.full_like(field, np.nan), axes=(0, 1)) == (np.inf, 0)


def test_nothing(backend):
    assert as_numpy(backend, np.zeros((2, 0, 5), np.float32), (0, 1)).shape == (0, 5)
    assert backend.count_folds(np.zeros((2, 0, 5), np.float32), axes=(0, 1)) == (np.inf, 0)


def test_zero_has_no_sign(backend):
    """Determinants of -0.0 and 0.0: which of them is met last depends on the order."""
    line = np.cumsum(np.full((1, 70), -1.0), axis=1)
    assert str(backend.count_folds(line, axes=(0,)).minimum) == "0.0"
    assert backend.count_folds(line, axes=(0,)).folded == 70


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(backend, threads, monkeypatch):
    if on_numba is not None:
        monkeypatch.setattr(on_numba, "SHARES", (1, 500))
        monkeypatch.setattr(on_numba, "COPIED", 700)
    field = fields((5, 41, 37), 2)
    with use_threads(threads):
        for view in (field, field[:, :, ::2, ::-1]):
            found = as_numpy(backend, view, (1, 2))
            assert backend.count_folds(view, axes=(1, 2)) == (found.min(), np.count_nonzero(found <= 0))


def test_rows_longer_than_a_piece(backend):
    chunk = 1000 if on_numba is None else on_numba.CHUNK
    field = fields((3, 2 * chunk + 1), 2)
    as_numpy(backend, field, (0, 1))
    as_numpy(backend, field, (0, 1), box=((1, 3), (1, chunk + 1)))
    as_numpy(backend, field[:1], (1,))


def test_a_displacement_of_the_host_goes_to_the_device_in_boxes(backend, monkeypatch):
    if not isinstance(backend, CudaBackend):
        pytest.skip("asks things of the cuda backend")
    monkeypatch.setattr(slabs, "HOST_BYTES", 1000)
    field = fields((4, 9, 10), 3)
    found = as_numpy(backend, field, (0, 1, 2))
    assert backend.count_folds(field, axes=(0, 1, 2)) == (found.min(), np.count_nonzero(found <= 0))
    on_device = backend.device.to_device(field)
    assert on_cuda.count_folds(backend.device, on_device, axes=(0, 1, 2)) == (
        found.min(),
        np.count_nonzero(found <= 0),
    )
