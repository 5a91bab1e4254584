"""elastic_transform and warp of images with channels, and with fields of other kinds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from test_elastic_transform import image_of, pulled

from gpu_stackcorr import displacement_field, elastic_transform, transform_points, warp
from gpu_stackcorr.deformation_checks import PART, check_finite
from gpu_stackcorr.errors import FoldWarning, InversionError, ParameterError

pytestmark = pytest.mark.filterwarnings("ignore::gpu_stackcorr.errors.FoldWarning")  # small images, large fields

# Channels.


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize(
    ("order", "shape", "axes"), [(0, (9, 11), None), (1, (9, 11), None), (3, (4, 9, 11), None), (1, (4, 9, 11), (1, 2))]
)
@pytest.mark.parametrize("channel_axis", [0, 1, -1])
def test_channels_move_alike(backend, dtype, order, shape, axes, channel_axis):
    channels = [image_of(dtype, shape, seed) for seed in range(3)]
    labels = image_of("uint64", shape, seed=5) + np.uint64(2**63)
    how = {"axes": axes, "order": order, "seed": 8, "index": 2, "backend": backend.name}
    together, moved = elastic_transform(
        np.stack(channels, axis=channel_axis), 25, 2, labels=labels, channel_axis=channel_axis, **how
    )
    for n, image in enumerate(channels):
        alone, alone_labels = elastic_transform(image, 25, 2, labels=labels, **how)
        np.testing.assert_array_equal(together.take(n, channel_axis), alone)
        np.testing.assert_array_equal(moved, alone_labels)


@pytest.mark.parametrize("dtype", ["uint8", "float64", ">f4"])
@pytest.mark.parametrize(
    ("channel_axis", "method"), [(None, "grid"), (None, "gaussian"), (0, "gaussian"), (-1, "grid")]
)
def test_a_few_slices_at_a_time(backend, dtype, channel_axis, method, monkeypatch):
    """The same, warnings included, with the displacements of two or three slices as with those of all seven."""
    image, labels = image_of(dtype, (7, 9, 11)), image_of("uint64", (7, 9, 11), seed=5)
    whole = image if channel_axis is None else np.stack([image, image[::-1]], channel_axis)
    how = {"axes": (1, 2), "labels": labels, "channel_axis": channel_axis, "method": method, "seed": 8}
    found = []
    for slab_bytes in (2**20, 3 * 9 * 11 * 2 * (8 if dtype == "float64" else 4)):
        monkeypatch.setattr(type(backend), "slab_bytes", slab_bytes)
        with pytest.warns(FoldWarning) as folds:
            found.append(elastic_transform(whole, 25, 2, check_folds=True, backend=backend.name, **how))
        found[-1] += (str(folds[0].message), [array.dtype.str for array in found[-1]])
    for at_once, in_parts in zip(*found, strict=True):
        np.testing.assert_array_equal(at_once, in_parts)


def test_one_displacement_serves_slices_and_channels(backend):
    image = image_of("float32", (5, 9, 11, 2))
    field = displacement_field((9, 11), 25, 2, seed=1)
    together = warp(image, field, channel_axis=-1, axes=(1, 2), backend=backend.name)
    for n, c in np.ndindex(5, 2):
        np.testing.assert_array_equal(together[n, ..., c], warp(image[n, ..., c], field, backend=backend.name))


@pytest.mark.parametrize("channel_axis", [2, -3, 1.0, True, "last"])
def test_channel_axes_that_are_not_allowed(channel_axis):
    for call in (
        lambda **how: warp(image_of(), np.zeros((1, 17)), **how),
        lambda **how: elastic_transform(image_of(), 1, 1, seed=0, **how),
    ):
        with pytest.raises(ParameterError, match=r"^channel_axis = .*: allowed is an axis of \(17, 23\), or None"):
            call(channel_axis=channel_axis)


# Fields of other kinds (test_displacement_fields.py has their values).


@pytest.mark.parametrize(
    "how",
    [
        {"method": "grid", "sigma": (6, 7)},
        {"spacing": (50, 4, 4), "alpha": 100, "sigma": (12, 16)},
        {"shared": True},
        {"sigma": (1, 2, 3)},
        {"method": "grid", "sigma": (3, 4, 5), "spacing": 0.5},
    ],
)
def test_fields_of_other_kinds(backend, how):
    stack = image_of(shape=(4, 17, 23))
    how = {"alpha": 20, "sigma": 2, "axes": (1, 2), "seed": 3, "index": 4, "backend": backend.name, **how}
    field = displacement_field(stack.shape, dtype=np.float64, **how)
    np.testing.assert_array_equal(
        elastic_transform(stack, **how), warp(stack, field, axes=(1, 2), backend=backend.name)
    )


@pytest.mark.parametrize("how", [{"shared": True}, {"sigma": (1, 2, 3)}, {"spacing": (1, 2, 2)}])
def test_a_generator_draws_fields_of_other_kinds(backend, how):
    stack = image_of(shape=(3, 9, 8))
    how = {"alpha": 30, "sigma": 2, "axes": (1, 2), **how}
    generator, twin = np.random.RandomState(3), np.random.RandomState(3)
    result = elastic_transform(stack, random_state=generator, backend=backend.name, **how)
    sigma = np.asarray(how["sigma"]) / (2 if "spacing" in how else 1)
    shape = stack.shape if sigma.ndim else stack.shape[1:]
    alpha = 15 if "spacing" in how else 30
    draws = [[twin.random(shape) * 2 - 1 for _ in "xy"][::-1] for _ in range(3 if "spacing" in how else 1)]
    fields = [[ndimage.gaussian_filter(d, sigma, mode="constant") * alpha for d in pair] for pair in draws]
    for n, image in enumerate(stack):
        field = [d[n] if sigma.ndim else d for d in fields[n if "spacing" in how else 0]]
        np.testing.assert_allclose(result[n], pulled(image, np.stack(field)), rtol=0, atol=1e-10)


# Points.


@pytest.mark.parametrize("channel_axis", [None, 0, -1])
def test_points_go_where_their_content_goes(backend, channel_axis):
    y, x = np.mgrid[:40, :50]
    centre = np.array([[17.0, 23.0]])
    image = np.exp(-((y - 17) ** 2 + (x - 23) ** 2) / 3)
    labels = np.arange(2000).reshape(40, 50)
    whole = image if channel_axis is None else np.stack([image, 3 * image], channel_axis)
    how = {"alpha": 80, "sigma": 9, "seed": 2, "channel_axis": channel_axis, "backend": backend.name}
    moved, copied, points = elastic_transform(whole, labels=labels, points=centre, **how)
    one = moved if channel_axis is None else moved.take(0, channel_axis)
    found = np.array([(one * axis).sum() for axis in (y, x)]) / one.sum()
    assert np.abs(points - centre).max() > 0.5
    np.testing.assert_allclose(points[0], found, atol=0.3)
    field = displacement_field(image.shape, 80, 9, seed=2, dtype=np.float64, backend=backend.name)
    np.testing.assert_allclose(points, transform_points(centre, field), rtol=0, atol=1e-6)
    alone = warp(whole, field, points=centre, channel_axis=channel_axis, backend=backend.name)
    assert len(alone) == 2
    np.testing.assert_array_equal(alone[0], moved)
    np.testing.assert_array_equal(alone[1], points)
    np.testing.assert_array_equal(copied, warp(labels, field, order=0, backend=backend.name))


def test_points_of_slices_that_share_a_displacement(backend):
    stack, field = image_of(shape=(3, 17, 23)), displacement_field((17, 23), 15, 4, seed=1, dtype=np.float64)
    points = [[0, 4.0, 5.0], [2, 4.0, 5.0]]
    _, moved = warp(stack, field, points=points, axes=(1, 2), backend=backend.name)
    np.testing.assert_array_equal(moved[:, 0], [0, 2])
    np.testing.assert_array_equal(moved[:, 1:], transform_points([[4.0, 5.0]] * 2, field))


def test_points_where_a_field_folds_are_an_error():
    image = image_of(shape=(40, 50))
    points = np.argwhere(np.ones((40, 50)))[::20]
    with pytest.raises(InversionError, match="folds"):
        elastic_transform(image, 250, 3, points=points, seed=1)


# Displacements.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, PART - 1, PART, -1])
def test_a_large_displacement_is_looked_through_to_its_end(place, value):
    """Part by part, in threads."""
    displacement = np.linspace(-2, 3, 2 * PART + 1, dtype=np.float32).reshape(1, -1)
    assert check_finite("displacement", displacement) == (-2, 3)
    displacement[0, place] = value
    with pytest.raises(ParameterError, match=r"^displacement has 1 values that are NaN or infinite"):
        check_finite("displacement", displacement)
