"""control_grid: a cubic spline through random vectors on a coarse grid, the same in every box."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.control_grids import PREFILTER, RADIUS, ControlGrid
from gpu_stackcorr.random_fields import Axis, Purpose, stream, whole_box


def vectors_of(seed, name, shape, distance):
    """Normal numbers at the control points of a field: by Box-Muller from NumPy's Philox."""
    points = [max(1, ceil((n - 1) / d)) + 3 for n, d in zip(shape, distance, strict=True)]
    bits = np.random.Philox(key=np.array([seed, name], np.uint64))
    u = np.random.Generator(bits).random((np.prod(points), 2))
    return (np.sqrt(-2 * np.log1p(-u[:, 0])) * np.cos(2 * np.pi * u[:, 1])).reshape(points)


def interpolated(vectors, shape, distance):
    """The cubic spline through control vectors around the middle of `shape`, by SciPy in float64."""
    places = [
        (np.arange(n) - (n - 1) / 2) / d + (m - 1) / 2 for n, d, m in zip(shape, distance, vectors.shape, strict=True)
    ]
    coefficients = ndimage.spline_filter(vectors, 3, mode="mirror")
    return ndimage.map_coordinates(
        coefficients, np.array(np.meshgrid(*places, indexing="ij")), order=3, mode="mirror", prefilter=False
    )


CASES = [
    ((50,), (3.5,)),
    ((1000,), (1.0,)),
    ((40, 61), (4.0, 8.0)),
    ((70, 3), (1.0, 500.0)),
    ((1, 2, 3), (5.0, 1.0, 2.0)),
    ((9, 20, 31), (1.5, 2.5, 7.0)),
    ((4, 70, 75), (2.0, 33.0, 12.25)),
]


@pytest.mark.parametrize(("shape", "distance"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_scipy(backend, shape, distance, dtype):
    field = backend.control_grid(11, 22, shape, alpha=34.0, distance=distance, dtype=dtype)
    assert field.dtype == dtype
    assert field.shape == shape
    expected = 34 * interpolated(vectors_of(11, 22, shape, distance), shape, distance)
    np.testing.assert_allclose(field, expected, rtol=0, atol=34 * (1e-12 if dtype == np.float64 else 1e-6))


def test_the_spline_goes_through_its_vectors(backend):
    """Where the distance divides n - 1, control points lie on voxels, the first and the last among them."""
    shape, distance = (13, 9, 21), (4.0, 2.0, 5.0)
    field = backend.control_grid(1, 2, shape, alpha=3.0, distance=distance, dtype=np.float64)
    vectors = vectors_of(1, 2, shape, distance)
    assert vectors.shape == (6, 7, 7)
    np.testing.assert_allclose(field[::4, ::2, ::5], 3 * vectors[1:-1, 1:-1, 1:-1], rtol=0, atol=1e-12)


def test_by_hand(backend):
    """Four control points a, b, c, d, of which b and c lie on the two voxels: nothing to interpolate."""
    _, b, c, _ = vectors_of(1, 2, (2,), (1.0,))
    field = backend.control_grid(1, 2, (2,), alpha=1.0, distance=(1.0,), dtype=np.float64)
    np.testing.assert_allclose(field, [b, c], rtol=0, atol=1e-14)


def test_float32_is_float64_rounded(backend):
    how = {"alpha": 10.0, "distance": (3.0, 4.5)}
    exact = backend.control_grid(1, 2, (30, 40), dtype=np.float64, **how)
    np.testing.assert_array_equal(
        backend.control_grid(1, 2, (30, 40), dtype=np.float32, **how), exact.astype(np.float32)
    )


def test_alpha_0_is_no_displacement(backend):
    assert not backend.control_grid(3, 4, (5, 6), alpha=0.0, distance=(2.0, 2.0)).any()


@pytest.mark.parametrize("shape", [(21,), (20, 21), (5, 6, 21)])
def test_alpha_and_streams_of_each_component(backend, shape):
    """Streams (2, 3): two components of three slices, with an alpha a component."""
    names = np.stack([stream(Purpose.DISPLACEMENT, axis, np.arange(3)) for axis in (Axis.Y, Axis.X)])
    alpha, distance = np.array([[10.0], [20.0]]), [2.0, 3.0, 4.0][: len(shape)]
    fields = backend.control_grid(7, names, shape, alpha=alpha, distance=distance)
    assert fields.shape == (2, 3, *shape)
    assert fields.dtype == np.float32
    for k, n in np.ndindex(2, 3):
        alone = backend.control_grid(7, int(names[k, n]), shape, alpha=float(alpha[k, 0]), distance=distance)
        np.testing.assert_array_equal(fields[k, n], alone)


@pytest.mark.parametrize(("names", "alpha"), [(3, np.array([1.0, 2.0])), (np.empty((2, 0), np.uint64), 1.0)])
@pytest.mark.parametrize("box", [None, ((2, 3), (0, 9)), ((2, 2), (0, 9))])
def test_displacements_of_any_number(backend, names, alpha, box):
    how = {"alpha": alpha, "distance": (2.0, 3.0), "box": box}
    field = backend.control_grid(7, names, (4, 9), **how)
    expected = Backend.control_grid(get_backend("numpy"), 7, names, (4, 9), **how)
    assert field.shape == expected.shape
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-6)


def test_the_composition_serves_every_backend(backend):
    how = {"alpha": 3.0, "distance": (2.0, 3.0, 4.0), "box": ((1, 5), (0, 8), (3, 9)), "dtype": np.float64}
    field = backend.control_grid(7, 8, (6, 8, 10), **how)
    np.testing.assert_allclose(Backend.control_grid(backend, 7, 8, (6, 8, 10), **how), field, rtol=0, atol=1e-12)


@st.composite
def fields_and_boxes(draw):
    shape = draw(st.lists(st.integers(1, 300), min_size=1, max_size=3).filter(lambda sizes: np.prod(sizes) < 20_000))
    box = []
    for n in shape:
        start = draw(st.integers(0, n - 1))
        box.append((start, draw(st.integers(start + 1, n))))
    distance = [draw(st.sampled_from([1.0, 1.3, 2.0, 5.0, 17.5, 1e9])) for _ in shape]
    return tuple(shape), tuple(box), distance


@given(case=fields_and_boxes(), seed=st.integers(0, 2**64 - 1), dtype=st.sampled_from([np.float32, np.float64]))
def test_any_box_is_that_box_of_the_whole(backend, case, seed, dtype):
    shape, box, distance = case
    how = {"alpha": 50.0, "distance": distance, "dtype": dtype}
    whole = backend.control_grid(seed, 5, shape, **how)
    part = backend.control_grid(seed, 5, shape, box=box, **how)
    assert part.dtype == dtype
    np.testing.assert_array_equal(part, whole[tuple(slice(*ends) for ends in box)])


def test_a_box_of_a_field_too_large_to_hold(backend):
    """The box is far from the ends of the grid, so that a grid around it gives the same spline."""
    side, distance = 2**24, 4.0
    start = 2**23
    box = ((start, start + 6), (start - 8, start + 3))
    field = backend.control_grid(
        2, 3, (side, side), alpha=5.0, distance=(distance, distance), box=box, dtype=np.float64
    )
    assert field.shape == (6, 11)
    grid = ControlGrid.over((side, side), (distance, distance), box)
    vectors = get_backend("numpy").random_field(2, 3, grid.shape, box=grid.box, distribution="normal", dtype=np.float64)
    places = [
        (np.arange(*ends) - (side - 1) / 2) / distance + (m - 1) / 2 - first
        for ends, m, (first, _) in zip(box, grid.shape, grid.box, strict=True)
    ]
    coefficients = ndimage.spline_filter(vectors, 3, mode="mirror")
    expected = 5 * ndimage.map_coordinates(
        coefficients, np.array(np.meshgrid(*places, indexing="ij")), order=3, prefilter=False
    )
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-9)


def test_the_prefilter_undoes_the_spline_at_its_points():
    sampled = np.convolve(np.concatenate([PREFILTER[:0:-1], PREFILTER]), [1 / 6, 4 / 6, 1 / 6], mode="same")
    expected = np.zeros(2 * RADIUS + 1)
    expected[RADIUS] = 1
    np.testing.assert_allclose(sampled, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9, 10, 1025])
@pytest.mark.parametrize("distance", [1.0, 1.0000000000000002, 2.0, 2.7, 8.0, 512.0, 1e300])
def test_every_voxel_lies_among_four_points(length, distance):
    """Points are in the grid, weights are a spline's: they sum up to 1, and to the position times the points."""
    grid = ControlGrid.over((length,), (distance,), whole_box((length,)))
    ((first, weights),) = grid.taps
    assert grid.box == ((0, grid.shape[0]),)
    assert first.min() == 0
    assert first.max() + 4 == grid.shape[0]
    assert (np.diff(first) >= 0).all()
    assert (weights > -1e-15).all()
    np.testing.assert_allclose(weights.sum(0), 1, rtol=0, atol=1e-15)
    places = (np.arange(length) - (length - 1) / 2) / distance + (grid.shape[0] - 1) / 2
    np.testing.assert_allclose(((first + np.arange(4)[:, np.newaxis]) * weights).sum(0), places, rtol=1e-14)


def test_the_root_mean_square_is_alpha_at_the_points_and_less_between(backend):
    field = backend.control_grid(5, np.arange(8, dtype=np.uint64), (129, 129), alpha=7.0, distance=(8.0, 8.0))
    at_points, between = field[:, ::8, ::8], field[:, 4::8, 4::8]
    assert np.sqrt(np.mean(at_points.astype(float) ** 2)) == pytest.approx(7, rel=0.05)
    assert 4 < np.sqrt(np.mean(between.astype(float) ** 2)) < 6.5
