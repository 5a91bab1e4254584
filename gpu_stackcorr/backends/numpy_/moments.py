"""Moments of pairs in plain NumPy: the float64 specification of ``Backend.moments``.

An image is cut into cells (the tiles asked for, else one), a row of cells into blocks of whole rows that stay in the
cache. A block of all its cells is added up along its rows first, then along the columns of each cell, so that cells
cost about what the plain image does; blocks are merged. Integer blocks are summed in float64, where every partial sum
is an integer below 2^53 and therefore exact, in any order. Floating blocks are centred in two passes. What is added
one after the other are the rows of a block, LONGEST_SUM at most; the order depends on a block's shape alone: the bits
of a pair must not depend on its neighbours. That rules BLAS out, whose order depends on the number of rows and threads;
and where its threads meet ours on busy cores, a product of 32768 numbers was seen to take 9 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import EXACT_DTYPES, IntegerSums, Moments, concatenate

Floats = NDArray[np.float64]
Masks = Sequence[Array | None]
Part = IntegerSums | Moments

BLOCK_PIXELS = 1 << 15
"""Pixels of a slice taken at once: products of uint16 stay below 2^53 / 2^6 in their sum."""

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
    per_reference = reference_mask is not None and reference_mask.ndim == 3
    masks: Masks = list(cast(Array, reference_mask)) if per_reference else [reference_mask] * len(references)
    if tiles is not None and isinstance(tiles[0], tuple):  # cells of its own for each reference
        return [
            _moments([x], slices, mask, slice_mask, cast(Edges, edges))[0]
            for x, mask, edges in zip(references, masks, tiles, strict=True)
        ]
    edges = cast("Edges | None", tiles) or cast(Edges, tuple(np.array([0, n]) for n in slices.shape[1:]))
    width = max(1, min(LONGEST_ROW, slices.shape[2]))
    rows = min(LONGEST_SUM, BLOCK_PIXELS // width)
    boxes = [_cut(slice(*ends), rows) for ends in pairwise(edges[0].tolist())]
    block = max((y.stop - y.start for band in boxes for y in band), default=1) * width
    batch = max(1, BLOCK_VALUES // max(1, block))
    parts = [
        _cells(references, slices[n : n + batch], masks, _batch_of(slice_mask, n, batch), boxes, edges[1])
        for n in range(0, max(len(slices), 1), batch)
    ]
    results = []
    for by_batch in zip(*parts, strict=True):
        cells = _finished(_joined(by_batch))
        whole = cells.reshape(len(slices), -1 if len(slices) else 1).total()
        results.append(whole if tiles is None else whole.with_cells(cells))
    return results


def _batch_of(slice_mask: Array | None, start: int, length: int) -> Array | None:
    """Return the masks of some slices."""
    return slice_mask[start : start + length] if slice_mask is not None and slice_mask.ndim == 3 else slice_mask


def _cut(whole: slice, length: int) -> list[slice]:
    """Cut a slice into like slices of at most `length`; an empty one stays one empty slice."""
    pieces = max(1, -(-(whole.stop - whole.start) // length))
    ends = [whole.start + (whole.stop - whole.start) * n // pieces for n in range(pieces + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def _cells(
    references: Sequence[Array],
    slices: Array,
    masks: Masks,
    slice_mask: Array | None,
    boxes: Sequence[Sequence[slice]],
    x_edges: NDArray[np.intp],
) -> list[Part]:
    """Return the parts of every reference over every cell, (N, cells_y, cells_x), from the rows of their blocks."""
    bands = []
    for band in boxes:
        blocks = [
            _block(
                [image[y, x] for image in references],
                slices[:, y, x],
                [None if mask is None else mask[y, x] for mask in masks],
                None if slice_mask is None else slice_mask[..., y, x],
                # A cell with nothing in this block is empty here, which changes nothing when blocks are merged.
                Columns(np.clip(x_edges, x.start, x.stop) - x.start),
            )
            for y in band
            for x in _cut(slice(0, slices.shape[2]), LONGEST_ROW)
        ]
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
        self.widths = np.diff(edges)
        self.filled = np.flatnonzero(self.widths)  # reduceat would give an empty cell the next cell's first column
        self.starts = edges[self.filled]

    def add(self, columns: NDArray[Any]) -> NDArray[Any]:
        """Return the sums over each cell of sums over columns (..., X): (..., C)."""
        sums = np.zeros((*columns.shape[:-1], len(self.widths)), columns.dtype)
        if self.filled.size:
            sums[..., self.filled] = np.add.reduceat(columns, self.starts, axis=-1)
        return sums

    def total(self, values: Floats) -> Floats:
        """Return the sums of values (..., height, X) over each cell."""
        return self.add(values.sum(axis=-2))

    def dot(self, a: Floats, b: Floats) -> Floats:
        """Return the sums of products over each cell."""
        return self.add(np.asarray(np.einsum("...yx,...yx->...x", a, b)))

    def spread(self, of_cells: Floats) -> Floats:
        """Return numbers of cells (..., C) at all columns: (..., 1, X), or (..., 1, 1) for one cell."""
        if len(self.widths) == 1:  # a number is subtracted from all pixels in 0.16 ns, a row of numbers in 0.28
            return of_cells[..., np.newaxis, :]
        return np.repeat(of_cells, self.widths, axis=-1)[..., np.newaxis, :]

    def pixels(self, valid: Array | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the number of valid pixels of each cell of images of a shape (..., height, X)."""
        if valid is None:
            return np.broadcast_to(self.widths.astype(np.int64) * shape[-2], (*shape[:-2], len(self.widths)))
        return np.broadcast_to(self.add(valid.sum(axis=-2, dtype=np.int64)), (*shape[:-2], len(self.widths)))


class Centred(NamedTuple):
    """Pixels and mean of each cell (..., C), and deviations from it (..., height, X), 0 where not valid."""

    pixels: NDArray[np.int64]
    mean: Floats
    deviation: Floats


def _in_float64(images: Array) -> Floats:
    """Return images (..., height, X) in float64: their layout decides the order of sums."""
    converted: Floats = images.astype(np.float64, order="C", copy=False)
    return converted


def _is_exact(image: Array) -> bool:
    """Whether an image's pairs can have exact sums."""
    return image.dtype.newbyteorder("=") in EXACT_DTYPES


def _block(
    references: Sequence[Array], slices: Array, masks: Masks, slice_mask: Array | None, columns: Columns
) -> list[Part]:
    """Return the parts of a block of every reference (height, X) with slices (N, height, X), by cell: (N, C)."""
    y = _in_float64(slices)
    exact = _is_exact(slices)
    centred_y = cache(lambda: _centred(y, None, columns))
    plain_sums = cache(lambda: (columns.total(y), columns.dot(y, y)))
    parts: list[Part] = []
    for reference, own in zip(references, masks, strict=True):
        x = _in_float64(reference)
        valid = slice_mask if own is None else own if slice_mask is None else own & slice_mask
        if exact and _is_exact(reference):
            parts.append(_plain_sums(x, y, *plain_sums(), columns) if valid is None else _sums(x, y, valid, columns))
        elif valid is None:
            parts.append(_float_moments(_centred(x, None, columns), centred_y(), columns))
        else:
            own_x = np.broadcast_to(x, y.shape)
            parts.append(_float_moments(_centred(own_x, valid, columns), _centred(y, valid, columns), columns))
    return parts


def _plain_sums(x: Floats, y: Floats, sum_y: Floats, sum_yy: Floats, columns: Columns) -> IntegerSums:
    """Return the exact sums of an integer image x (height, X) and images y (N, height, X)."""
    count = columns.pixels(None, y.shape)
    return _as_integers(count, columns.total(x), sum_y, columns.dot(x, x), sum_yy, columns.dot(x, y))


def _sums(x: Floats, y: Floats, valid: Array, columns: Columns) -> IntegerSums:
    """Return the same over valid pixels (height, X) or (N, height, X)."""
    count = columns.pixels(valid, y.shape)
    x, y = x * valid, y * valid
    return _as_integers(
        count, columns.total(x), columns.total(y), columns.dot(x, x), columns.dot(y, y), columns.dot(x, y)
    )


def _as_integers(count: NDArray[np.int64], *sums: Floats) -> IntegerSums:
    """Return sums, of which some are the same for all pairs, as int64 arrays."""
    return IntegerSums(count, *(np.broadcast_to(s.astype(np.int64), count.shape) for s in sums))


def _centred(values: Floats, valid: Array | None, columns: Columns) -> Centred:
    """Return images centred on the mean of each cell, which is corrected by its residual."""
    pixels = columns.pixels(valid, values.shape)
    some = np.maximum(pixels, 1)
    mean = columns.total(values if valid is None else np.where(valid, values, 0.0)) / some
    deviation = values - columns.spread(mean)
    if valid is not None:
        deviation = np.where(valid, deviation, 0.0)
    residual = columns.total(deviation) / some
    deviation -= columns.spread(residual)
    if valid is not None:
        deviation = np.where(valid, deviation, 0.0)
    return Centred(pixels, mean + residual, deviation)


def _float_moments(x: Centred, y: Centred, columns: Columns) -> Moments:
    """Return the moments of centred blocks; x is the same for all slices, or one a slice."""
    shape = y.mean.shape
    return Moments(
        count=y.pixels,
        mean_x=np.broadcast_to(x.mean, shape),
        mean_y=y.mean,
        ss_x=np.broadcast_to(columns.dot(x.deviation, x.deviation), shape),
        ss_y=columns.dot(y.deviation, y.deviation),
        ss_xy=columns.dot(x.deviation, y.deviation),
    )
