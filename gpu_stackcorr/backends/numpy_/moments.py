"""Moments of pairs in plain NumPy: the float64 specification of ``Backend.moments``.

An image is cut into cells (the tiles asked for, else one), a row of cells into blocks of whole rows that stay in the
cache. A block of all its cells is added up along its rows first, then along the columns of each cell, so that cells
cost about what the plain image does; blocks are merged. Integer blocks are summed in float64, where every partial sum
is an integer below 2^53 and therefore exact, in any order. Floating blocks are centred before products are taken; what
their means lost to rounding is what deviations add up to, and corrects means and sums. What is added one after the
other are the rows of a block, LONGEST_SUM at most; the order depends on a block's shape alone: the bits of a pair must
not depend on its neighbours. That rules BLAS out, whose order depends on the number of rows and threads; and where its
threads meet ours on busy cores, a product of 32768 numbers was seen to take 9 ms.

All blocks share one piece of memory. Arrays of their own would go back to the system each time, which then has to
clear their pages again: in a new process that took four times as long as the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import EXACT_DTYPES, IntegerSums, Moments, concatenate

Floats = NDArray[np.float64]
Part = IntegerSums | Moments

BLOCK_PIXELS = 1 << 16
"""Pixels of a slice taken at once: their products of uint16 add up to less than 2^48."""

BLOCK_VALUES = 1 << 18
"""Values of several slices taken at once: 2 MiB in float64."""

LONGEST_ROW = 1 << 12
"""Columns of a block: of fewer rows the sums along them would be nearly as many numbers as the block itself."""

LONGEST_SUM = 256
"""Rows of a block of floats, which are added one after the other: what that loses stays below 6e-14 of the sum."""


def moments(
    references: Sequence[Array],
    slices: Array,
    *,
    reference_mask: Array | None = None,
    slice_mask: Array | None = None,
    tiles: Edges | Sequence[Edges] | None = None,
) -> list[Moments]:
    """See ``Backend.moments``. NaN and infinity make the moments of their pair NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _moments(list(references), slices, reference_mask, slice_mask, tiles)


def _moments(
    references: list[Array],
    slices: Array,
    reference_mask: Array | None,
    slice_mask: Array | None,
    tiles: Edges | Sequence[Edges] | None,
) -> list[Moments]:
    """Return the moments of all references: by cell, merged."""
    if tiles is not None and isinstance(tiles[0], tuple):  # cells of its own for each reference
        return [
            _moments([x], slices, _own(reference_mask, k), slice_mask, cast(Edges, edges))[0]
            for k, (x, edges) in enumerate(zip(references, tiles, strict=True))
        ]
    edges = cast("Edges | None", tiles) or cast(Edges, tuple(np.array([0, n]) for n in slices.shape[1:]))
    width = max(1, min(LONGEST_ROW, slices.shape[2]))
    rows = min(LONGEST_SUM, BLOCK_PIXELS // width)
    boxes = [_cut(slice(*ends), rows) for ends in pairwise(edges[0].tolist())]
    results = []
    for part in _cells(references, slices, reference_mask, slice_mask, boxes, edges[1]):
        cells = _finished(part)
        whole = cells.reshape(len(slices), -1 if len(slices) else 1).total()
        results.append(whole if tiles is None else whole.with_cells(cells))
    return results


def _own(masks: Array | None, k: int) -> Array | None:
    """Return the mask of the k-th of some images, which may have one for all."""
    return masks[k] if masks is not None and masks.ndim == 3 else masks


def _cut(whole: slice, length: int) -> list[slice]:
    """Cut a slice into like slices of at most `length`; an empty one stays one empty slice."""
    pieces = max(1, -(-(whole.stop - whole.start) // length))
    ends = [whole.start + (whole.stop - whole.start) * n // pieces for n in range(pieces + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def _cells(
    references: Sequence[Array],
    slices: Array,
    reference_mask: Array | None,
    slice_mask: Array | None,
    boxes: Sequence[Sequence[slice]],
    x_edges: NDArray[np.intp],
) -> list[Part]:
    """Return the parts of every reference over every cell, (N, cells_y, cells_x), from the rows of their blocks."""
    bands = []
    space = np.empty((2, BLOCK_VALUES))
    # A cell with nothing in these columns is empty there, which changes nothing when blocks are merged.
    parts_of_rows = [
        (x, Columns(np.clip(x_edges, x.start, x.stop) - x.start)) for x in _cut(slice(0, slices.shape[2]), LONGEST_ROW)
    ]
    for band in boxes:
        blocks = []
        for y, (x, columns) in product(band, parts_of_rows):
            block = _block(
                [image[y, x] for image in references],
                slices[:, y, x],
                None if reference_mask is None else reference_mask[..., y, x],
                None if slice_mask is None else slice_mask[..., y, x],
                columns,
                space,
            )
            blocks.append(block)
        bands.append([_merged(parts) for parts in zip(*blocks, strict=True)])
    return [_joined(parts, axis=1, new=True) for parts in zip(*bands, strict=True)]


def _joined(parts: Sequence[Part], axis: int = 0, *, new: bool = False) -> Part:
    """Return parts of one kind side by side, along a new axis if `new`."""
    join: Any = np.stack if new else np.concatenate
    arrays = [join(same, axis) for same in zip(*(part.arrays() for part in parts), strict=True)]
    return IntegerSums(*arrays) if isinstance(parts[0], IntegerSums) else Moments.from_arrays(arrays)


def _merged(parts: Sequence[Part]) -> Part:
    """Return the parts of the same cells as one."""
    if isinstance(parts[0], IntegerSums):
        return reduce(IntegerSums.__add__, cast("Sequence[IntegerSums]", parts))
    moments = cast("Sequence[Moments]", parts)
    return concatenate([part[..., np.newaxis] for part in moments], axis=-1).total() if len(parts) > 1 else moments[0]


def _finished(part: Part) -> Moments:
    """Return the moments of a part."""
    return Moments.from_sums(part) if isinstance(part, IntegerSums) else part


class Columns:
    """The columns of a block that belong to each of C cells: sums over cells, and what is to be the same in a cell."""

    def __init__(self, edges: NDArray[np.intp]) -> None:
        self.widths = np.diff(edges).astype(np.int64)
        self.filled = np.flatnonzero(self.widths)  # reduceat would give an empty cell the next cell's first column
        self.starts = edges[self.filled]

    def add(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Return the sums over each cell of sums over columns (..., X): (..., C)."""
        if len(self.filled) == len(self.widths):
            return np.asarray(np.add.reduceat(columns, self.starts, axis=-1))
        sums = np.zeros((*columns.shape[:-1], len(self.widths)), columns.dtype)
        if len(self.filled):
            sums[..., self.filled] = np.add.reduceat(columns, self.starts, axis=-1)
        return sums

    def total(self, values: Floats) -> Floats:
        """Return the sums of values (..., height, X) over each cell."""
        return self.add(values.sum(axis=-2))

    def dot(self, a: Floats, b: Floats) -> Floats:
        """Return the sums of products over each cell."""
        return self.add(np.asarray(np.einsum("...yx,...yx->...x", a, b)))

    def subtract(self, of_cells: Floats, values: Floats) -> None:
        """Subtract numbers of cells (..., C) from the values (..., height, X) of their pixels, in place."""
        if len(self.widths) == 1:  # a number is subtracted faster than a row of numbers
            values -= of_cells[..., np.newaxis, :]
            return
        size = np.setbufsize(16)  # what is broadcast goes through NumPy's buffer, unless that is shorter than a row
        try:
            values -= np.repeat(of_cells, self.widths, axis=-1)[..., np.newaxis, :]
        finally:
            np.setbufsize(size)

    def pixels(self, valid: Array | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the number of valid pixels of each cell of images of a shape (..., height, X)."""
        pixels = np.empty((*shape[:-2], len(self.widths)), np.int64)
        pixels[...] = self.widths * shape[-2] if valid is None else self.add(valid.sum(axis=-2, dtype=np.int64))
        return pixels


class Shown(NamedTuple):
    """Images of a block as sums take them, and what they add up to by cell.

    Attributes
    ----------
    pixels : int64 array (..., C)
        How many are valid.
    values : float64 array (..., height, X)
        The images less `shift`; 0 where not valid.
    shift : float64 array (..., C)
        The mean but for rounding; 0 where sums are exact.
    total, squares : float64 arrays (..., C)
        Sums of `values` and of their squares.
    """

    pixels: NDArray[np.int64]
    values: Floats
    shift: Floats
    total: Floats
    squares: Floats


def _is_exact(image: Array) -> bool:
    """Whether an image's pairs can have exact sums."""
    return image.dtype.newbyteorder("=") in EXACT_DTYPES


def _block(
    references: Sequence[Array],
    slices: Array,
    reference_mask: Array | None,
    slice_mask: Array | None,
    columns: Columns,
    space: Floats,
) -> list[Part]:
    """Return the parts of a block of every reference (height, X) with slices (N, height, X), by cell: (N, C)."""
    exact = [_is_exact(slices) and _is_exact(reference) for reference in references]
    per_slice = slice_mask is not None and slice_mask.ndim == 3
    per_reference = reference_mask is not None and reference_mask.ndim == 3
    xs = [
        None if per_slice else _shown(x, _both(_own(reference_mask, k), slice_mask), columns, exact=exact[k])
        for k, x in enumerate(references)
    ]
    batch = max(1, BLOCK_VALUES // max(1, prod(slices.shape[1:])))
    by_batch = []
    for n in range(0, max(len(slices), 1), batch):
        of_slices = cast(Array, slice_mask)[n : n + batch] if per_slice else slice_mask
        parts: list[Part] = []
        for k, reference in enumerate(references):
            valid = _both(_own(reference_mask, k), of_slices)
            if k == 0 or exact[k] != exact[k - 1] or per_reference:
                y = _shown(slices[n : n + batch], valid, columns, space[0], exact=exact[k])
            x = xs[k] or _shown(reference, valid, columns, space[1], exact=exact[k])
            parts.append((_integer_sums if exact[k] else _float_moments)(x, y, columns))
        by_batch.append(parts)
    return [_joined(parts) for parts in zip(*by_batch, strict=True)]


def _both(mask: Array | None, other: Array | None) -> Array | None:
    """Return where both masks are valid."""
    return other if mask is None else mask if other is None else mask & other


def _shown(images: Array, valid: Array | None, columns: Columns, space: Floats | None = None, *, exact: bool) -> Shown:
    """Return images under masks, one of either perhaps for many of the other, in a space of memory if there is one."""
    shape = images.shape if valid is None else np.broadcast_shapes(images.shape, valid.shape)
    values = np.empty(shape) if space is None else space[: prod(shape)].reshape(shape)
    np.copyto(values, images)
    _hide(values, valid)
    pixels = columns.pixels(valid, shape)
    shift = np.zeros(pixels.shape)
    if not exact:
        shift = columns.total(values) / np.maximum(pixels, 1)
        columns.subtract(shift, values)
        _hide(values, valid)
    return Shown(pixels, values, shift, columns.total(values), columns.dot(values, values))


def _hide(values: Floats, valid: Array | None) -> None:
    """Set what is not valid to 0."""
    if valid is not None:
        np.copyto(values, 0.0, where=~valid)


def _integer_sums(x: Shown, y: Shown, columns: Columns) -> IntegerSums:
    """Return the exact sums of blocks; x may be the same for all slices."""
    sums = (x.total, y.total, x.squares, y.squares, columns.dot(x.values, y.values))
    return IntegerSums(y.pixels, *(np.broadcast_to(s.astype(np.int64), y.pixels.shape) for s in sums))


def _float_moments(x: Shown, y: Shown, columns: Columns) -> Moments:
    """Return the moments of centred blocks; x may be the same for all slices."""
    some = np.maximum(y.pixels, 1)
    mean_x, mean_y = x.total / some, y.total / some
    return Moments(
        count=y.pixels,
        mean_x=x.shift + mean_x,
        mean_y=y.shift + mean_y,
        ss_x=x.squares - x.total * mean_x,
        ss_y=y.squares - y.total * mean_y,
        ss_xy=columns.dot(x.values, y.values) - x.total * mean_y,
    )
