"""Cases drawn at random, of every kind of image at once, held against SciPy.

200 a test and backend by default; ten thousand with ``--hypothesis-profile=closing``.
"""

from __future__ import annotations

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage
from test_warp import INTEGERS, make_image

from gpu_stackcorr import gaussian_filter, map_coordinates, warp
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.backends.numpy_.spline import REFLECTING, SHORT

VIEWS = {
    "contiguous": lambda a: a,
    "strided": lambda a: np.repeat(a, 3, axis=-1)[..., ::3],
    "reversed": lambda a: np.flip(np.flip(a).copy()),
    "Fortran": np.asfortranarray,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": lambda a: np.lib.stride_tricks.as_strided(a.copy(), writeable=False),
}


@st.composite
def images(draw, dtypes):
    """An image of 1 to 3 axes, and the same numbers plainly laid out."""
    dtype, ndim = draw(st.sampled_from(dtypes)), draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (40, 24, 12)[ndim - 1])) for _ in range(ndim))
    image = make_image(dtype, shape, draw(st.integers(0, 2**32)))
    return VIEWS[draw(st.sampled_from(sorted(VIEWS)))](image), image


@st.composite
def fields(draw, shape):
    """A displacement in multiples of 2^-20, so that p + d is exact in float64: none, small, or beyond every border."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([0.0, 0.1, 3.0, 100.0]))
    field = np.rint(rng.normal(0, size, (len(shape), *shape)) * 2**20) / 2**20
    halves = draw(st.booleans())
    return np.rint(2 * field) / 2 if halves else field


interpolations = st.fixed_dictionaries(
    {
        "order": st.integers(0, 5),
        "mode": st.sampled_from(INTERPOLATION_MODES),
        "cval": st.sampled_from([0.0, 2.0, -3.5]),
    }
)


def exact(image, coordinates, *, order, mode, cval, **how):
    """SciPy's result, on an image that is longer by whole reflections where its prefilter is not right (1.17)."""
    short = [1 < n < SHORT for n in image.shape]
    if order > 1 and mode in REFLECTING[:2] and any(short):
        margins = [n * -(-SHORT // n) if s else 0 for n, s in zip(image.shape, short, strict=True)]
        # An even number of reflections, so that the longer image goes on as the shorter one does.
        image = np.pad(image, [(m, m) for m in margins], "symmetric")
        coordinates = np.stack([fold(c, n) + m for c, n, m in zip(coordinates, how.pop("sizes"), margins, strict=True)])
    how.pop("sizes", None)
    return ndimage.map_coordinates(image, coordinates, order=order, mode=mode, cval=cval, **how)


def fold(position, n):
    """Positions brought into [-0.5, n - 0.5] by reflection about the border."""
    position = (position + 0.5) % (2 * n)
    return np.where(position > n, 2 * n - position, position) - 0.5


def assert_near(result, image, coordinates, **how):
    """Equal at order 0 and for integers, but where SciPy's value is a half; else to 1e-12 or 2e-5 of the range."""
    sizes = image.shape
    assert result.dtype == image.dtype
    if how["order"] == 0:
        np.testing.assert_array_equal(result, ndimage.map_coordinates(image, coordinates, **how))
        return
    near = exact(image.astype(np.float64), coordinates, sizes=sizes, **how)  # of integers SciPy truncates `cval`
    extent = max(float(np.abs(image.astype(np.float64)).max()), abs(how["cval"]), 1e-3)
    if image.dtype.kind == "f":
        np.testing.assert_allclose(result, near, rtol=0, atol=(1e-12 if image.dtype == np.float64 else 2e-5) * extent)
        return
    limits = np.iinfo(image.dtype)
    rounded = np.clip(np.trunc(near + np.copysign(0.5, near)), float(limits.min), float(limits.max))
    near_half = np.abs(np.abs(near - np.trunc(near)) - 0.5) <= 1e-12 * extent
    difference = np.abs(result.astype(np.float64) - rounded)
    assert (difference <= np.where(near_half, 1, 0)).all()


@given(data=st.data(), how=interpolations)
def test_any_warp(backend, data, how):
    view, image = data.draw(images((*INTEGERS[1:], "float32", "float64")))
    field = data.draw(fields(image.shape))
    result = warp(view, field, backend=backend.name, **how)
    assert_near(result, image, np.indices(image.shape) + field, **how)


@given(data=st.data(), how=interpolations)
def test_any_coordinates(backend, data, how):
    view, image = data.draw(images((*INTEGERS[1:], "float32", "float64")))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shape = tuple(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)))
    sizes = np.reshape(image.shape, (-1, *(1,) * len(shape)))
    coordinates = np.rint(rng.uniform(-2, 3, (image.ndim, *shape)) * sizes * 2**20) / 2**20
    result = map_coordinates(view, coordinates, backend=backend.name, **how)
    assert_near(result, image, coordinates, **how)


@given(data=st.data())
def test_any_gaussian(backend, data):
    view, image = data.draw(images((*INTEGERS, "float32", "float64")))
    axes = data.draw(st.lists(st.sampled_from(range(image.ndim)), min_size=1, unique=True))
    how = {
        "sigma": [data.draw(st.floats(0, 6)) for _ in axes],
        "mode": [data.draw(st.sampled_from(INTERPOLATION_MODES)) for _ in axes],
        "truncate": data.draw(st.sampled_from([4.0, 3.0, 0.5])),
        "cval": data.draw(st.sampled_from([0.0, 7.5])),
        "axes": axes,
    }
    result = gaussian_filter(view, backend=backend.name, **how)
    expected = ndimage.gaussian_filter(image, **how)
    assert result.dtype == image.dtype
    if image.dtype == np.float32:
        extent = max(float(np.abs(image).max()), 7.5)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * extent)
    else:
        np.testing.assert_array_equal(result, expected)


def test_the_ways_to_lay_an_image_out_keep_its_numbers():
    image = make_image("float64", (4, 5, 6))
    for name, view in VIEWS.items():
        assert np.array_equal(view(image), image), name
    with pytest.raises(ValueError, match="read-only"):
        VIEWS["read-only"](image)[0] = 0
