"""The operations of the ``cuda`` backend.

Operations take arrays of the host or of the device, and give results where their first array lies. What is made from a
seed alone lies on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Backend, Box, Edges, Folds
from gpu_stackcorr.cross_moments import CrossMoments
from gpu_stackcorr.moments import Moments

from . import (
    control_grid,
    cross_moments,
    displacement,
    elastic,
    gaussian,
    jacobian,
    map_coordinates,
    moments,
    random_field,
    spline,
    warp,
    warp_moments,
)
from .device import Device
from .passes import real_type
from .slabs import filtered


class CudaBackend(Backend):
    """Operations by our own CUDA kernels.

    Parameters
    ----------
    device : Device, optional
        Where the kernels run; the current GPU by default.
    """

    name = "cuda"

    slab_bytes = 2**30
    """Launches cost microseconds each: a stack in memory is given whole, and taken in slabs by the operation itself."""

    slab_slices = None

    in_threads = False
    """One thread keeps a device busy."""

    def __init__(self, device: Device | None = None) -> None:
        if device is None:
            from .gpu import Gpu

            device = Gpu()
        self.device = device

    def to_host(self, array: Array) -> Array:
        """Return a NumPy array of a device array."""
        return self.device.to_host(array)

    def beside(self, image: Array, array: Array) -> Array:
        """Return an array where `image` lies."""
        return self.device.to_host(array) if isinstance(image, np.ndarray) else self.device.to_device(array)

    def adopt(self, array: Any) -> tuple[Array, Callable[[Array], Any]]:
        """Return an array of any library's on the device as CuPy's, without a copy, and the way back to the library."""
        return self.device.adopt(array)

    def carried(self) -> Callable[[], AbstractContextManager[None]]:
        """Return what gives another thread the current device and stream of this one."""
        return self.device.carried()

    def moments(  # type: ignore[override]
        self,
        references: Sequence[Array],
        slices: Array,
        *,
        reference_mask: Array | None = None,
        slice_mask: Array | None = None,
        tiles: Edges | Sequence[Edges] | None = None,
    ) -> list[Moments]:
        """See ``Backend.moments``."""
        return moments.moments(
            self.device, references, slices, reference_mask=reference_mask, slice_mask=slice_mask, tiles=tiles
        )

    def gaussian_filter(  # type: ignore[override]
        self,
        image: Array,
        sigma: Sequence[float],
        *,
        axes: Sequence[int],
        mode: Sequence[str],
        cval: float = 0.0,
        truncate: float = 4.0,
    ) -> Array:
        """See ``Backend.gaussian_filter``."""

        def smooth(part: Array) -> Array:
            return gaussian.gaussian_filter(
                self.device, part, sigma, axes=axes, mode=mode, cval=cval, truncate=truncate
            )

        return filtered(self.device, image, axes, image.dtype.newbyteorder("="), smooth)

    def spline_filter(self, image: Array, order: int, *, axes: Sequence[int], mode: str) -> Array:  # type: ignore[override]
        """See ``Backend.spline_filter``."""

        def prefilter(part: Array) -> Array:
            return spline.spline_filter(self.device, part, order, axes=axes, mode=mode)

        return filtered(self.device, image, axes, np.dtype(real_type(image.dtype)), prefilter)

    def map_coordinates(  # type: ignore[override]
        self,
        image: Array,
        coordinates: Array,
        *,
        order: int,
        mode: str,
        cval: float = 0.0,
        dtype: DTypeLike | None = None,
    ) -> Array:
        """See ``Backend.map_coordinates``."""
        return map_coordinates.map_coordinates(
            self.device, image, coordinates, order=order, mode=mode, cval=cval, dtype=dtype
        )

    def warp(  # type: ignore[override]
        self, image: Array, displacement: Array, *, axes: Sequence[int], order: int, mode: str, cval: float = 0.0
    ) -> Array:
        """See ``Backend.warp``."""
        return warp.warp(self.device, image, displacement, axes=axes, order=order, mode=mode, cval=cval)

    def warp_with_labels(
        self,
        image: Array,
        labels: Array,
        displacement: Array,
        *,
        axes: Sequence[int],
        order: int,
        mode: str,
        cval: float = 0.0,
    ) -> tuple[Array, Array]:
        """See ``Backend.warp_with_labels``."""
        return warp.warp_with_labels(
            self.device, image, labels, displacement, axes=axes, order=order, mode=mode, cval=cval
        )

    def random_field(  # type: ignore[override]
        self,
        seed: int,
        stream: int | NDArray[np.uint64],
        shape: Sequence[int],
        *,
        box: Box | None = None,
        distribution: str = "uniform",
        dtype: DTypeLike = np.float32,
    ) -> Array:
        """See ``Backend.random_field``."""
        return random_field.random_field(
            self.device, seed, stream, shape, box=box, distribution=distribution, dtype=dtype
        )

    def displacement(
        self,
        seed: int,
        stream: int | NDArray[np.uint64],
        shape: Sequence[int],
        *,
        alpha: float | NDArray[np.float64],
        sigma: Sequence[float],
        box: Box | None = None,
        mode: str = "constant",
        truncate: float = 4.0,
        dtype: DTypeLike = np.float32,
        temporary: bool = False,
    ) -> Array:
        """See ``Backend.displacement``."""
        del temporary  # CuPy keeps all memory
        return displacement.displacement(
            self.device,
            seed,
            stream,
            shape,
            alpha=alpha,
            sigma=sigma,
            box=box,
            mode=mode,
            truncate=truncate,
            dtype=dtype,
        )

    def elastic(self, image: Array, seed: int, stream: NDArray[np.uint64], **how: Any) -> tuple[Array, Folds | None]:
        """See ``Backend.elastic``."""
        return elastic.elastic(self.device, image, seed, stream, **how)

    def jacobian_determinant(  # type: ignore[override]
        self, displacement: Array, *, axes: Sequence[int], box: Box | None = None
    ) -> Array:
        """See ``Backend.jacobian_determinant``."""
        return jacobian.jacobian_determinant(self.device, displacement, axes=axes, box=box)

    def count_folds(self, displacement: Array, *, axes: Sequence[int]) -> Folds:
        """See ``Backend.count_folds``."""
        return jacobian.count_folds(self.device, displacement, axes=axes)

    def control_grid(
        self,
        seed: int,
        stream: int | NDArray[np.uint64],
        shape: Sequence[int],
        *,
        alpha: float | NDArray[np.float64],
        distance: Sequence[float],
        box: Box | None = None,
        dtype: DTypeLike = np.float32,
    ) -> Array:
        """See ``Backend.control_grid``."""
        return control_grid.control_grid(
            self.device, seed, stream, shape, alpha=alpha, distance=distance, box=box, dtype=dtype
        )

    def warp_moments(
        self,
        references: Sequence[Array],
        slices: Array,
        *,
        seed: int,
        stream: NDArray[np.uint64],
        alpha: float | NDArray[np.float64],
        sigma: Sequence[float],
        truncate: float = 4.0,
        order: int = 1,
        mode: str = "reflect",
        cval: float = 0.0,
        reference_mask: Array | None = None,
        tiles: Edges | Sequence[Edges] | None = None,
    ) -> list[Moments]:
        """See ``Backend.warp_moments``."""
        return warp_moments.warp_moments(
            self.device,
            references,
            slices,
            seed=seed,
            stream=stream,
            alpha=alpha,
            sigma=sigma,
            truncate=truncate,
            order=order,
            mode=mode,
            cval=cval,
            reference_mask=reference_mask,
            tiles=tiles,
        )

    def cross_moments(  # type: ignore[override]
        self, slices: Array, others: Array | None = None, *, mask: Array | None = None
    ) -> CrossMoments:
        """See ``Backend.cross_moments``."""
        return cross_moments.cross_moments(self.device, slices, others, mask=mask)


BACKEND = CudaBackend
