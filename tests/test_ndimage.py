"""The public map_coordinates, gaussian_filter and spline_filter: SciPy's signatures and results."""

from __future__ import annotations

import functools
import inspect
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage as scipy_ndimage

from gpu_stackcorr import available_backends, ndimage
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.errors import ParameterError

IMAGE = np.random.default_rng(0).normal(size=(19, 22))
POINTS = np.random.default_rng(1).uniform(-30, 50, (2, 100))

REFUSED = [
    ("map_coordinates", (IMAGE, POINTS), {"order": 6}),
    ("map_coordinates", (IMAGE, POINTS), {"order": -1}),
    ("map_coordinates", (IMAGE, POINTS), {"mode": "nowhere"}),
    ("map_coordinates", (IMAGE, POINTS[:1]), {}),
    ("map_coordinates", (IMAGE, POINTS[:, 0]), {}),
    ("map_coordinates", (IMAGE, POINTS + 1j), {}),
    ("map_coordinates", (IMAGE.astype(object), POINTS), {}),
    ("map_coordinates", (IMAGE, POINTS), {"output": "bool"}),
    ("map_coordinates", (IMAGE, POINTS), {"output": "no dtype"}),
    ("gaussian_filter", (IMAGE, 1), {"order": -1}),
    ("gaussian_filter", (IMAGE, 1), {"mode": "nowhere"}),
    ("gaussian_filter", (IMAGE, [1, 2, 3]), {}),
    ("gaussian_filter", (IMAGE, 1), {"axes": (0, 0)}),
    ("gaussian_filter", (IMAGE, 1), {"axes": 2}),
    ("gaussian_filter", (IMAGE.astype(np.float16), 1), {}),
    ("spline_filter", (IMAGE,), {"order": 1}),
    ("spline_filter", (IMAGE,), {"order": 6}),
    ("spline_filter", (IMAGE,), {"mode": "nowhere"}),
]

LEFT_TO_SCIPY = [
    ("map_coordinates", (IMAGE + 1j * IMAGE, POINTS), {}),
    ("map_coordinates", (IMAGE.reshape(1, 1, 19, 22), np.zeros((4, 3))), {}),
    ("gaussian_filter", (IMAGE + 1j * IMAGE, 1.0), {}),
    ("gaussian_filter", (IMAGE, 1.0), {"order": 1}),
    ("gaussian_filter", (IMAGE, 1.0), {"order": [0, 2]}),
    ("gaussian_filter", (IMAGE, 1.0), {"radius": 2}),
    ("gaussian_filter", (IMAGE, 1.0), {"output": np.float32}),
    ("gaussian_filter", (IMAGE, 1.0), {"axes": ()}),
    ("spline_filter", (IMAGE + 1j * IMAGE,), {"output": np.complex128}),
    ("spline_filter", (IMAGE,), {"output": np.float32}),
    ("spline_filter", (np.array(2.0),), {}),
]


@pytest.mark.parametrize("name", ["map_coordinates", "gaussian_filter", "spline_filter"])
def test_signatures_are_scipys_and_a_backend(name):
    ours = dict(inspect.signature(getattr(ndimage, name)).parameters)
    assert ours.pop("backend").default is None
    theirs = inspect.signature(getattr(scipy_ndimage, name)).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]


@pytest.mark.cross(
    dtype=["uint8", "int16", "float32", "float64"], order=range(6), mode=INTERPOLATION_MODES, prefilter=[True, False]
)
def test_map_coordinates_as_scipy(backend, dtype, order, mode, prefilter):
    image = (IMAGE * 40 + 100).astype(dtype)
    kwargs = {"order": order, "mode": mode, "cval": 7.0, "prefilter": prefilter}
    result = ndimage.map_coordinates(image, POINTS, **kwargs, backend=backend.name)
    expected = scipy_ndimage.map_coordinates(image, POINTS, **kwargs)
    assert result.dtype == expected.dtype
    tolerance = {"float64": 1e-12, "float32": 1e-5}.get(dtype, 0) * np.ptp(image)
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("output", [None, np.float32, "uint8", np.dtype(">i2")])
def test_map_coordinates_into_a_dtype(backend, output):
    result = ndimage.map_coordinates(IMAGE * 90, POINTS, output, order=1, mode="reflect", backend=backend.name)
    expected = scipy_ndimage.map_coordinates(IMAGE * 90, POINTS, output, order=1, mode="reflect")
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=0)


def test_map_coordinates_keeps_labels(backend):
    image = np.array([2**64 - 1, 2**53 + 1, 7], np.uint64)
    result = ndimage.map_coordinates(image, [[1, 0, 2]], order=0, backend=backend.name)
    assert result.tolist() == [2**53 + 1, 2**64 - 1, 7]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"sigma": 1.5},
        {"sigma": [0.5, 2], "mode": ["wrap", "constant"], "cval": 2.0},
        {"sigma": 1, "axes": -1},
        {"sigma": [2, 1], "axes": (1, 0), "truncate": 2.0},
        {"sigma": 1.0, "output": np.float64},
        {"sigma": 0},
    ],
)
def test_gaussian_filter_as_scipy(backend, kwargs):
    result = ndimage.gaussian_filter(IMAGE, **kwargs, backend=backend.name)
    np.testing.assert_array_equal(result, scipy_ndimage.gaussian_filter(IMAGE, **kwargs))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_spline_filter_as_scipy(backend, dtype, mode):
    image = (IMAGE * 40 + 100).astype(dtype)
    result = ndimage.spline_filter(image, mode=mode, backend=backend.name)
    assert result.dtype == np.float64
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(
        result, scipy_ndimage.spline_filter(image, mode=mode), rtol=0, atol=tolerance * np.ptp(image)
    )


@pytest.mark.parametrize(("name", "args", "kwargs"), LEFT_TO_SCIPY)
def test_what_is_left_to_scipy(name, args, kwargs):
    result = getattr(ndimage, name)(*args, **kwargs)
    expected = getattr(scipy_ndimage, name)(*args, **kwargs)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_into_an_array():
    for name, args in [
        ("map_coordinates", (IMAGE, POINTS)),
        ("gaussian_filter", (IMAGE, 1.0)),
        ("spline_filter", (IMAGE,)),
    ]:
        expected = getattr(scipy_ndimage, name)(*args)
        target = np.empty(expected.shape)
        assert getattr(ndimage, name)(*args, output=target) is target
        np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize(("name", "args", "kwargs"), REFUSED)
def test_errors_are_scipys(name, args, kwargs):
    with pytest.raises((RuntimeError, TypeError, ValueError)) as theirs:
        getattr(scipy_ndimage, name)(*args, **kwargs)
    with pytest.raises(theirs.type) as ours:
        getattr(ndimage, name)(*args, **kwargs)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ndimage.map_coordinates(IMAGE, POINTS, backend="abacus"),
        lambda: ndimage.gaussian_filter(IMAGE, 1.0, backend="abacus"),
        lambda: ndimage.gaussian_filter(IMAGE + 1j, 1.0, backend="abacus"),
        lambda: ndimage.spline_filter(IMAGE, backend="abacus"),
    ],
)
def test_an_unknown_backend(call):
    with pytest.raises(ParameterError, match="abacus"):
        call()


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_foreign_byte_order_is_not_copied_beside_the_result(name):
    if not available_backends()[name].available:
        pytest.skip(available_backends()[name].reason)
    image = np.random.default_rng(0).normal(size=(2000, 2000)).astype(">f4")
    call = functools.partial(ndimage.gaussian_filter, image, 1.0, backend=name)
    call()  # compiles
    tracemalloc.start()
    result = call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(result, scipy_ndimage.gaussian_filter(image.astype("f4"), 1.0), rtol=0, atol=1e-5)
    assert peak < 1.5 * image.nbytes
