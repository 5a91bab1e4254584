"""Parts of device arrays as kernels take them: a first sample, sizes and steps in elements; nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gpu_stackcorr.backends.base import Array


@dataclass(frozen=True)
class View:
    """A part of a contiguous array on the device.

    Attributes
    ----------
    array : device array
        Contiguous.
    first : int
        Where the part begins, in elements.
    shape : tuple of ints
    steps : tuple of ints
        From one sample to the next along each axis; 0 where the array broadcasts.
    """

    array: Array
    first: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, array: Array) -> View:
        """Return the whole of a contiguous array."""
        steps = tuple(prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
        return cls(array, 0, array.shape, steps)

    @property
    def memory(self) -> Array:
        """The array from the first sample on, flat."""
        flat: Array = self.array.reshape(-1)[self.first :]
        return flat

    def transpose(self, axes: Sequence[int]) -> View:
        """Return the axes in another order."""
        return View(self.array, self.first, *(tuple(each[axis] for axis in axes) for each in (self.shape, self.steps)))

    def part(self, slices: Sequence[slice]) -> View:
        """Return a part along the first axes; slices have no step."""
        ends = [here.indices(size)[:2] for here, size in zip(slices, self.shape, strict=False)]
        first = self.first + sum(start * step for (start, _), step in zip(ends, self.steps, strict=False))
        shape = (*(stop - start for start, stop in ends), *self.shape[len(ends) :])
        return View(self.array, first, shape, self.steps)

    def broadcast(self, shape: Sequence[int]) -> View:
        """Return a view of `shape`, with steps of 0 along axes of one sample."""
        steps = tuple(step if size > 1 else 0 for size, step in zip(self.shape, self.steps, strict=True))
        return View(self.array, self.first, tuple(shape), steps)
