"""All pairs of images by sums of products of packed rows; see `products` for how fast those are.

Integers: sums of int16 are exact. Pixels of 8 bits are packed as they are, as bytes where the processor multiplies
those; those of 16 bits, shifted to be signed, are multiplied by the low and the high byte of the other's, since a sum
of products of two of 16 bits would not fit into 32: two exact products of int16 still take two thirds of the time of
one of float64.

Floats: each row of 256 pixels is centred by its own mean, in two passes. What lies between the rows of a task is the
sum of products of their means, weighted by their pixels: one more row. Tasks are cut by the numbers of images and
pixels alone and merged in their order (Chan, Golub and LeVeque 1983): the number of threads changes no bit.

float32 images are multiplied in float64 as well: sums of products in float32, even of 32 at a time, have errors of
3e-10 of the product of the standard deviations (5e-9 of 256 at a time).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array
from gpu_stackcorr.cross_moments import CrossMoments
from gpu_stackcorr.moments import EXACT_DTYPES

from .centred_products import add_centred_blocks, is_readable, places_of
from .compiler import jit
from .cross_blocks import Part, centre, flip_bytes, pack, parts, prepare_integers, split_bytes
from .parallel import cut, run
from .products import STRIDE_BYTES, add_products, depth, filled, matrix, rows_for, totals_for
from .vectors import has_byte_products

Floats = NDArray[np.float64]

PACKED_BYTES = 1 << 18
"""Bytes of packed rows of one set of images, unless those of a single block are more: half a second-level cache."""

TASK_PRODUCTS = 1 << 26
"""Products of a task, about a millisecond of int16."""

MOST_TASKS = 1 << 12
"""Tasks that a box is cut into, as long as they may be larger: each is a list of views, of a kilobyte."""

FEWEST_BLOCKS = 24
"""Blocks of a task of floats, whose merging takes as long as a quarter of one."""

MOST_BLOCKS = 1 << 12
"""Blocks of a task of integers, of few images."""


def cross_moments(slices: Array, others: Array | None = None, *, mask: Array | None = None) -> CrossMoments:
    """See ``Backend.cross_moments``."""
    both = [slices] if others is None else [slices, others]
    with np.errstate(over="ignore", invalid="ignore"):
        exact = slices.dtype.newbyteorder("=") in EXACT_DTYPES
        return _exact(both, mask) if exact else _centred(both, mask)


def _tasks(both: list[Array], mask: Array | None, dtype: type, fewest: int, most: int) -> list[Part]:
    """Cut a box into blocks of packed rows of `dtype`, and those into tasks."""
    of_row = len(both[0]) * len(both[-1]) * depth(dtype)
    tasks = []
    for part in parts(both, mask, depth(dtype)):
        blocks = min(most, max(fewest, TASK_PRODUCTS // max(of_row, 1), part.blocks // MOST_TASKS))
        tasks += [part[piece] for piece in cut(part.blocks, -(-part.blocks // blocks))]
    return tasks


def _most_blocks(tasks: list[Part]) -> int:
    """Return the largest number of blocks of a task."""
    return max((part.blocks for part in tasks), default=1)


class _Packed:
    """Packed rows of some blocks at once, and what of them counts: the scratch memory of a thread."""

    def __init__(self, sizes: list[int], dtype: type, most: int) -> None:
        self.sizes, self.dtype = sizes, dtype
        self.blocks = max(1, min(most, PACKED_BYTES // (STRIDE_BYTES * max(1, *sizes))))
        self.rows = [rows_for(self.blocks, size, dtype) for size in sizes]
        self.valid = np.ones((self.blocks, self.rows[0].shape[2]), dtype)

    def groups(self, part: Part) -> Iterator[slice]:
        """Pack as many blocks as there is space for at a time, and yield which of the part they are."""
        for start in range(0, part.blocks, self.blocks):
            group = part[start : start + self.blocks]
            if group.valid is not None:
                pack(group.valid, self.valid)
            for images, rows in zip(group.images, self.rows, strict=True):
                pack(
                    images, rows.view(f"{images.dtype.kind}{rows.itemsize}") if _differ_in_sign(images, rows) else rows
                )
            yield slice(start, start + group.blocks)


def _differ_in_sign(images: Array, rows: Array) -> bool:
    """Whether both are integers of one size, one signed and the other not: bits are packed as they are."""
    return {images.dtype.kind, rows.dtype.kind} == {"i", "u"} and images.itemsize == rows.itemsize


T = TypeVar("T")


class _Pool(Generic[T]):
    """Scratch memory that a task takes and gives back: as much as there are threads at work."""

    def __init__(self, make: Callable[[], T]) -> None:
        self.make = make
        self.free: list[T] = []
        self.all: list[T] = []

    def take(self) -> T:
        """Return what is free, or some that is new."""
        try:
            return self.free.pop()
        except IndexError:
            self.all.append(made := self.make())
            return made


def _exact(both: list[Array], mask: Array | None) -> CrossMoments:
    """Return the exact sums of integer images."""
    dtype = both[0].dtype.newbyteorder("=")
    sizes = [len(images) for images in both]
    kind = _ByteSums if dtype.itemsize == 1 and has_byte_products() else _WordSums
    tasks = _tasks(both, mask, kind.dtype, 1, MOST_BLOCKS)
    pool = _Pool(lambda: kind(sizes, dtype, _most_blocks(tasks)))

    def task(number: int) -> None:
        sums = pool.take()
        sums.add(tasks[number])
        pool.free.append(sums)

    run(task, len(tasks))
    total, *others = pool.all or [pool.take()]
    for sums in others:
        total.merge(sums)
    height, width = both[0].shape[1:]
    count = height * width if mask is None else int(np.count_nonzero(mask))
    return total.result(count)


class _IntegerSums(ABC):
    """Sums of integer images, shifted, over the blocks of whatever tasks a thread was given.

    Attributes
    ----------
    dtype : type
        Of packed pixels.
    shift : int
        What pixels are more than they are packed.
    products : list of (N', M') arrays
        Sums of products of packed pixels with factors.
    sums, squares : lists of (N,) arrays, one for each set of images
        No squares of images with themselves, where they are on the diagonal.
    """

    dtype: type
    shift: int

    def __init__(self, sizes: list[int], most: int, factors: int) -> None:
        self.packed = _Packed(sizes, self.dtype, most)
        self.products = [totals_for(sizes[0], sizes[-1], np.int64) for _ in range(factors)]
        self.sums = [np.zeros(size, np.int64) for size in sizes]
        self.squares = [np.zeros(size if len(sizes) == 2 else 0, np.int64) for size in sizes]

    def add(self, part: Part) -> None:
        """Add the pixels of some blocks."""
        packed, length, end = self.packed, part.length, filled(part.length, self.dtype)
        flip: Any = np.array(self.shift).astype(self.dtype)[()]
        for place in packed.groups(part):
            number = place.stop - place.start
            valid = packed.valid[:number, : 0 if part.valid is None else None]
            for rows, sums, squares in zip(packed.rows, self.sums, self.squares, strict=True):
                prepare_integers(rows[:number], valid, length, end, flip, sums, squares)
            self._multiply(number, end, len(packed.rows) == 1)

    @abstractmethod
    def _multiply(self, blocks: int, end: int, upper: bool) -> None:
        """Add the products of packed pixels up to `end`."""

    @abstractmethod
    def _sums_of_products(self) -> NDArray[np.int64]:
        """Return the sums of products of packed pixels, (N', M')."""

    def merge(self, other: _IntegerSums) -> None:
        """Add the sums of another thread."""
        for ours, theirs in zip(self._arrays(), other._arrays(), strict=True):
            ours += theirs

    def _arrays(self) -> list[NDArray[np.int64]]:
        return [*self.products, *self.sums, *self.squares]

    def result(self, count: int) -> CrossMoments:
        """Return the sums of the pixels as they were before they were shifted."""
        sizes, shift, upper = self.packed.sizes, self.shift, len(self.packed.sizes) == 1
        xy = matrix(self._sums_of_products(), sizes[0], sizes[-1], upper)
        x, y = self.sums[0], self.sums[-1]
        xx, yy = [np.diagonal(xy).copy()] * 2 if upper else self.squares
        if shift:
            xy += shift * (x[:, np.newaxis] + y) + count * shift * shift
            xx, yy = (squares + 2 * shift * sums + count * shift * shift for squares, sums in ((xx, x), (yy, y)))
            x, y = x + count * shift, y + count * shift
        return CrossMoments(count, True, x, y, xx, yy, xy)


class _WordSums(_IntegerSums):
    """Pixels as int16: those of 8 bits as they are, those of 16 bits times the low and the high bytes of the others."""

    dtype = np.int16

    def __init__(self, sizes: list[int], dtype: np.dtype[Any], most: int) -> None:
        self.shift = 1 << 15 if dtype == np.uint16 else 0
        super().__init__(sizes, most, factors=dtype.itemsize)
        self.factors = [self.packed.rows[-1]]
        if dtype.itemsize == 2:
            self.factors = [rows_for(self.packed.blocks, sizes[-1], np.int16) for _ in ("low", "high")]

    def _multiply(self, blocks: int, end: int, upper: bool) -> None:
        rows = self.packed.rows
        if len(self.factors) == 2:
            split_bytes(rows[-1][:blocks], self.packed.sizes[-1], end, *self.factors)
        for factor, products in zip(self.factors, self.products, strict=True):
            add_products(rows[0][:blocks], factor[:blocks], end, upper, products)

    def _sums_of_products(self) -> NDArray[np.int64]:
        return self.products[0] if len(self.products) == 1 else self.products[0] + (self.products[1] << 8)


class _ByteSums(_IntegerSums):
    """Pixels as uint8, times what the others are less 128, as int8."""

    dtype = np.uint8

    def __init__(self, sizes: list[int], dtype: np.dtype[Any], most: int) -> None:
        self.shift = -128 if dtype == np.int8 else 0
        super().__init__(sizes, most, factors=1)
        self.signed = rows_for(self.packed.blocks, sizes[0], np.int8)

    def _multiply(self, blocks: int, end: int, upper: bool) -> None:
        rows, signed = self.packed.rows, self.signed[:blocks]
        flip_bytes(rows[0][:blocks], self.packed.sizes[0], end, signed)
        add_products(signed, rows[-1][:blocks], end, upper, self.products[0])

    def _sums_of_products(self) -> NDArray[np.int64]:
        products = self.products[0].copy()
        products[:, : self.packed.sizes[-1]] += 128 * self.sums[-1]
        return products


class _PackedFloats(_Packed):
    """Packed rows, and space for the means of each, one row an image."""

    def __init__(self, sizes: list[int], most: int) -> None:
        super().__init__(sizes, np.float64, most)
        self.means = [rows_for(1, size, np.float64) for size in sizes]


def _centred(both: list[Array], mask: Array | None) -> CrossMoments:
    """Return the centred sums of images of any other type."""
    sizes = [len(images) for images in both]
    tasks = _tasks(both, mask, np.float64, FEWEST_BLOCKS, depth(np.float64))
    pool = _Pool(lambda: _PackedFloats(sizes, _most_blocks(tasks)))
    total = _InOrder(sizes)

    def task(number: int) -> None:
        packed = pool.take()
        total.add(number, _Centred(packed, tasks[number]))
        pool.free.append(packed)

    run(task, len(tasks))
    return total.result()


class _Centred:
    """Moments of the blocks of one task.

    Attributes
    ----------
    count : int
    means, squares : lists of (N,) arrays, one for each set of images
    products : (N', M') array
        With rows and columns of zeros up to whole tiles; above the diagonal only, of images with themselves.
    """

    def __init__(self, packed: _PackedFloats, part: Part) -> None:
        sizes, blocks, length = packed.sizes, part.blocks, part.length
        upper = len(sizes) == 1
        self.products = totals_for(sizes[0], sizes[-1], np.float64)
        self.squares = [np.zeros(size) for size in sizes]
        counts = np.full(blocks, length)
        if part.valid is not None:
            counts[:] = np.count_nonzero(part.valid, axis=(1, 2))
        (self._add_in_place if is_readable(part) else self._add_copies)(packed, part, counts, upper)
        self.count = int(counts.sum())
        share, weight = counts / max(self.count, 1), np.sqrt(counts)
        self.means, end = [], filled(blocks, np.float64)
        for of_blocks, squares, size in zip(packed.means, self.squares, sizes, strict=True):
            values = of_blocks[0, :size, :blocks]
            self.means.append((values * share).sum(axis=1))
            values -= self.means[-1][:, np.newaxis]
            values *= weight
            squares += (values * values).sum(axis=1)
            of_blocks[0, :, blocks:end] = 0.0
        add_products(packed.means[0], packed.means[-1], end, upper, self.products)

    def _add_in_place(self, packed: _PackedFloats, part: Part, counts: NDArray[np.int64], upper: bool) -> None:
        """Add the blocks of images that are read where they lie."""
        end = filled(part.length, np.float64)
        valid = np.empty((part.blocks, 0 if part.valid is None else end))
        if part.valid is not None:
            pack(part.valid, valid)
        means = tuple(of_blocks[0, :, : part.blocks] for of_blocks in packed.means)
        add_centred_blocks(
            *places_of(part), *part.images[0].shape[2:], valid, tuple(packed.rows), end, upper, counts, means,
            tuple(self.squares), self.products,
        )  # fmt: skip

    def _add_copies(self, packed: _PackedFloats, part: Part, counts: NDArray[np.int64], upper: bool) -> None:
        """Add the blocks of other images, which NumPy packs."""
        end = filled(part.length, np.float64)
        for place in packed.groups(part):
            number = place.stop - place.start
            for rows, means, squares in zip(packed.rows, packed.means, self.squares, strict=True):
                centre(
                    rows[:number], packed.valid[:number], part.length, end, counts[place], means[0, :, place], squares
                )
            add_products(packed.rows[0][:number], packed.rows[-1][:number], end, upper, self.products)


class _InOrder:
    """The merged moments of tasks, in the order of their numbers, whichever is done first."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.lock = threading.Lock()
        self.waiting: dict[int, _Centred] = {}
        self.merged = 0
        self.total: _Centred | None = None

    def add(self, number: int, moments: _Centred) -> None:
        """Merge the moments of a task as soon as those before are."""
        with self.lock:
            self.waiting[number] = moments
            while self.merged in self.waiting:
                self._merge(self.waiting.pop(self.merged))
                self.merged += 1

    def _merge(self, other: _Centred) -> None:
        total = self.total
        if total is None:
            self.total = other
            return
        count = total.count + other.count
        share = other.count / max(count, 1)
        weight = total.count * share
        deltas = [theirs - ours for ours, theirs in zip(total.means, other.means, strict=True)]
        _add_outer(other.products, deltas[0] * weight, deltas[-1], total.products)
        for k, delta in enumerate(deltas):
            total.means[k] = total.means[k] + delta * share
            total.squares[k] += other.squares[k] + delta * delta * weight
        total.count = count

    def result(self) -> CrossMoments:
        """Return the moments of all tasks."""
        sizes, total = self.sizes, self.total
        if total is None:
            n, m = sizes[0], sizes[-1]
            return CrossMoments(0, False, *(np.zeros(shape) for shape in (n, m, n, m, (n, m))))
        xy = matrix(total.products, sizes[0], sizes[-1], len(sizes) == 1)
        means, squares = total.means, total.squares
        return CrossMoments(total.count, False, means[0], means[-1], squares[0], squares[-1], xy)


@jit
def _add_outer(part: Any, x: Any, y: Any, total: Any) -> None:
    """Add a matrix and the products of all pairs of two vectors."""
    for i in range(len(x)):
        row, added, factor = total[i, : len(y)], part[i, : len(y)], x[i]
        for j in range(len(y)):
            row[j] += added[j] + factor * y[j]
