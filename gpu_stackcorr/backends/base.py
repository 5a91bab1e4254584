"""The operations of a backend: their signatures and contracts.

Every backend computes the same operations, with the same names and arguments and, within the tolerances stated
here, the same numbers. The ``numpy`` backend is the specification. Arguments arrive validated and in canonical form
(see the public functions in ``deformation``, ``correlation`` and ``arrays``); a backend does not check them again.

Words used below: K references, N slices, images of shape (Y, X). A *box* is a tuple of ``(start, stop)`` pairs, one
an axis. A *stream* names one of the independent random fields of a seed (see ``random_fields.stream``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.cross_moments import CrossMoments
from gpu_stackcorr.moments import Moments

Array = NDArray[Any]
Box = tuple[tuple[int, int], ...]
Edges = tuple[NDArray[np.intp], NDArray[np.intp]]

INTERPOLATION_MODES = ("reflect", "grid-mirror", "constant", "grid-constant", "nearest", "mirror", "grid-wrap", "wrap")
"""Boundary modes of ``map_coordinates``, ``spline_filter``, ``warp`` and ``gaussian_filter``, as SciPy names them."""

SPLINE_PADDING = 12
"""Samples added on each side before the prefilter in the modes that have no exact one, nearest and grid-constant."""


class Folds(NamedTuple):
    """How a displacement folds, of the determinants that are numbers."""

    minimum: float
    """The least determinant; infinite where there is none."""
    folded: int
    """Voxels whose determinant is 0 or less."""


def field_dtype(dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
    """Return the dtype of the displacement of an image: float64 for float64 in any byte order, else float32."""
    return np.float64 if dtype.newbyteorder("=") == np.float64 else np.float32


class Backend(ABC):
    """One way to run the operations. Stateless; ``arrays`` keeps one instance of each backend."""

    name: str

    slab_bytes = 2**25
    """Bytes of a stack in memory that an operation is given at once: little beside the stack."""

    slab_slices: int | None = 16
    """Slices given at once, for the work on a reference to weigh little and to see progress; None for any number."""

    reading_bytes: int | None = None
    """Bytes given at once where slices are read and not copied, in any number; None where that makes no difference."""

    in_threads = True
    """Whether several threads get on faster than one, each with a slab of its own."""

    def to_host(self, array: Array) -> Array:
        """Return a NumPy array of what an operation returned; the array itself where that is one."""
        return array

    def beside(self, image: Array, array: Array) -> Array:
        """Return an array where `image` lies, so that the two can be added."""
        return array

    def adopt(self, array: Any) -> tuple[Array, Callable[[Array], Any]]:
        """Return an array on a device as operations take it, without a copy, and what makes results of its kind."""
        raise TypeError(f"backend {self.name!r} takes no arrays of a device")

    def carried(self) -> Callable[[], AbstractContextManager[None]]:
        """Return what makes another thread compute where this one does: a context to enter there."""
        return nullcontext

    @staticmethod
    @abstractmethod
    def moments(
        references: Sequence[Array],
        slices: Array,
        *,
        reference_mask: Array | None = None,
        slice_mask: Array | None = None,
        tiles: Edges | Sequence[Edges] | None = None,
    ) -> list[Moments]:
        """Second-order moments of K references with N slices, in one read of the slices.

        Parameters
        ----------
        references : sequence of K arrays (Y, X)
            Each with its own dtype.
        slices : (N, Y, X) array
        reference_mask : (Y, X) or (K, Y, X) bool array, optional
            Pixels of each reference that count; a moved reference brings its moved mask.
        slice_mask : (Y, X) or (N, Y, X) bool array, optional
            Pixels of each slice that count. A pair is compared where both masks are true.
        tiles : (y_edges, x_edges), or one such pair a reference, optional
            Increasing cell edges from 0 to Y and from 0 to X. Adds ``.cells``, of shape (N, cells_y, cells_x).

        Returns
        -------
        list of K Moments of shape (N,)
            ``x`` is the reference, ``y`` the slice. An integer reference (bool, int8, uint8, int16, uint16) with
            integer slices has exact sums in ``.sums``; every other pair is accumulated in float64, centred.
            The bits of a pair do not depend on the other slices or references of the call.
        """

    @staticmethod
    @abstractmethod
    def gaussian_filter(
        image: Array,
        sigma: Sequence[float],
        *,
        axes: Sequence[int],
        mode: Sequence[str],
        cval: float = 0.0,
        truncate: float = 4.0,
    ) -> Array:
        """Smooth along `axes`, as ``scipy.ndimage.gaussian_filter`` with ``order=0``; the dtype of `image`.

        `sigma` and `mode` have one entry an axis of `axes`; an axis whose sigma is 0 is left alone. Direct FIR of
        radius ``int(truncate * sigma + 0.5)``, axis by axis in the order given. float64 images agree with SciPy to
        the last bit; float32 images within 1e-5 of the range. Integer images are truncated after each axis, as in
        SciPy. Images have any number of dimensions.
        """

    @staticmethod
    @abstractmethod
    def spline_filter(image: Array, order: int, *, axes: Sequence[int], mode: str) -> Array:
        """B-spline coefficients along `axes`, as ``scipy.ndimage.spline_filter``; orders 2 to 5; float64 (or float32 of
        float32 images, on a backend that computes in float32).
        """

    @staticmethod
    @abstractmethod
    def map_coordinates(
        image: Array, coordinates: Array, *, order: int, mode: str, cval: float = 0.0, dtype: DTypeLike | None = None
    ) -> Array:
        """Sample at `coordinates`, as ``scipy.ndimage.map_coordinates`` with ``prefilter=False``.

        `image` holds the coefficients, already prefiltered (and padded, where `mode` asks for it) for orders above 1;
        it has 1 to 3 dimensions. `coordinates` is (ndim, ...) and the result has the shape of ``coordinates[0]``. The
        result has `dtype`, by default that of `image`, rounded and clipped as SciPy does. At order 0 values are
        copied by item size, so that 64-bit identifiers keep every bit.
        """

    @staticmethod
    @abstractmethod
    def warp(
        image: Array, displacement: Array, *, axes: Sequence[int], order: int, mode: str, cval: float = 0.0
    ) -> Array:
        """Pull `image` through `displacement`: ``result(p) = image(p + displacement(p))``; dtype and shape of `image`.

        Parameters
        ----------
        image : array of 1 to 4 dimensions
            The original image: prefiltering for orders above 1 happens here.
        displacement : (len(axes), ...) array, float32 or float64
            In voxels; its trailing dimensions broadcast against ``image.shape``. ``(2, N, Y, X)`` with axes (1, 2) is
            a field a slice, ``(2, 1, Y, X)`` one field for all.
        axes : sequence of 1 to 3 ints
            The axes that move, in increasing order; the others are batched.
        order : int
            0 to 5. Order 0 takes the value at ``floor(p + d + 0.5)`` and keeps every bit of any dtype. Outside of the
            image the position is folded first and rounded then, as in SciPy: on the backward branch of a reflection
            a half goes down.

        Notes
        -----
        d is split into an integer and a fraction in [0, 1), and the integer is added to p as an integer: precision
        does not fall with the size of the image. At orders 0 and 1 a block of a warp equals the same block of the whole
        to the bit. A displacement that is NaN, infinite or beyond 2^62 voxels gives `cval`. Coordinates are not kept.
        """

    def warp_if_finite(self, image: Array, displacement: Array, **how: Any) -> Array | None:
        """Do as `warp` where a displacement of the host is finite; None where it is not, or was not looked through."""
        return None

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
        """Pull an image and its labels, of the same shape, through one displacement; the labels at order 0.

        Equal to two calls of `warp`, which serve every backend; one pass replaces them where that pays.
        """
        warped = self.warp(image, displacement, axes=axes, order=order, mode=mode, cval=cval)
        return warped, self.warp(labels, displacement, axes=axes, order=0, mode=mode, cval=cval)

    @staticmethod
    @abstractmethod
    def random_field(
        seed: int,
        stream: int | NDArray[np.uint64],
        shape: Sequence[int],
        *,
        box: Box | None = None,
        distribution: str = "uniform",
        dtype: DTypeLike = np.float32,
    ) -> Array:
        """A box of a positional random field of `shape`; all of it where `box` is None.

        ``"uniform"`` on [0, 1): bit-equal to
        ``np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64))).random(shape, dtype)``, float32
        or float64. ``"normal"``: Box-Muller in float64 on the float64 uniforms 2i and 2i + 1 of the stream,
        ``sqrt(-2 log1p(-u0)) cos(2 pi u1)``, converted to `dtype`; equal on every backend to 1e-6.
        With an array of streams the result has the shape ``stream.shape + box shape``.
        """

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
        """One component of a displacement a stream: uniform noise on [-1, 1), smoothed, times `alpha`.

        `alpha` broadcasts against the shape of `stream`; `sigma` has one entry an axis of `shape`. float32 noise is
        converted to `dtype` and then smoothed. A box equals the same box of the whole to the bit. A `temporary` field,
        dropped before this thread asks for another, may lie in memory that is used again. Fused forms replace this.
        """
        del temporary
        from gpu_stackcorr.random_fields import grow_box, whole_box

        box = whole_box(shape) if box is None else box
        # In modes that wrap, what lies beyond one border is at the other.
        margin = list(shape) if mode in ("wrap", "grid-wrap") else [int(truncate * s + 0.5) for s in sigma]
        grown, inner = grow_box(box, margin, shape)
        noise = (2 * self.random_field(seed, stream, shape, box=grown) - 1).astype(dtype)
        axes = range(noise.ndim - len(shape), noise.ndim)
        smooth = self.gaussian_filter(noise, sigma, axes=axes, mode=[mode] * len(shape), truncate=truncate)
        scale = np.asarray(alpha, dtype).reshape(np.shape(alpha) + (1,) * len(shape))
        inside: tuple[Any, ...] = (..., *inner)
        return np.asarray(smooth[inside] * scale)

    def elastic(
        self,
        image: Array,
        seed: int,
        stream: NDArray[np.uint64],
        *,
        alpha: float | NDArray[np.float64],
        sigma: Sequence[float],
        truncate: float = 4.0,
        order: int,
        mode: str,
        cval: float = 0.0,
        count_folds: bool = False,
    ) -> tuple[Array, Folds | None]:
        """Pull an image through random displacements of its last axes, of which `sigma` has one entry each.

        `stream` is (len(sigma), ...): the streams of the components, first axis first, of the displacement of each
        slice, against whose shape `alpha` broadcasts. Equal to `displacement`, `warp` and, if asked for, `count_folds`
        one after the other to the bit, with the displacements of few slices at a time, or none.
        """
        from gpu_stackcorr.backends.numpy_.elastic import elastic_in_groups

        how: dict[str, Any] = {"truncate": truncate, "order": order, "mode": mode, "cval": cval}
        return elastic_in_groups(self, image, seed, stream, alpha=alpha, sigma=sigma, **how, count_folds=count_folds)

    @staticmethod
    @abstractmethod
    def jacobian_determinant(displacement: Array, *, axes: Sequence[int], box: Box | None = None) -> Array:
        """Determinant of the derivative of p + d(p) at every voxel: ``det(I + dd/dp)``.

        Parameters
        ----------
        displacement : (len(axes), *shape) array, float32 or float64
            A component for each axis that moves, of a shape of 1 to 4 dimensions.
        axes : sequence of 1 to 3 ints
            The axes of `shape` that move, in increasing order; the others are batched.
        box : Box, optional
            Where to give it; all of `shape` by default. The same box of the whole, to the bit.

        Returns
        -------
        array of the shape of `box` and the dtype of `displacement`
            Below 1 where the image is stretched, above 1 where it is squeezed, 0 or less where it folds. Differences
            are central inside and one-sided at the ends of an axis, as ``numpy.gradient`` takes them; along an axis of
            one voxel they are 0. Computed in the dtype of the displacement in one order of operations: equal on every
            backend to the bit.
        """

    def count_folds(self, displacement: Array, *, axes: Sequence[int]) -> Folds:
        """Return the least `jacobian_determinant`, and how many are 0 or less; those that are NaN are passed over.

        Equal on every backend to the bit. This composition holds few determinants at once; a fused form keeps none.
        """
        from gpu_stackcorr.backends.numpy_.jacobian import count_in_boxes

        return count_in_boxes(self, displacement, axes)

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
        """One component of a displacement a stream: random vectors on a coarse grid, times `alpha`, interpolated.

        `alpha` broadcasts against the shape of `stream`; `distance` of the control points has one entry an axis of
        `shape`, of 1 voxel or more (see ``control_grids``). What stands at them is the normal ``random_field`` of the
        shape of the grid. All is computed in float64; float32 results are those rounded once. Backends agree to 1e-12
        of `alpha`, as far as `dtype` goes; a box equals the same box of the whole to the bit.
        This composition serves every backend; a compiled form replaces it where that pays.
        """
        from gpu_stackcorr.control_grids import ControlGrid
        from gpu_stackcorr.random_fields import whole_box

        box = whole_box(shape) if box is None else box
        scale = np.reshape(np.asarray(alpha, np.float64), np.shape(alpha) + (1,) * len(shape))
        if any(start == stop for start, stop in box):
            fields = np.broadcast_shapes(np.shape(alpha), np.shape(stream))
            return np.empty(fields + tuple(stop - start for start, stop in box), dtype)
        grid = ControlGrid.over(shape, distance, box)
        how: Any = {"box": grid.box, "distribution": "normal", "dtype": np.float64}
        vectors = self.to_host(self.random_field(seed, stream, grid.shape, **how))
        return grid.interpolated(grid.coefficients(vectors) * scale).astype(dtype, copy=False)

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
        """Moments of K references with N elastically deformed slices, without keeping the deformed slices.

        `stream` is (2, N): the streams of the y and the x component of each slice's displacement. Equal to
        `displacement`, `warp` and `moments` one after the other; this composition takes one slice at a time.
        """
        from gpu_stackcorr.moments import concatenate

        parts: list[list[Moments]] = []
        dtype = field_dtype(slices.dtype)
        for n in range(len(slices)):
            field = self.displacement(
                seed, stream[:, n], slices.shape[1:], alpha=alpha, sigma=sigma, truncate=truncate, dtype=dtype
            )
            warped = self.warp(slices[n], field, axes=(0, 1), order=order, mode=mode, cval=cval)
            parts.append(self.moments(references, warped[np.newaxis], reference_mask=reference_mask, tiles=tiles))
        return [concatenate(pairs) for pairs in zip(*parts, strict=True)]

    @staticmethod
    @abstractmethod
    def cross_moments(slices: Array, others: Array | None = None, *, mask: Array | None = None) -> CrossMoments:
        """Second-order moments of all pairs of N slices with M others, over one box, by products of matrices.

        Parameters
        ----------
        slices : (N, h, w) array
        others : (M, h, w) array of the same dtype, optional
            By default `slices` themselves.
        mask : (h, w) bool array, optional
            Pixels that count. Those that do not may hold anything, NaN included.

        Returns
        -------
        CrossMoments
            Of bool, int8, uint8, int16 and uint16: exact sums; a box has fewer than 2^31 pixels. Of other dtypes:
            float64, centred, equal on every backend to 1e-12 of the product of the standard deviations; the last bits
            may depend on the number of slices. NaN and infinity make the moments of their pairs, and no others, NaN.
        """
