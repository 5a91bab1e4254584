"""What deformations may be asked for: checks of their parameters, which name the value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .backends.base import INTERPOLATION_MODES
from .errors import ParameterError
from .random_fields import Box
from .threads import allowed_threads

PART = 1 << 20
"""Values of a large array that are looked through at once: they stay in a cache for the second look."""


def check_alpha_sigma(alpha: Any, sigma: Any, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return alpha and sigma with one entry an axis, or raise ParameterError where one is not 0 or more."""
    return check_scale("alpha", alpha, count), check_scale("sigma", sigma, count)


def check_scale(name: str, value: Any, count: int) -> tuple[float, ...]:
    """Return a number, or one an axis, with one entry an axis; raise ParameterError where one is not 0 or more."""
    try:
        values = tuple(float(v) for v in value) if np.ndim(value) else (float(value),) * count
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(isfinite(v) and v >= 0 for v in values):
        raise ParameterError(f"{name} = {value!r}: allowed is a number of 0 or more, or {count} of them")
    return values


def check_interpolation(order: int, mode: str) -> None:
    """Raise ParameterError unless `order` is 0 to 5 and `mode` one of SciPy's."""
    check_choice("order", order, range(6))
    check_choice("mode", mode, INTERPOLATION_MODES)


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise ParameterError unless `value` is one of those allowed."""
    if value not in allowed:
        raise ParameterError(f"{name} = {value!r}: allowed are {', '.join(map(repr, allowed))}")


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape of 1 to 3 axes as ints, or raise ParameterError."""
    try:
        sizes = tuple(int(n) for n in shape)
    except (TypeError, ValueError, OverflowError):  # no sequence, no numbers, no finite ones
        sizes = ()
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0 or sizes != tuple(shape):
        raise ParameterError(f"shape = {shape!r}: allowed are 1 to 3 integers of 0 or more")
    return sizes


def check_float(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the dtype of a displacement, or raise ParameterError."""
    try:
        checked: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise ParameterError(f"dtype = {dtype!r}: allowed are float32 and float64") from None
    if checked not in (np.float32, np.float64):
        raise ParameterError(f"dtype = {checked}: allowed are float32 and float64")
    return checked


def check_box(box: Box, shape: Sequence[int]) -> Box:
    """Return a box as ints, or raise ParameterError where it does not lie in `shape`."""
    try:
        pairs = tuple((int(a), int(b)) for a, b in box)
    except (TypeError, ValueError, OverflowError):  # no sequence, no pairs, no numbers, no finite ones
        pairs = ()
    inside = len(pairs) == len(shape) and all(0 <= a <= b <= n for (a, b), n in zip(pairs, shape, strict=True))
    if not inside or pairs != tuple(map(tuple, box)):
        raise ParameterError(f"box = {box!r}: allowed are {len(shape)} pairs (start, stop) inside {tuple(shape)}")
    return pairs


def moving_axes(axes: Sequence[int] | None, ndim: int, *, trailing: bool = False) -> tuple[int, ...]:
    """Return the moving axes as increasing non-negative ints; all of 1 to 3 by default."""
    given = range(ndim) if axes is None else np.atleast_1d(axes) if isinstance(axes, Sequence) else ()
    moving = tuple(int(a) + ndim if a < 0 else int(a) for a in given)
    increasing = list(moving) == sorted(set(moving)) and all(0 <= a < ndim for a in moving)
    last = moving == tuple(range(ndim - len(moving), ndim))
    if not 1 <= len(moving) <= 3 or not increasing or (trailing and not last):
        which = "the last ones, " if trailing else ""
        raise ParameterError(f"axes = {axes!r}: allowed are 1 to 3 of the {ndim} axes, {which}in increasing order")
    return moving


def check_finite(name: str, array: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the largest value of a floating array of the host, or raise ParameterError.

    These two tell of NaN and infinity, at the speed of memory and without a mask of the array's size.
    """
    low, high = _extremes(array) if array.size else (0.0, 0.0)
    if not (isfinite(low) and isfinite(high)):
        count = array.size - np.count_nonzero(np.isfinite(array))
        raise ParameterError(f"{name} has {count} values that are NaN or infinite: allowed are finite numbers")
    return low, high


def _extremes(array: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the largest value, NaN where there is one: of a large array part by part, in threads."""
    if array.size < 2 * PART or not array.flags.c_contiguous:
        return float(array.min()), float(array.max())
    flat = array.reshape(-1)
    parts = [flat[start : start + PART] for start in range(0, flat.size, PART)]
    with ThreadPoolExecutor(allowed_threads(), "stackcorr-check") as pool:
        found = np.array(list(pool.map(lambda part: (part.min(), part.max()), parts)))
    return float(found[:, 0].min()), float(found[:, 1].max())


def broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of `shape` broadcasts to `target`."""
    return len(shape) <= len(target) and all(n in (1, t) for n, t in zip(shape[::-1], target[::-1], strict=False))
