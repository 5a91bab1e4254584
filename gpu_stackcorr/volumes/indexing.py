"""Boxes, crops and indices of a volume, checked and brought to one form."""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import SupportsIndex

import numpy as np

from gpu_stackcorr.errors import InputTypeError, ParameterError

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
Shape = tuple[int, int, int]
Range = slice | tuple[int | None, int | None] | None
Index = SupportsIndex | slice | EllipsisType

AXES = ("z", "y", "x")


def check_box(box: Box, shape: Shape) -> Box:
    """The box as Python integers, or an error that says where it leaves the volume."""
    try:
        ranges = [(operator.index(start), operator.index(stop)) for start, stop in box]
    except (TypeError, ValueError):
        ranges = []
    if len(ranges) != 3:
        raise ParameterError(f"box={box!r} is not a box; it has to be ((z0, z1), (y0, y1), (x0, x1))")
    for axis, (start, stop), size in zip(AXES, ranges, shape, strict=True):
        if not 0 <= start <= stop <= size:
            raise ParameterError(f"box has {axis} from {start} to {stop}; allowed is 0 <= start <= stop <= {size}")
    return ranges[0], ranges[1], ranges[2]


def crop_range(axis: str, wanted: Range, size: int) -> tuple[int, int]:
    """(start, stop) of a crop along one axis."""
    if wanted is None:
        return 0, size
    first, last = (wanted.start, wanted.stop) if isinstance(wanted, slice) else (None, None)
    try:
        if isinstance(wanted, slice):
            if wanted.step not in (None, 1):
                raise ParameterError(f"{axis}={show_range(wanted)} has step {wanted.step}; a crop has step 1")
        else:
            first, last = wanted
        start, stop = (0 if first is None else operator.index(first)), (size if last is None else operator.index(last))
    except (TypeError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"{axis}={wanted!r} is not a range; it has to be (start, stop) or a slice") from None
    start, stop = start + size * (start < 0), stop + size * (stop < 0)
    if not 0 <= start < stop <= size:
        raise ParameterError(
            f"{axis}={show_range(wanted)} is not within the volume; allowed is 0 <= start < stop <= {size}"
        )
    return start, stop


def expand_index(index: Index | tuple[Index, ...]) -> list[SupportsIndex | slice]:
    """One entry an axis, the Ellipsis and missing axes filled in."""
    items = index if isinstance(index, tuple) else (index,)
    ellipses = [position for position, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("an index can have only a single ellipsis ('...')")
    if len(items) - len(ellipses) > 3:
        raise IndexError(f"too many indices: a volume has 3 axes, {len(items) - len(ellipses)} were given")
    position = ellipses[0] if ellipses else len(items)
    filling = [slice(None)] * (3 - len(items) + len(ellipses))
    full = [*items[:position], *filling, *items[position + 1 :]]
    return [item for item in full if item is not Ellipsis]


def axis_index(item: SupportsIndex | slice, size: int, axis: int) -> int | range:
    """An integer, or the range of a slice."""
    if isinstance(item, slice):
        return range(size)[item]
    try:
        if isinstance(item, bool | np.bool_):
            raise TypeError
        position = operator.index(item)
    except TypeError:
        raise InputTypeError(
            f"index {item!r} along {AXES[axis]} is not allowed; a volume takes integers, slices and '...'"
        ) from None
    if not -size <= position < size:
        raise IndexError(f"index {position} is out of bounds for axis {axis} with size {size}")
    return position % size


def span(axis: int | range) -> tuple[int, int]:
    """The smallest (start, stop) that holds an integer or a range of either direction."""
    if isinstance(axis, int):
        return axis, axis + 1
    if not axis:
        return 0, 0
    return min(axis[0], axis[-1]), max(axis[0], axis[-1]) + 1


def within(axis: int | range, start: int) -> int | slice:
    """The same integer or range, counted from the start of what was read."""
    if isinstance(axis, int):
        return axis - start
    if not axis:
        return slice(0, 0)
    stop = axis[-1] - start + (1 if axis.step > 0 else -1)
    return slice(axis[0] - start, None if stop < 0 else stop, axis.step)


def show_range(wanted: Range) -> str:
    """A range as start:stop."""
    if wanted is None:
        return ":"
    start, stop = (wanted.start, wanted.stop) if isinstance(wanted, slice) else wanted
    return f"{'' if start is None else start}:{'' if stop is None else stop}"
