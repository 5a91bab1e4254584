"""invert_displacement and transform_points: the way back through a displacement."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

import gpu_stackcorr.inverse_points as inverse_points
import gpu_stackcorr.inversion as inversion
from gpu_stackcorr.errors import InversionError, ParameterError
from gpu_stackcorr.folds import fold_report, limit_folds
from gpu_stackcorr.inversion import invert_displacement, transform_points


def smooth(shape, count, sigma, *, size=30.0, minimum=0.1, dtype=np.float64, seed=0, axes=None):
    """Return smoothed noise, scaled down until it does not fold."""
    axes = range(len(shape) - count, len(shape)) if axes is None else axes
    noise = np.random.default_rng([seed, *shape]).uniform(-1, 1, (count, *shape))
    widths = [0, *(sigma if axis in axes else 0 for axis in range(len(shape)))]
    field = size * ndimage.gaussian_filter(noise, widths)
    return limit_folds(field.astype(dtype), minimum=minimum, axes=axes, backend="numpy")[0]


def residual(displacement, inverse, axes):
    """Return the largest distance of p + e(p) + d(p + e(p)) from p, by SciPy in float64."""
    grid = np.meshgrid(*map(np.arange, inverse.shape[1:]), indexing="ij")
    places = [p.astype(np.float64) for p in grid]
    for e, axis in zip(inverse, axes, strict=True):
        places[axis] = places[axis] + e
    misses = [
        e + ndimage.map_coordinates(d.astype(np.float64), places, order=1, mode="nearest")
        for e, d in zip(inverse, displacement, strict=True)
    ]
    return np.sqrt(sum(m * m for m in misses)).max()


def affine(shape, matrix, offset):
    """Return the displacement of y -> matrix y + offset about the middle."""
    middle = (np.array(shape) - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) - middle
    return np.moveaxis(grid @ np.array(matrix, float).T + offset - grid, -1, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "count"), [((90,), 1), ((40, 50), 2), ((14, 15, 16), 3), ((3, 30, 31), 2)])
def test_smooth_fields(backend, shape, count, dtype):
    field = smooth(shape, count, 3, dtype=dtype)
    inverse = invert_displacement(field, backend=backend.name)
    assert inverse.dtype == dtype
    assert residual(field, inverse, range(len(shape) - count, len(shape))) < 1e-3


@pytest.mark.parametrize("sigma", [0, 0.7])
@pytest.mark.parametrize(("shape", "count"), [((60,), 1), ((30, 31), 2), ((9, 10, 11), 3)])
def test_rough_fields(backend, shape, count, sigma):
    """From voxel to voxel the derivative is another, and an iteration on all voxels does not end."""
    field = smooth(shape, count, sigma, minimum=0.01)
    inverse = invert_displacement(field, backend=backend.name)
    assert residual(field, inverse, range(count)) < 1e-3


def test_a_tolerance_is_kept(backend):
    field = smooth((40, 50), 2, 4)
    assert residual(field, invert_displacement(field, tolerance=1e-9, backend=backend.name), (0, 1)) < 1e-9


def test_an_affine_map(backend):
    """Inside, where the way back stays in the image, the inverse is that of the matrix."""
    matrix = np.array([[1.1, 0.2], [-0.15, 0.9]])
    field, known = affine((41, 41), matrix, (1, -2)), affine((41, 41), np.linalg.inv(matrix), 0)
    known -= (np.linalg.inv(matrix) @ (1, -2))[:, np.newaxis, np.newaxis]
    inverse = invert_displacement(field, tolerance=1e-9, backend=backend.name)
    np.testing.assert_allclose(inverse[:, 12:-12, 12:-12], known[:, 12:-12, 12:-12], atol=1e-8)


def test_beyond_the_border_the_displacement_goes_on(backend):
    inverse = invert_displacement(np.full((2, 9, 9), [[[3.25]], [[-7.5]]]), backend=backend.name)
    np.testing.assert_allclose(inverse, np.full((2, 9, 9), [[[-3.25]], [[7.5]]]))


def test_there_and_back(backend):
    """A smooth image comes back, but for what splines make of it where the displacement is linear between voxels."""
    y, x = np.mgrid[:80, :90]
    image = np.sin(y / 9) + np.cos(x / 11)
    field = smooth((80, 90), 2, 6, size=100)
    there = backend.warp(image, field, axes=(0, 1), order=3, mode="mirror")
    back = backend.warp(there, invert_displacement(field, backend=backend.name), axes=(0, 1), order=3, mode="mirror")
    assert np.abs(field).max() > 2
    assert np.abs(there - image).max() > 0.1
    np.testing.assert_allclose(back[15:-15, 15:-15], image[15:-15, 15:-15], atol=5e-3)


def test_slices_are_alone(backend, monkeypatch):
    field = smooth((5, 20, 21), 2, 2)
    together = invert_displacement(field, backend=backend.name)
    for n in range(5):
        np.testing.assert_array_equal(together[:, n], invert_displacement(field[:, n], backend=backend.name))
    monkeypatch.setattr(inversion, "BLOCK", 900)
    np.testing.assert_array_equal(invert_displacement(field, backend=backend.name), together)


@pytest.mark.parametrize("axes", [(0,), (0, 2), (1,), (0, 1)])
def test_axes(backend, axes):
    field = smooth((9, 10, 11), len(axes), 2, axes=axes)
    assert residual(field, invert_displacement(field, axes=axes, backend=backend.name), axes) < 1e-3


def test_an_axis_of_one_voxel(backend):
    field = smooth((1, 30), 2, 2)
    assert residual(field, invert_displacement(field, backend=backend.name), (0, 1)) < 1e-3


def test_a_field_that_folds(backend):
    field = np.zeros((2, 30, 31))
    field[1, 11, 20:22] = [0, -3]
    with pytest.raises(InversionError, match=r"folds at 1 voxels \(least determinant -0.5\), first at \(11, 20\)"):
        invert_displacement(field, backend=backend.name)


def test_a_tolerance_beyond_float32(backend):
    field = smooth((30, 31), 2, 2, dtype=np.float32)
    with pytest.raises(InversionError, match=r"no inverse to 1e-12 voxel was found at \d+ voxels, first at \(0, \d+\)"):
        invert_displacement(field, tolerance=1e-12, backend=backend.name)


def test_points_of_a_known_map():
    matrix, offset = np.array([[1.1, 0.2], [-0.15, 0.9]]), np.array([1, -2])
    points = np.array([[20.0, 20.0], [17.25, 23.5], [25.125, 14.0]])
    moved = transform_points(points, affine((41, 41), matrix, offset), tolerance=1e-9)
    np.testing.assert_allclose(moved, (points - 20 - offset) @ np.linalg.inv(matrix).T + 20, atol=1e-8)


@pytest.mark.parametrize(("shape", "count"), [((60,), 1), ((30, 31), 2), ((9, 10, 11), 3), ((3, 20, 21), 2)])
def test_points_are_where_the_inverse_says(shape, count):
    field = smooth(shape, count, 2)
    points = np.argwhere(np.ones(shape)).astype(np.float64)
    moved = transform_points(points, field, tolerance=1e-8)
    inverse = invert_displacement(field, tolerance=1e-8, backend="numpy")
    axes = list(range(len(shape) - count, len(shape)))
    expected = points.copy()
    expected[:, axes] += inverse.reshape(count, -1).T
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_points_follow_the_image(backend):
    """Blobs at known places, and where their centres of mass are in the deformed image."""
    points = np.array([[20.0, 22.0], [38.5, 41.25], [52.0, 17.0]])
    y, x = np.mgrid[:70, :64]
    field = smooth((70, 64), 2, 8, size=200, minimum=0.6)
    for point, moved in zip(points, transform_points(points, field), strict=True):
        blob = np.exp(-((y - point[0]) ** 2 + (x - point[1]) ** 2) / 8)
        warped = backend.warp(blob, field, axes=(0, 1), order=1, mode="constant")
        np.testing.assert_allclose(ndimage.center_of_mass(warped), moved, atol=0.3)


def test_one_displacement_for_all_slices():
    field = smooth((1, 20, 21), 2, 2)
    points = np.array([[0, 10.0, 11.5], [77, 10.0, 11.5], [-3, 4.0, 5.0]])
    moved = transform_points(points, field, tolerance=1e-6)
    np.testing.assert_array_equal(moved[:, 0], points[:, 0])
    np.testing.assert_allclose(moved[:, 1:], transform_points(points[:, 1:], field[:, 0], tolerance=1e-6), atol=1e-12)


def test_points_of_slices():
    field = smooth((4, 20, 21), 2, 2)
    points = np.array([[3, 10.0, 11.5], [0, 10.0, 11.5]])
    moved = transform_points(points, field, axes=(1, 2))
    for point, found in zip(points, moved, strict=True):
        np.testing.assert_array_equal(transform_points([point[1:]], field[:, int(point[0])])[0], found[1:])


def test_no_points():
    assert transform_points(np.zeros((0, 2)), np.zeros((2, 3, 4))).shape == (0, 2)


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    sigma=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    minimum=st.sampled_from([0.01, 0.3]),
    data=st.data(),
)
def test_a_place_is_found_for_every_point(shape, seed, sigma, minimum, data):
    """Anywhere, in the image or beyond it, whatever axes move."""
    shape = tuple(shape)
    axes = data.draw(st.sampled_from([a for k in (1, 2, 3) for a in combinations(range(len(shape)), k)]))
    field = smooth(shape, len(axes), sigma, minimum=minimum, seed=seed, axes=axes)
    rng = np.random.default_rng(seed)
    points = rng.uniform(-2, np.array(shape) + 1, (20, len(shape)))
    for axis in set(range(len(shape))) - set(axes):
        points[:, axis] = rng.integers(0, shape[axis], 20)
    found, solved, _ = inverse_points.solve_points(points, field, axes, 1e-6)
    assert solved.all()
    for i, axis in enumerate(axes):
        where = [np.clip(found[:, a], 0, n - 1) for a, n in enumerate(shape)]
        moved = found[:, axis] + ndimage.map_coordinates(field[i], where, order=1, mode="nearest")
        np.testing.assert_allclose(moved, points[:, axis], atol=2e-6)


def test_points_where_it_folds():
    """The mirror image of a line shows what was at 2.25 at 2.75, the other way round."""
    mirrored = 5 - 2 * np.arange(6.0)[np.newaxis]
    with pytest.raises(InversionError, match=r"1 of 2 points come to where .* folds, first point 1 at \(2.25\)"):
        transform_points([[-30.0], [2.25]], mirrored)


@pytest.mark.parametrize(("shape", "count"), [((30, 31), 2), ((3, 20, 21), 2), ((9, 10, 11), 3)])
def test_points_are_searched_for_together_and_found_as_if_alone(shape, count, monkeypatch):
    monkeypatch.setattr(inverse_points, "PARTS", 300)  # which is tried in several parts then
    rng, fixed = np.random.default_rng(4), len(shape) - count
    noise, sigma = rng.uniform(-1, 1, (count, *shape)), [0] * (1 + fixed) + [2] * count
    field, axes = 20 * count**2 * ndimage.gaussian_filter(noise, sigma), range(fixed, len(shape))
    points = rng.uniform(0, np.array(shape) - 1, (150, len(shape)))
    points[:, :fixed] = rng.integers(0, shape[:fixed], (150, fixed))
    found, solved, folded = inverse_points.solve_points(points, field, axes, 1e-4)
    assert solved.all()
    assert folded.any()
    for at in np.array_split(np.arange(30), 10):
        alone = inverse_points.solve_points(points[at], field, axes, 1e-4)
        np.testing.assert_array_equal(alone[0], found[at])
        np.testing.assert_array_equal(alone[2], folded[at])


def test_points_without_a_place(monkeypatch):
    monkeypatch.setattr(inverse_points, "STEPS", 0)
    monkeypatch.setattr(inverse_points, "HALVINGS", 0)
    with pytest.raises(
        InversionError, match=r"1 of 1 points have no place that was found, first point 0 at \(1, 2.5\)"
    ):
        transform_points([[1, 2.5]], smooth((20, 21), 2, 2))


WRONG_POINTS = [
    ([1.0, 2.0], r"points has shape \(2,\): allowed is \(n, 3\)"),
    (np.zeros((4, 2)), r"points has shape \(4, 2\)"),
    ("here", "points are no array of numbers"),
    ([[0, 1, 2], [0, np.nan, 2]], "1 points are NaN or infinite, first point 1"),
    ([[0, 1, 2], [0.5, 1, 2]], r"point 1 at \(0.5, 1, 2\) is on no slice along axis 0"),
    ([[4, 1, 2]], r"point 0 at \(4, 1, 2\) is on no slice along axis 0, .*: allowed are integers, 0 to 3"),
]


@pytest.mark.parametrize(("points", "message"), WRONG_POINTS)
def test_wrong_points(points, message):
    with pytest.raises(ParameterError, match=message):
        transform_points(points, np.zeros((2, 4, 5, 6)))


@pytest.mark.parametrize("tolerance", [0, -1, np.nan, np.inf, "small"])
def test_wrong_tolerances(tolerance):
    for call in (
        lambda: invert_displacement(np.zeros((1, 4)), tolerance=tolerance),
        lambda: transform_points([[1.0]], np.zeros((1, 4)), tolerance=tolerance),
    ):
        with pytest.raises(ParameterError, match="tolerance = "):
            call()


def test_wrong_displacements():
    for displacement in (np.zeros((2, 3, 4), int), np.zeros((2, 3)), np.full((2, 3, 4), np.inf)):
        with pytest.raises(ParameterError, match="displacement has"):
            invert_displacement(displacement)
        with pytest.raises(ParameterError, match="displacement has"):
            transform_points(np.zeros((1, 2)), displacement)


def test_an_inverse_does_not_fold():
    field = smooth((40, 41), 2, 3, minimum=0.3)
    assert fold_report(invert_displacement(field, backend="numpy")).folded == 0


def test_a_field_that_folds_between_voxels_only():
    """Where differences over two voxels do not fold, those of one may: there are several places, and one is found."""
    field = np.zeros((2, 9, 10))
    field[0, 2:7:2], field[1, :, 2:7:2] = -1.4, 1.3
    assert fold_report(field, backend="numpy").minimum > 0
    inverse = invert_displacement(field, backend="numpy")
    assert residual(field, inverse, (0, 1)) < 1e-3


def test_a_long_way_along_an_axis_of_one_voxel():
    field = np.zeros((2, 12, 1))
    field[1, :, 0] = np.random.default_rng(0).normal(0, 700, 12)
    inverse = invert_displacement(field, backend="numpy")
    assert residual(field, inverse, (0, 1)) < 1e-3
