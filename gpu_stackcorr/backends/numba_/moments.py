"""Moments of pairs in compiled loops: one read of the slices for all references and cells.

References with the same dtype, mask and cells form a group, which shares the sums over the slices. A slice is read
where it lies; one that loops cannot take (big-endian, not contiguous along its rows, narrower than a window, of another
dtype than 8 or 16 bits, float32 and float64) is copied, one at a time a thread, and so is one with a mask: its masked
pixels are set to what adds nothing to the sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import EXACT_DTYPES, Moments
from gpu_stackcorr.threads import allowed_threads

from . import centred_sums, integer_sums
from .block_sums import SLICES, centre_valid, count_valid, fill_invalid, rows_at_once, sum_centred, sum_integers
from .cell_moments import float_moments, integer_moments
from .cells import Ends, Grid, grid_of
from .flat_images import as_bytes, flatten, is_flat, one_array
from .parallel import cut, run
from .vectors import has_byte_products

TASKS_A_THREAD = 4
"""Shares of the work a thread, so that one that is held up does not hold up the others."""

THREADED_BYTES, TASK_BYTES = 1 << 23, 1 << 21
"""Bytes that one thread sums alone, and those of a task of more: on two cores of a Zen 5 it takes 40 microseconds until
a second thread works, in which the first sums 1 MB."""

COPIED_PIXELS = 1 << 16
"""Pixels of a task of slices that are copied first, which takes a thread longer than to sum them."""

SHARED_BYTES = 1 << 22
"""Bytes of slices that several groups read one after the other, from the cache."""


def moments(
    references: Sequence[Array],
    slices: Array,
    *,
    reference_mask: Array | None = None,
    slice_mask: Array | None = None,
    tiles: Edges | Sequence[Edges] | None = None,
) -> list[Moments]:
    """See ``Backend.moments``. NaN and infinity make the moments of their pair NaN."""
    prepared = Prepared(references, slices, reference_mask=reference_mask, slice_mask=slice_mask, tiles=tiles)
    return prepared.moments(slices)


class Prepared:
    """References whose own sums are taken, for any number of calls with slices of one shape and dtype.

    A call may come from any thread. With a mask a slice there can be one call only.
    """

    def __init__(
        self,
        references: Sequence[Array],
        slices: Array,
        *,
        reference_mask: Array | None = None,
        slice_mask: Array | None = None,
        tiles: Edges | Sequence[Edges] | None = None,
    ) -> None:
        self.tiled = tiles is not None
        with np.errstate(over="ignore", invalid="ignore"):
            self.groups = [
                (ks, _group_of([references[k] for k in ks], slices, mask, slice_mask, edges))
                for ks, mask, edges in _grouped(references, slices, reference_mask, tiles)
            ]

    def moments(self, slices: Array) -> list[Moments]:
        """Return the moments of each reference with some slices."""
        results: dict[int, Moments] = {}
        groups = [group.beside(slices) for _, group in self.groups]
        with np.errstate(over="ignore", invalid="ignore"):
            _sum(groups, slices)
            for group, (ks, _) in zip(groups, self.groups, strict=True):
                results |= zip(ks, group.finish(tiled=self.tiled), strict=True)
        return [results[k] for k in range(len(results))]


def _grouped(
    references: Sequence[Array], slices: Array, mask: Array | None, tiles: Edges | Sequence[Edges] | None
) -> list[tuple[list[int], Array | None, tuple[Ends, Ends]]]:
    """Return the numbers of the references of each group, with their mask and the edges of their cells."""
    per_reference = mask is not None and mask.ndim == 3
    groups: dict[Any, tuple[list[int], Array | None, tuple[Ends, Ends]]] = {}
    for k, reference in enumerate(references):
        own = cast(Array, mask)[k] if per_reference else mask
        if tiles is None:
            edges = (0, slices.shape[1]), (0, slices.shape[2])
        else:
            y, x = cast(Edges, tiles[k] if isinstance(tiles[0], tuple) else tiles)
            edges = tuple(y.tolist()), tuple(x.tolist())
        key = reference.dtype, k if per_reference else 0, edges
        groups.setdefault(key, ([], own, edges))[0].append(k)
    return list(groups.values())


def _group_of(
    references: list[Array], slices: Array, mask: Array | None, slice_mask: Array | None, edges: tuple[Ends, Ends]
) -> _Group:
    """Return a group with exact sums where all its images allow that."""
    exact = all(image.dtype.newbyteorder("=") in EXACT_DTYPES for image in (references[0], slices))
    return (_Integers if exact else _Floats)(references, slices, mask, slice_mask, edges)


def _sum(groups: list[_Group], slices: Array) -> None:
    """Sum all groups over all slices, the slices of a task group by group."""
    direct = all(group.is_direct for group in groups)
    if direct:
        wanted = _tasks(slices.nbytes + sum(image.nbytes for group in groups for image in group.references))
    else:
        wanted = min(TASKS_A_THREAD * allowed_threads(), 1 + slices.size // COPIED_PIXELS)
    if len(groups) > 1:
        wanted = max(wanted, slices.nbytes // SHARED_BYTES)
    tasks = []
    # Slices that are read side by side share the rows of references: a few slices are better cut into bands.
    together = SLICES if direct else 1
    parts = cut(len(slices), min(wanted, -(-len(slices) // together))) if len(slices) else []
    for part in parts:
        for group in groups:
            bands = cut(group.grid.shape[0], -(-wanted // len(parts)) if group.is_direct else 1)
            tasks += [(group, (part.start, part.stop, band.start, band.stop)) for band in bands]
    run(lambda task: tasks[task][0].sum_slices(tasks[task][1]), len(tasks))


def _tasks(nbytes: int) -> int:
    """Return into how many tasks to cut the sums over so many bytes."""
    return 1 if nbytes < THREADED_BYTES else min(TASKS_A_THREAD * allowed_threads(), nbytes // TASK_BYTES)


def _as_loops_take(mask: Array) -> Array:
    """Return a mask as contiguous bytes that nobody may write, which is one type to the compiler."""
    valid = np.ascontiguousarray(mask).view(np.uint8)
    valid.flags.writeable = False
    return valid


class _Source(NamedTuple):
    """Images of one shape as flat memory: where the first sample is, the strides of images and of rows."""

    values: Array
    place: tuple[int, int, int]


class _Group(ABC):
    """References of one dtype, mask and grid of cells, and their sums with the slices that they are put beside."""

    sum_dtype: type
    is_direct: bool
    source: _Source
    y_shift: Array
    space: Array
    y_sums: list[Array]
    xy: Array

    def __init__(
        self,
        references: list[Array],
        slices: Array,
        mask: Array | None,
        slice_mask: Array | None,
        edges: tuple[Ends, Ends],
    ) -> None:
        self.references, self.slices = [as_bytes(image) for image in references], as_bytes(slices)
        self.lanes, keep_dtype = self._windows()
        self.grid: Grid = grid_of(*edges, self.lanes, keep_dtype)
        self.own_mask, self.slice_masks = mask, slice_mask
        if slice_mask is not None and slice_mask.ndim == 2:
            self.own_mask = slice_mask if mask is None else mask & slice_mask
            self.slice_masks = None
        self.masked = self.own_mask is not None or self.slice_masks is not None
        masks, count = 1 if self.slice_masks is None else len(slices), len(references)
        self.x_sums: list[Array] = [np.empty((count, masks, *self.grid.shape), self.sum_dtype) for _ in range(2)]
        self.counts = np.empty((masks, *self.grid.shape), np.int64)
        self.x_shift = np.zeros((count, masks, *self.grid.shape))
        self.no_shift = np.zeros((count if self.masked else 1, *self.grid.shape))
        if self.slice_masks is None:
            self.x, self.shift = self._prepare_references(0, self.own_mask)

    def beside(self, slices: Array) -> Self:
        """Return the same references with other slices, and memory for their sums."""
        group, count = copy(self), len(self.references)
        group.slices = as_bytes(slices)
        group.is_direct = not self.masked and self._is_readable(group.slices)
        if group.is_direct:
            group.source = self._source(group.slices)
        if self.masked:
            group.no_shift = np.zeros((max(count, len(slices)), *self.grid.shape))
        # One piece of memory for all that has the size of the results: an allocator keeps that from call to call, where
        # it gives back several, and the system clears each page anew: 0.3 ms for 165 slices on two cores of a Zen 5.
        space = np.empty((3 + 4 * count, len(slices), *self.grid.shape))
        group.y_shift, group.space = space[0], space[3 + count :].reshape(count, 3, *space.shape[1:])
        group.y_sums = list(space[1:3].view(self.sum_dtype))
        group.xy = space[3 : 3 + count].view(self.sum_dtype)
        return group

    @abstractmethod
    def _windows(self) -> tuple[int, type]:
        """Return the pixels of a window, and the dtype of the masks of last ones."""

    @abstractmethod
    def _kernel_dtype(self, image: Array) -> np.dtype[Any]:
        """Return the dtype in which the loops take an image."""

    @abstractmethod
    def _sum(
        self, y: _Source, x: _Source, references: int, part: Any, n: int, y_shift: Any, x_shift: Any, *sums: Any
    ) -> None:
        """Write the sums over some bands of some slices under the n-th mask."""

    @abstractmethod
    def _hide(self, image: Array, mask: Array, counts: Any, shift: Any) -> Array:
        """Return a copy of an image in which masked pixels add nothing to the sums."""

    @abstractmethod
    def finish(self, *, tiled: bool) -> list[Moments]:
        """Return the moments of each reference."""

    def _is_readable(self, images: Array) -> bool:
        """Whether the loops can read images where they lie."""
        wide = images.shape[-1] >= self.lanes and images.strides[-1] == images.itemsize and images.size > 0
        return bool(wide and images.dtype == self._kernel_dtype(images) and is_flat(images))

    def _source(self, images: Array) -> _Source:
        """Return readable images as the loops take them."""
        values, origin, strides = flatten(images)
        return _Source(values, (origin, strides[0], strides[1]))

    def _readable(self, image: Array) -> Array:
        """Return an image as the loops can read it, padded with zeros to the width of a window."""
        if self._is_readable(image):
            return image
        padded = np.zeros((max(image.shape[0], 1), self.grid.width), self._kernel_dtype(image))
        padded[: image.shape[0], : image.shape[1]] = image
        return padded

    def _prepared(self, images: Sequence[Array], mask: Array | None, counts: Any, shift: Any) -> Array:
        """Return images (K, Y, X) as the loops can read them, with masked pixels hidden."""
        ready = [self._readable(image) for image in images]
        if mask is not None:
            ready = [self._hide(image, mask, counts, shift[k]) for k, image in enumerate(ready)]
        return one_array(ready)

    def _prepare_references(self, n: int, mask: Array | None) -> tuple[_Source, NDArray[np.float64]]:
        """Take the sums of the references alone under a mask, the n-th; return them and their shifts."""
        if mask is None:
            self.counts[n] = self.grid.pixels
        else:
            mask = _as_loops_take(mask)
            count_valid(mask, self.grid.rows, self.grid.columns, self.counts[n])
        shift = np.zeros((len(self.references), *self.grid.shape))
        x = self._source(self._prepared(self.references, mask, self.counts[n], shift))
        sums: list[Array] = [np.empty((len(self.references), *self.grid.shape), self.sum_dtype) for _ in range(2)]
        bands = cut(self.grid.shape[0], _tasks(sum(image.nbytes for image in self.references)))

        def sum_bands(task: int) -> None:
            part = (0, len(self.references), bands[task].start, bands[task].stop)
            self._sum(x, x, 0, part, n, shift, shift, *sums, sums[0][np.newaxis])

        run(sum_bands, len(bands))
        for total, of_mask in zip(self.x_sums, sums, strict=True):
            total[:, n] = of_mask
        self.x_shift[:, n] = shift
        return x, shift

    def sum_slices(self, part: tuple[int, int, int, int]) -> None:
        """Take the sums over some bands of some slices."""
        if self.is_direct:
            self._sum(
                self.source, self.x, len(self.references), part, 0, self.y_shift, self.shift, *self.y_sums, self.xy
            )
            return
        for n in range(part[0], part[1]):
            self._sum_copy(n)

    def _sum_copy(self, n: int) -> None:
        """Take the sums over a slice of which a copy is needed."""
        x, shift, mask = (self.x, self.shift, self.own_mask) if self.slice_masks is None else (None, None, None)
        if self.slice_masks is not None:
            mask = self.slice_masks[n] if self.own_mask is None else self.own_mask & self.slice_masks[n]
            x, shift = self._prepare_references(n, mask)
        valid = None if mask is None else _as_loops_take(mask)
        of_mask = 0 if self.slice_masks is None else n
        values, (origin, _, row) = self._source(
            self._prepared([self.slices[n]], valid, self.counts[of_mask], self.y_shift[n][np.newaxis])
        )
        y = _Source(values, (origin, 0, row))
        part = (n, n + 1, 0, self.grid.shape[0])
        self._sum(y, cast(_Source, x), len(self.references), part, of_mask, self.y_shift, shift, *self.y_sums, self.xy)


class _Integers(_Group):
    """Images of bytes and 16-bit integers: exact sums."""

    sum_dtype = np.int64

    def _windows(self) -> tuple[int, type]:
        dtypes = {self.references[0].dtype, self.slices.dtype}
        if any(dtype.itemsize > 1 for dtype in dtypes):
            return integer_sums.LANES, np.int16
        as_they_are = dtypes == {np.dtype(np.uint8)} and has_byte_products()
        return integer_sums.BYTE_LANES, np.int8 if as_they_are else np.uint8

    def _kernel_dtype(self, image: Array) -> np.dtype[Any]:
        return image.dtype.newbyteorder("=")

    def _sum(
        self, y: _Source, x: _Source, references: int, part: Any, n: int, y_shift: Any, x_shift: Any, *sums: Any
    ) -> None:
        grid, less = self.grid, 128 if self.grid.keep.dtype == np.int8 else 0
        offsets = _offset(y.values), _offset(x.values), less
        sum_integers(
            y.values, y.place, x.values, x.place, references, grid.rows, grid.columns, grid.keep, part,
            rows_at_once(grid.widest), offsets, self.counts[n], self.x_sums[0][:, n], *sums,
        )  # fmt: skip

    def _hide(self, image: Array, mask: Array, counts: Any, shift: Any) -> Array:
        hidden = np.zeros((max(image.shape[0], 1), self.grid.width), image.dtype)
        values, place = self._source(image[np.newaxis])
        fill_invalid(values, place, mask, np.full(1, _offset(image), image.dtype), hidden)
        return hidden

    def finish(self, *, tiled: bool) -> list[Moments]:
        y, yy = self.y_sums
        return [
            integer_moments((self.counts, x, xx), (y, yy, xy), self.grid, tiled, space)
            for x, xx, xy, space in zip(*self.x_sums, self.xy, self.space, strict=True)
        ]


def _offset(image: Array) -> int:
    """Return what the loops subtract from the pixels of an image."""
    return integer_sums.OFFSETS.get(image.dtype, 0)


class _Floats(_Group):
    """Images of which one at least is of floats or of wide integers: centred sums in float64."""

    sum_dtype = np.float64

    def _windows(self) -> tuple[int, type]:
        return centred_sums.LANES, np.int64

    def _kernel_dtype(self, image: Array) -> np.dtype[Any]:
        return np.dtype(np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64)

    def _sum(
        self, y: _Source, x: _Source, references: int, part: Any, n: int, y_shift: Any, x_shift: Any, *sums: Any
    ) -> None:
        del n
        grid = self.grid
        if self.masked:  # these images are deviations already
            y_shift = x_shift = self.no_shift
        sum_centred(
            y.values, y.place, x.values, x.place, references, grid.rows, grid.columns, grid.keep, part, self.masked,
            y_shift, x_shift, *sums,
        )  # fmt: skip

    def _hide(self, image: Array, mask: Array, counts: Any, shift: Any) -> Array:
        deviations = np.zeros((max(image.shape[0], 1), self.grid.width))
        values, place = self._source(image[np.newaxis])
        centre_valid(values, place, mask, self.grid.rows, self.grid.columns, counts, shift, deviations)
        return deviations

    def finish(self, *, tiled: bool) -> list[Moments]:
        y, yy = self.y_sums
        return [
            float_moments((self.counts, x_shift, self.y_shift, x, y, xx, yy, xy), self.grid, tiled, space)
            for x_shift, x, xx, xy, space in zip(self.x_shift, *self.x_sums, self.xy, self.space, strict=True)
        ]
