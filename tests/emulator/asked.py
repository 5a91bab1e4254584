"""Which instantiations launch code asks for: it runs over crosses of dtypes and sizes, on a device that takes note."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any
from unittest import mock

import numpy as np

from gpu_stackcorr.backends.cuda_ import pulling
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.backends.cuda_.device import Device, Kernel

EXACT = ("bool", "int8", "uint8", "int16", "uint16")
DTYPES = (*EXACT, "int32", "uint32", "int64", "uint64", "float32", "float64")
REAL = ("float32", "float64")


class NotingDevice(Device):
    """Launches nothing, and remembers what was asked for. Its arrays are NumPy's, of zeros."""

    multiprocessors = 4
    shared_bytes = 228 * 1024

    def __init__(self) -> None:
        self.asked: dict[str, set[str]] = {}

    def kernel(self, file: str, name: str) -> Kernel:
        """Note a kernel, and return one that does nothing."""
        self.asked.setdefault(file, set()).add(name)
        return lambda grid, block, arguments, *, shared_bytes=0: None

    def empty(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Return zeros."""
        return np.zeros(shape, dtype)

    def to_device(self, array: np.ndarray) -> np.ndarray:
        """Return the array, contiguous."""
        return np.ascontiguousarray(array)

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """Return the array."""
        return array

    def free_bytes(self) -> int:
        """Return more than is needed."""
        return 2**40


@cache
def asked_instantiations() -> dict[str, list[str]]:
    """Return the name expressions that launch code asks for, by file of ``kernels/``."""
    device = NotingDevice()
    for run in (moments, cross_moments, filters, fields, folds, interpolations, warped_moments):
        run(CudaBackend(device))
    return {file: sorted(names) for file, names in sorted(device.asked.items())}


def few_of(names: Sequence[str]) -> list[str]:
    """Return as few instantiations of a kernel as a greedy search needs to have all values of its arguments."""
    values = {name: set(enumerate(name.partition("<")[2].split(","))) for name in names}
    missing = set().union(*values.values())
    few = []
    while missing:
        few.append(max(names, key=lambda name: len(values[name] & missing)))
        missing -= values[few[-1]]
    return few


def moments(backend: CudaBackend) -> None:
    """References of every dtype with slices of every dtype: some of both, rows in whole words or not, masks or none."""
    for x, y in product(DTYPES, DTYPES):
        backend.moments([np.zeros((2, 3), x)], np.zeros((1, 2, 3), y), slice_mask=np.ones((2, 3), bool))
        for references, slices, width in product((1, 2, 3, 5), (1, 2), (16, 3)):
            backend.moments([np.zeros((2, width), x)] * references, np.zeros((slices, 2, width), y))
        backend.moments([np.zeros((30000, 3), x)], np.zeros((1, 30000, 3), y))  # a cell of many blocks
    for side in (3, 17):  # cells that fit into a thread block, and those that do not
        image = np.zeros((side, side), np.uint8)
        backend.moments([image], image[np.newaxis], tiles=(np.arange(side + 1),) * 2)


def cross_moments(backend: CudaBackend) -> None:
    """Images of every dtype."""
    for dtype in DTYPES:
        backend.cross_moments(np.zeros((2, 2, 3), dtype))


def filters(backend: CudaBackend) -> None:
    """Images of every dtype, along rows and along columns, or left alone."""
    for dtype in DTYPES:
        image = np.zeros((2, 3), dtype)
        for axis in (0, 1):
            for sigma in (0.0, 1.0):
                backend.gaussian_filter(image, [sigma], axes=[axis], mode=["reflect"])
            for part in (image, image[:1, :1]):
                backend.spline_filter(part, 3, axes=[axis], mode="mirror")


def fields(backend: CudaBackend) -> None:
    """Of both types: fields of both distributions, displacements of a whole field and of a box, control grids."""
    for dtype in REAL:
        for distribution in ("uniform", "normal"):
            backend.random_field(0, 0, (3,), distribution=distribution, dtype=dtype)
        for box in (None, ((1, 2), (1, 3))):
            backend.displacement(0, 0, (3, 3), alpha=1.0, sigma=(1.0, 1.0), box=box, dtype=dtype)
        for ndim in (1, 2, 3):
            backend.control_grid(0, 0, (3,) * ndim, alpha=1.0, distance=(1.0,) * ndim, dtype=dtype)


def folds(backend: CudaBackend) -> None:
    """Displacements of both types, of one to three axes that move."""
    for dtype, ndim in product(REAL, (1, 2, 3)):
        displacement = np.zeros((ndim, *(2,) * ndim), dtype)
        backend.jacobian_determinant(displacement, axes=range(ndim))
        backend.count_folds(displacement, axes=range(ndim))


def interpolations(backend: CudaBackend) -> None:
    """Images of every dtype, of one to three axes that move, at every order; indexed by 32 bits and by 64."""
    for narrow, ndim, order in product((pulling.NARROW, 0), (1, 2, 3), range(6)):
        how: dict[str, Any] = {"order": order, "mode": "nearest"}
        with mock.patch.object(pulling, "NARROW", narrow):
            for dtype in DTYPES:
                image = np.zeros((2,) * ndim, dtype)
                for real in REAL:
                    backend.warp(image, np.zeros((ndim, *image.shape), real), axes=range(ndim), **how)
                backend.map_coordinates(image, np.zeros((ndim, 1)), **how)
    for dtype in ("bool", "int8", "uint8"):  # by words
        backend.warp(np.zeros((2, 4), dtype), np.zeros((2, 2, 4), np.float32), axes=(0, 1), **how)
    backend.map_coordinates(np.zeros(2), np.zeros((1, 1), int), order=0, mode="nearest", dtype="uint8")


def warped_moments(backend: CudaBackend) -> None:
    """Slices of every dtype with references that make exact sums or not: one or several, masked or not."""
    how: dict[str, Any] = {"seed": 0, "stream": np.zeros((2, 1), np.uint64), "alpha": 1.0, "sigma": (1.0, 1.0)}
    for x, y in product(("uint8", "float32"), DTYPES):
        for references, mask in ((1, None), (2, None), (1, np.ones((2, 3), bool))):
            images = [np.zeros((2, 3), x)] * references
            backend.warp_moments(images, np.zeros((1, 2, 3), y), reference_mask=mask, **how)
