"""displacement_field: units, methods, fields of slices, of all slices and of volumes, boxes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr import displacement_field, warp
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.random_fields import Purpose, stream

METHODS = ["gaussian", "grid"]


def component(backend, method, axis, index, shape, alpha, sigma, **options):
    """One component of a field, by the operation of the backend; axis 0 is x, 1 y, 2 z."""
    name = int(stream(Purpose.DISPLACEMENT, axis, index))
    if method == "grid":
        return backend.control_grid(6, name, shape, alpha=alpha, distance=sigma, **options)
    return backend.displacement(6, name, shape, alpha=alpha, sigma=sigma, **options)


# Whose field.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(19,), (13, 9), (6, 7, 8)])
def test_components_of_each_axis(backend, method, shape):
    alpha, sigma = (3.0, 4.0, 5.0)[: len(shape)], (1.0, 2.0, 3.0)[: len(shape)]
    field = displacement_field(shape, alpha, sigma, seed=6, index=4, method=method, backend=backend.name)
    for axis in range(len(shape)):
        expected = component(backend, method, len(shape) - 1 - axis, 4, shape, alpha[axis], sigma)
        np.testing.assert_array_equal(field[axis], expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axes", [(1, 2), (-1,)])
def test_every_slice_has_a_field_of_its_own(backend, method, axes):
    shape = (4, 9, 8)
    field = displacement_field(shape, 5, 2, seed=6, index=7, axes=axes, method=method, backend=backend.name)
    assert field.shape == (len(axes), *shape)
    moving = shape[-len(axes) :]
    for number, place in enumerate(np.ndindex(shape[: -len(axes)])):
        expected = displacement_field(moving, 5, 2, seed=6, index=7 + number, method=method, backend=backend.name)
        np.testing.assert_array_equal(field[(slice(None), *place)], expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axes", [(1, 2), (2,)])
def test_one_field_for_all_slices(backend, method, axes):
    how = {"seed": 6, "index": 7, "method": method, "backend": backend.name}
    field = displacement_field((4, 9, 8), 5, 2, axes=axes, shared=True, **how)
    alone = displacement_field((4, 9, 8)[-len(axes) :], 5, 2, **how)
    np.testing.assert_array_equal(field, alone.reshape(field.shape))
    assert field.shape == (len(axes), *(1 if axis not in axes else n for axis, n in enumerate((4, 9, 8))))
    box = ((1, 3), (2, 9), (3, 7))
    part = displacement_field((4, 9, 8), 5, 2, axes=axes, shared=True, box=box, **how)
    inside = tuple(slice(*ends) if axis in axes else slice(None) for axis, ends in enumerate(box))
    np.testing.assert_array_equal(part, field[(slice(None), *inside)])


def test_a_shared_field_pulls_every_slice(backend):
    stack = np.random.default_rng(0).integers(0, 255, (3, 9, 8), np.uint8)
    how = {"seed": 6, "backend": backend.name}
    field = displacement_field(stack.shape, 50, 2, axes=(1, 2), shared=True, **how)
    moved = warp(stack, field, axes=(1, 2), backend=backend.name)
    for image, expected in zip(stack, moved, strict=True):
        np.testing.assert_array_equal(warp(image, displacement_field((9, 8), 50, 2, **how)), expected)


def test_where_all_axes_move_nothing_is_shared():
    how = {"seed": 1, "backend": "numpy"}
    np.testing.assert_array_equal(
        displacement_field((5, 6), 3, 1, shared=True, **how), displacement_field((5, 6), 3, 1, **how)
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axes", [(1, 2), (0,), (0, 2), (-2,)])
def test_one_field_of_a_volume_of_which_some_axes_move(backend, method, axes):
    """Those components of the field of which all axes move."""
    shape, sigma = (7, 9, 8), (1.0, 2.0, 3.0)
    how = {"seed": 6, "index": 7, "method": method, "backend": backend.name}
    whole = displacement_field(shape, (3, 4, 5), sigma, **how)
    alpha = np.array([3, 4, 5])[list(axes)]
    np.testing.assert_array_equal(displacement_field(shape, alpha, sigma, axes=axes, **how), whole[list(axes)])


@pytest.mark.parametrize("method", METHODS)
def test_a_field_of_a_volume_is_smooth_from_slice_to_slice(backend, method):
    how = {"seed": 6, "axes": (1, 2), "method": method, "backend": backend.name}
    apart = displacement_field((9, 24, 24), 1, (4, 4), **how)
    together = displacement_field((9, 24, 24), 1, (8, 4, 4), **how)
    steps = [np.diff(field, axis=1).std() / field.std() for field in (apart, together)]
    assert steps[0] > 1
    assert steps[1] < 0.4


# Units.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("how", "alpha", "sigma"),
    [
        ({"spacing": 4}, 5.0, 3.0),
        ({"spacing": (32, 4, 8)}, (0.625, 5.0, 2.5), (1.5, 12.0, 6.0)),
        ({"spacing": (32, 4, 8), "axes": (1, 2)}, (5.0, 2.5), (12.0, 6.0)),
        ({"spacing": (32, 4, 8), "axes": (1, 2), "shared": True}, (5.0, 2.5), (12.0, 6.0)),
        ({"spacing": np.array([32, 4, 8]), "axes": (1, 2), "sigma": (64, 16, 16)}, (5.0, 2.5), (2.0, 4.0, 2.0)),
    ],
)
def test_scales_in_nm(backend, method, how, alpha, sigma):
    """20 nm and 48 nm (12 nm where all axes are alike) of voxels of a spacing, and the same in voxels."""
    options = {"seed": 6, "method": method, "backend": backend.name}
    nm = {"sigma": 12 if np.ndim(how["spacing"]) == 0 else 48, **how}
    field = displacement_field((5, 9, 8), 20, **nm, **options)
    voxels = {name: value for name, value in how.items() if name not in ("spacing", "sigma")}
    np.testing.assert_array_equal(displacement_field((5, 9, 8), alpha, sigma, **voxels, **options), field)


# Boxes.


@st.composite
def fields_and_boxes(draw):
    """A shape, a box, and the parameters of any kind of field."""
    shape = tuple(draw(st.lists(st.integers(1, 16), min_size=1, max_size=3)))
    box = []
    for n in shape:
        start = draw(st.integers(0, n))
        box.append((start, draw(st.integers(start, n))))
    axes = tuple(range(len(shape)))[-draw(st.integers(1, len(shape))) :]
    kind = draw(st.sampled_from(["apart", "shared", "volume"]))
    method = draw(st.sampled_from(METHODS))
    sizes = [1.0, 1.7, 5.0] if method == "grid" else [0.0, 0.3, 1.0, 2.5, 7.0]
    count = len(shape) if kind == "volume" else len(axes)
    spacing = draw(st.sampled_from([1.0, 0.5, 3.0]))
    how = {
        "sigma": [draw(st.sampled_from(sizes)) * spacing for _ in range(count)],
        "axes": axes,
        "method": method,
        "mode": draw(st.sampled_from(INTERPOLATION_MODES)),
        "spacing": spacing,
        "shared": kind == "shared",
        "dtype": draw(st.sampled_from([np.float32, np.float64])),
    }
    return shape, tuple(box), how


@given(case=fields_and_boxes(), seed=st.integers(0, 2**64 - 1), index=st.integers(0, 2**47))
def test_a_box_is_that_box_of_the_whole(backend, case, seed, index):
    shape, box, how = case
    how = {"alpha": 30.0, "seed": seed, "index": index, "backend": backend.name, **how}
    whole = displacement_field(shape, **how)
    part = displacement_field(shape, box=box, **how)
    inside = tuple(
        slice(None) if how["shared"] and axis not in how["axes"] else slice(*ends) for axis, ends in enumerate(box)
    )
    assert part.dtype == how["dtype"]
    np.testing.assert_array_equal(part, whole[(slice(None), *inside)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sigma", [2.0, (3.0, 2.0, 2.0)])
@pytest.mark.parametrize("block", [(1, 5, 7), (2, 3, 40), (5, 1, 1)])
def test_blocks_make_up_the_whole(backend, method, sigma, block):
    shape = (5, 11, 9)
    how = {"seed": 1, "axes": (1, 2), "method": method, "backend": backend.name}
    whole = displacement_field(shape, 30, sigma, **how)
    made = np.full_like(whole, np.nan)
    for corner in np.ndindex(*(-(-n // b) for n, b in zip(shape, block, strict=True))):
        box = tuple((b * k, min(b * (k + 1), n)) for b, k, n in zip(block, corner, shape, strict=True))
        made[(slice(None), *(slice(*ends) for ends in box))] = displacement_field(shape, 30, sigma, box=box, **how)
    np.testing.assert_array_equal(made, whole)


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "spline"}, "^method = 'spline': allowed are 'gaussian', 'grid'"),
        ({"method": None}, "^method = None"),
        ({"shared": "yes"}, "^shared = 'yes': allowed are False, True"),
        ({"spacing": 0}, "^spacing = 0: allowed is a number above 0, or 3 of them"),
        ({"spacing": -1.0}, "^spacing = -1.0"),
        ({"spacing": (1, 1)}, r"^spacing = \(1, 1\)"),
        ({"spacing": (1, 1, np.inf)}, r"^spacing = \(1, 1, inf\)"),
        ({"spacing": np.nan}, "^spacing = nan"),
        ({"spacing": "4 nm"}, "^spacing = '4 nm'"),
        ({"alpha": -1}, "^alpha = -1: allowed is a number of 0 or more, or 2 of them"),
        ({"alpha": (1, 2, 3)}, r"^alpha = \(1, 2, 3\)"),
        ({"alpha": np.nan}, "^alpha = nan"),
        ({"alpha": None}, "^alpha = None"),
        ({"alpha": 1e300, "spacing": 1e-300}, r"^alpha = 1e\+300"),
        ({"sigma": -1}, "^sigma = -1: allowed is a number of 0 or more, or 2 of them, or 3 for one field of the whole"),
        ({"sigma": (1, 2, 3, 4)}, r"^sigma = \(1, 2, 3, 4\)"),
        ({"sigma": (1,)}, r"^sigma = \(1,\)"),
        ({"sigma": (1, 2, -3)}, r"^sigma = \(1, 2, -3\)"),
        ({"sigma": ((1, 2), 3)}, "^sigma = "),
        ({"sigma": "abc"}, "^sigma = 'abc'"),
        ({"sigma": np.inf}, "^sigma = inf"),
        ({"sigma": 0, "method": "grid"}, "^sigma = 0: allowed is a number of 1 voxel or more, or 2 of them, or 3 for"),
        ({"sigma": 0.99, "method": "grid"}, "^sigma = 0.99"),
        ({"sigma": (0.5, 2, 2), "method": "grid"}, r"^sigma = \(0.5, 2, 2\)"),
        ({"sigma": 10, "spacing": 11, "method": "grid"}, "^sigma = 10: allowed is a number of 1 voxel or more"),
        ({"sigma": (1, 2, 3), "shared": True}, r"^shared = True with sigma = \(1, 2, 3\)"),
        ({"axes": (0,)}, r"^axes = \(0,\)"),
        ({"axes": (0, 1, 2, 3)}, r"^axes = \(0, 1, 2, 3\)"),
        ({"axes": (2, 1), "sigma": (1, 2, 3)}, r"^axes = \(2, 1\)"),
        ({"mode": "zero"}, "^mode = 'zero'"),
        ({"mode": "zero", "method": "grid"}, "^mode = 'zero'"),
        ({"dtype": "float16"}, "^dtype = float16: allowed are float32 and float64"),
        ({"dtype": "real"}, "^dtype = 'real': allowed are float32 and float64"),
        ({"seed": -1}, r"^seed = -1: allowed are the integers 0 to 2\^64 - 1"),
        ({"index": -1}, r"^index = -1: allowed are the integers 0 to 2\^48 - 4"),
        ({"index": 2**48 - 3}, "^index = "),
        ({"index": 2**48, "shared": True}, "^index = "),
        ({"shape": 5}, "^shape = 5: allowed are 1 to 3 integers of 0 or more"),
        ({"shape": (4.5, 4, 4)}, r"^shape = \(4.5, 4, 4\)"),
        ({"shape": (4, np.nan, 4)}, r"^shape = \(4, nan, 4\)"),
        ({"shape": (4, np.inf, 4)}, r"^shape = \(4, inf, 4\)"),
        ({"shape": ("a", 4, 4)}, "^shape = "),
        ({"box": ((0, 2), (0, 2), (0, 2.5))}, r"^box = .*allowed are 3 pairs \(start, stop\) inside \(4, 9, 8\)"),
        ({"box": (0, 1, 2)}, "^box = "),
        ({"box": 3}, "^box = 3"),
        ({"box": ((0, 2), (0, 2), (0, np.nan))}, "^box = "),
        ({"box": ((0, 2), (0, 2), (0, 9))}, "^box = "),
    ],
)
def test_what_is_not_allowed(arguments, message):
    with pytest.raises(ParameterError, match=message):
        displacement_field(**{"shape": (4, 9, 8), "alpha": 1, "sigma": 1, "seed": 0, "axes": (1, 2), **arguments})


def test_what_looks_unusual_and_is_allowed():
    expected = displacement_field((4, 9, 8), 3, 2, seed=1, axes=(1, 2))
    for how in (
        {"shape": np.array([4, 9, 8])},
        {"shape": [4.0, 9, 8]},
        {"alpha": np.array([3.0, 3.0]), "sigma": [2, 2]},
        {"box": np.array([[0, 4], [0, 9], [0, 8]])},
        {"shared": np.False_},
        {"spacing": 1},
    ):
        how = {"shape": (4, 9, 8), "alpha": 3, "sigma": 2, "seed": 1, "axes": (1, 2), **how}
        np.testing.assert_array_equal(displacement_field(**how), expected)
