"""Three functions of ``scipy.ndimage`` with SciPy's signatures, computed on a backend.

What the backends do not cover (complex images, derivatives of the Gaussian, an explicit `radius`, an `output` array,
more than three dimensions) goes to SciPy itself, and so does whatever is wrong with the arguments: the errors, too,
are SciPy's.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .arrays import check_dtype, choose, on_device, take
from .backends.base import INTERPOLATION_MODES, SPLINE_PADDING, Backend
from .errors import InputTypeError

REAL = (int, float, np.integer, np.floating)

scipy_map_coordinates: Any = ndimage.map_coordinates
scipy_gaussian_filter: Any = ndimage.gaussian_filter
scipy_spline_filter: Any = ndimage.spline_filter


class _NotCoveredError(Exception):
    """What was asked for is not covered by the backends, or wrong in a way that SciPy reports."""


def map_coordinates(
    input: Any,
    coordinates: Any,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: Any = 0.0,
    prefilter: bool = True,
    *,
    backend: str | None = None,
) -> Any:
    """Sample an image at coordinates by spline interpolation, as ``scipy.ndimage.map_coordinates``.

    Parameters
    ----------
    input : array_like of 1 to 3 dimensions
        bool, integers, float32 or float64. Other images are left to SciPy.
    coordinates : (input.ndim, ...) array_like
        In voxels; the centre of the first voxel is 0.
    output : array or dtype, optional
        By default of the dtype of `input`. Into an array by SciPy only.
    order : int
        Of the spline, 0 to 5. At order 0 every bit of the samples is kept; SciPy passes through float64.
    mode : str
        ``reflect``, ``grid-mirror``, ``constant``, ``grid-constant``, ``nearest``, ``mirror``, ``grid-wrap``, ``wrap``.
    cval : float
        Value outside, for the modes with ``constant``.
    prefilter : bool
        Whether to turn samples into spline coefficients first (orders above 1).
    backend : {"cuda", "numba", "numpy"}, optional

    Returns
    -------
    array of the shape ``coordinates.shape[1:]``
        Integers are rounded, half away from zero, and clipped.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        As SciPy does.
    ParameterError, BackendError
        If `backend` is not known, or cannot run here.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(12.0).reshape(4, 3)
    >>> map_coordinates(image, [[0.5, 2], [0.5, 1]], order=1)
    array([2., 7.])
    """
    try:
        chosen = choose(backend, input=input, coordinates=coordinates)
        _, image, give_back = take("input", input, chosen.name)
        _, points, _ = take("coordinates", coordinates, chosen.name)
        dtype = _output_dtype(output, image.dtype)
        _check(isinstance(order, (int, np.integer)) and 0 <= order <= 5 and mode in INTERPOLATION_MODES)
        _check(isinstance(cval, REAL) and 1 <= image.ndim <= 3 and points.ndim > 1 and len(points) == image.ndim)
    except (InputTypeError, _NotCoveredError) as error:
        _check_host(error, input=input, coordinates=coordinates)
        return scipy_map_coordinates(
            input, coordinates, output=output, order=order, mode=mode, cval=cval, prefilter=prefilter
        )
    if order > 1 and prefilter and image.size:
        image, points = _prefilter(chosen, image, points, order, mode, cval)
    return give_back(chosen.map_coordinates(image, points, order=order, mode=mode, cval=cval, dtype=dtype))


def gaussian_filter(
    input: Any,
    sigma: float | Iterable[float],
    order: int | Iterable[int] = 0,
    output: Any = None,
    mode: str | Iterable[str] = "reflect",
    cval: float = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | Iterable[int] | None = None,
    axes: int | Iterable[int] | None = None,
    backend: str | None = None,
) -> Any:
    """Smooth an image with a Gaussian, as ``scipy.ndimage.gaussian_filter``.

    Parameters
    ----------
    input : array_like
        bool, integers, float32 or float64, of any number of dimensions. Other images are left to SciPy.
    sigma : float, or one an axis
        Standard deviation in voxels; 0 leaves an axis alone.
    order : int, or one an axis
        Of the derivative; above 0 by SciPy only.
    output : array or dtype, optional
        An array, or a dtype that is not that of `input`, by SciPy only.
    mode : str, or one an axis
        The boundary mode.
    cval : float
        Value outside, for ``mode="constant"``.
    truncate : float
        Radius of the filter in standard deviations: ``int(truncate * sigma + 0.5)`` voxels.
    radius : int, or one an axis, optional
        By SciPy only.
    axes : int or several, optional
        The axes to smooth, in this order; all by default.
    backend : {"cuda", "numba", "numpy"}, optional

    Returns
    -------
    array of the shape and dtype of `input`
        Integers are truncated after each axis, as in SciPy.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        As SciPy does.
    ParameterError, BackendError
        If `backend` is not known, or cannot run here.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_filter(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), 0.5, truncate=2.0).round(4)
    array([0.    , 0.1065, 0.787 , 0.1065, 0.    ])
    """
    try:
        chosen, image, give_back = take("input", input, backend)
        numbers = _axis_numbers(range(image.ndim) if axes is None else axes, image.ndim)
        sigmas, orders, modes = (_per_axis(value, len(numbers)) for value in (sigma, order, mode))
        _check(radius is None and not any(orders) and all(name in INTERPOLATION_MODES for name in modes))
        _check(all(isinstance(s, REAL) and s >= 0 for s in sigmas) and isinstance(cval, REAL))
        _check(_output_dtype(output, image.dtype) == image.dtype.newbyteorder("="))
    except (InputTypeError, _NotCoveredError) as error:
        _check_host(error, input=input)
        return scipy_gaussian_filter(
            input, sigma, order, output, mode=mode, cval=cval, truncate=truncate, radius=radius, axes=axes
        )
    return give_back(chosen.gaussian_filter(image, sigmas, axes=numbers, mode=modes, cval=cval, truncate=truncate))


def spline_filter(
    input: Any, order: int = 3, output: Any = np.float64, mode: str = "mirror", *, backend: str | None = None
) -> Any:
    """Return the B-spline coefficients of an image, as ``scipy.ndimage.spline_filter``.

    Parameters
    ----------
    input : array_like
        bool, integers, float32 or float64. Other images are left to SciPy.
    order : int
        Of the spline, 2 to 5.
    output : array or dtype
        Anything but float64 by SciPy only.
    mode : str
        The boundary mode that the samples will be interpolated with.
    backend : {"cuda", "numba", "numpy"}, optional

    Returns
    -------
    float64 array of the shape of `input`

    Raises
    ------
    RuntimeError, TypeError, ValueError
        As SciPy does.
    ParameterError, BackendError
        If `backend` is not known, or cannot run here.

    Examples
    --------
    >>> import numpy as np
    >>> spline_filter(np.array([0.0, 0.0, 1.0, 0.0, 0.0])).round(3)
    array([ 0.25, -0.5 ,  1.75, -0.5 ,  0.25])
    """
    try:
        chosen, image, give_back = take("input", input, backend)
        _check(isinstance(order, (int, np.integer)) and 2 <= order <= 5 and mode in INTERPOLATION_MODES)
        _check(image.ndim > 0 and _output_dtype(output, image.dtype) == np.float64)
    except (InputTypeError, _NotCoveredError) as error:
        _check_host(error, input=input)
        return scipy_spline_filter(input, order, output, mode)
    coefficients = chosen.spline_filter(image, order, axes=range(image.ndim), mode=mode)
    return give_back(coefficients.astype(np.float64, copy=False))


def _check_host(error: Exception, **arrays: Any) -> None:
    """Raise where arrays that SciPy is to be given lie on a device."""
    for name, array in arrays.items():
        if on_device(array):
            raise InputTypeError(
                f"{name} is on a CUDA device and this call is one for SciPy: allowed is a host copy"
                + (f" ({error})" if str(error) else "")
            ) from error


def _check(covered: bool) -> None:
    """Raise _NotCoveredError unless the backends cover a call."""
    if not covered:
        raise _NotCoveredError


def _prefilter(
    backend: Backend, image: NDArray[Any], points: NDArray[Any], order: int, mode: str, cval: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the spline coefficients, padded where `mode` asks for it, and the coordinates in them."""
    if mode in ("nearest", "grid-constant"):
        if image.dtype.kind != "f":
            image = image.astype(np.float64)  # np.pad would wrap a cval that the dtype does not hold
        image = (
            np.pad(image, SPLINE_PADDING, "edge")
            if mode == "nearest"
            else np.pad(image, SPLINE_PADDING, constant_values=cval)
        )
        points = points + np.float64(SPLINE_PADDING)
    return backend.spline_filter(image, order, axes=range(image.ndim), mode=mode), points


def _output_dtype(output: Any, image: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that SciPy's parameter `output` stands for, where a backend can write it."""
    if output is None:
        return np.dtype(image.newbyteorder("="))
    _check(isinstance(output, (type, np.dtype, str)))
    try:
        dtype: np.dtype[Any] = np.dtype(output)
    except TypeError:
        raise _NotCoveredError from None
    _check(not (isinstance(output, str) and dtype.kind == "b"))
    check_dtype("output", dtype)
    return dtype


def _axis_numbers(axes: Any, ndim: int) -> list[int]:
    """Return the axes as numbers from 0, as SciPy reads them."""
    try:
        numbers = [operator.index(axis) for axis in (axes if np.iterable(axes) else [axes])]
    except TypeError:
        raise _NotCoveredError from None
    _check(all(-ndim <= axis < ndim for axis in numbers))
    numbers = [axis % ndim for axis in numbers]
    _check(len(set(numbers)) == len(numbers) > 0)
    return numbers


def _per_axis(value: Any, count: int) -> list[Any]:
    """Return one entry an axis, as SciPy reads a scalar or a sequence."""
    entries = list(value) if np.iterable(value) and not isinstance(value, str) else [value] * count
    _check(len(entries) == count)
    return entries
