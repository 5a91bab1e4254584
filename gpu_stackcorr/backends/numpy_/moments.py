"""Moments of pairs in plain NumPy: the float64 specification of ``Backend.moments``.

An image is cut into cells (the tiles asked for, else one), a cell into blocks that stay in the cache. The moments of
all pairs are taken block by block and merged. Integer blocks are summed in float64, where every partial sum is an
integer below 2^53 and therefore exact, in any order. Floating blocks are centred in two passes and summed pairwise by
``add.reduce``, whose order depends on the length of a row alone: the bits of a pair must not depend on its neighbours.
That rules BLAS out, whose order depends on the number of rows and threads, and einsum, which also loses a digit (0.5
against 1.2 ns a product). For integers einsum is taken rather than BLAS: where its threads meet ours on busy cores, a
product of 32768 numbers was seen to take 9 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import EXACT_DTYPES, IntegerSums, Moments, concatenate

Floats = NDArray[np.float64]
Masks = Sequence[Array | None]

BLOCK_PIXELS = 1 << 15
"""Pixels of a slice taken at once: products of uint16 stay below 2^53 / 2^6 in their sum."""

BLOCK_VALUES = 1 << 18
"""Values of several slices taken at once: 2 MiB in float64."""


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
    band = int(np.diff(edges[0]).max(initial=1)) * slices.shape[2]
    batch = max(1, BLOCK_VALUES // max(1, min(band, BLOCK_PIXELS)))
    parts = [
        _cells(references, slices[n : n + batch], masks, _batch_of(slice_mask, n, batch), edges)
        for n in range(0, max(len(slices), 1), batch)
    ]
    results = []
    for cells in (concatenate(by_batch) for by_batch in zip(*parts, strict=True)):
        whole = cells.reshape(len(slices), -1 if len(slices) else 1).total()
        results.append(whole if tiles is None else whole.with_cells(cells))
    return results


def _batch_of(slice_mask: Array | None, start: int, length: int) -> Array | None:
    """Return the masks of some slices."""
    return slice_mask[start : start + length] if slice_mask is not None and slice_mask.ndim == 3 else slice_mask


def _cells(
    references: Sequence[Array], slices: Array, masks: Masks, slice_mask: Array | None, edges: Edges
) -> list[Moments]:
    """Return the moments of every reference over every cell: (N, cells_y, cells_x)."""
    widths = np.diff(edges[1])
    rows = []
    for y in (slice(*ends) for ends in pairwise(edges[0].tolist())):
        # Cells of one width are taken together: sixteen small blocks would cost six times as much.
        groups = [np.flatnonzero(widths == width) for width in np.unique(widths)]
        parts = [
            _equal_cells(
                references, slices, masks, slice_mask, y, edges[1][cells, np.newaxis] + np.arange(widths[cells[0]])
            )
            for cells in groups
        ]
        order = np.argsort(np.concatenate(groups))
        rows.append([concatenate(cells, axis=1)[:, np.newaxis, order] for cells in zip(*parts, strict=True)])
    return [concatenate(cells, axis=1) for cells in zip(*rows, strict=True)]


def _equal_cells(
    references: Sequence[Array],
    slices: Array,
    masks: Masks,
    slice_mask: Array | None,
    y: slice,
    columns: NDArray[np.intp],
) -> list[Moments]:
    """Return the moments over cells of the rows `y` and columns (C, width), block by block: (N, C)."""
    width = columns.shape[1]
    blocks = []
    for rows in _cut(y, max(1, BLOCK_PIXELS // max(1, width))):
        for x in _cut(slice(0, width), BLOCK_PIXELS):
            boxes = (rows, columns[:, x])
            blocks.append(
                _block(
                    [_take(reference, *boxes) for reference in references],
                    _take(slices, *boxes),
                    [None if mask is None else _take(mask, *boxes) for mask in masks],
                    None if slice_mask is None else _take(slice_mask, *boxes),
                )
            )
    return [
        concatenate([part[..., np.newaxis] for part in parts], axis=-1).total() for parts in zip(*blocks, strict=True)
    ]


def _cut(whole: slice, length: int) -> list[slice]:
    """Cut a slice into slices of at most `length`; an empty one stays one empty slice."""
    starts = range(whole.start, max(whole.stop, whole.start + 1), length)
    return [slice(start, min(start + length, whole.stop)) for start in starts]


def _take(images: Array, rows: slice, columns: NDArray[np.intp]) -> Array:
    """Return cells (..., C, height, width) of images (..., Y, X); those of neighbours are a view."""
    count, width = columns.shape
    band = images[..., rows, :]
    if columns.size and columns[-1, -1] - columns[0, 0] == columns.size - 1:
        band = band[..., columns[0, 0] : columns[-1, -1] + 1]
    else:
        band = np.take(band, columns.ravel(), axis=-1)
    return np.moveaxis(band.reshape(*band.shape[:-1], count, width), -2, -3)


def _rows(cells: Array, dtype: type) -> Array:
    """Return cells (..., C, height, width) as rows of pixels (..., C, P): their layout decides the order of sums."""
    converted: Array = cells.astype(dtype, order="C", copy=False)
    return converted.reshape(*cells.shape[:-2], cells.shape[-2] * cells.shape[-1])


def _is_exact(image: Array) -> bool:
    """Whether an image's pairs can have exact sums."""
    return image.dtype.newbyteorder("=") in EXACT_DTYPES


def _block(references: Sequence[Array], slices: Array, masks: Masks, slice_mask: Array | None) -> list[Moments]:
    """Return the moments of cells of every reference (C, height, width) with those of slices (N, C, ...): (N, C)."""
    y = _rows(slices, np.float64)
    slice_valid = None if slice_mask is None else _rows(slice_mask, np.bool_)
    exact = _is_exact(slices)
    centred_y = cache(lambda: _centred(y, None))
    plain_sums = cache(lambda: (y.sum(axis=-1), _exact_dot(y, y)))
    results: list[Moments] = []
    for reference, mask in zip(references, masks, strict=True):
        x = _rows(reference, np.float64)
        own = None if mask is None else _rows(mask, np.bool_)
        valid = slice_valid if own is None else own if slice_valid is None else own & slice_valid
        if exact and _is_exact(reference):
            sums = _plain_sums(x, y, *plain_sums()) if valid is None else _masked_sums(x, y, valid)
            results.append(Moments.from_sums(sums))
        elif valid is None:
            results.append(_float_moments(_centred(x, None), centred_y()))
        else:
            results.append(_float_moments(_centred(np.broadcast_to(x, y.shape), valid), _centred(y, valid)))
    return results


def _exact_dot(a: Floats, b: Floats) -> Floats:
    """Return the sums of products along the last axis, of integers."""
    return np.asarray(np.einsum("...p,...p->...", a, b))


def _dot(a: Floats, b: Floats) -> Floats:
    """Return the sums of products along the last axis, added pairwise."""
    return np.asarray((a * b).sum(axis=-1))


def _plain_sums(x: Floats, y: Floats, sum_y: Floats, sum_yy: Floats) -> IntegerSums:
    """Return the exact sums of integer images x (C, P) and y (N, C, P)."""
    return _as_integers(sum_y.shape, x.shape[-1], x.sum(axis=-1), sum_y, _exact_dot(x, x), sum_yy, _exact_dot(x, y))


def _masked_sums(x: Floats, y: Floats, valid: Array) -> IntegerSums:
    """Return the exact sums of integer images x (C, P) and y (N, C, P) over valid pixels (C, P) or (N, C, P)."""
    weight = valid.astype(np.float64)
    x, y = x * weight, y * weight
    sums = (a.sum(axis=-1) for a in (weight, x, y))
    return _as_integers(y.shape[:-1], *sums, _exact_dot(x, x), _exact_dot(y, y), _exact_dot(x, y))


def _as_integers(shape: tuple[int, ...], *sums: Any) -> IntegerSums:
    """Return sums, of which some are the same for all pairs, as int64 arrays."""
    return IntegerSums(*(np.broadcast_to(np.asarray(s, np.int64), shape) for s in sums))


def _centred(values: Floats, valid: Array | None) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return count, mean (corrected by its residual) and deviations (0 where not valid) along the last axis."""
    if valid is None:
        count = np.full(values.shape[:-1], values.shape[-1], np.int64)
        mean = values.sum(axis=-1) / np.maximum(count, 1)
        deviation = values - mean[..., np.newaxis]
        residual = deviation.sum(axis=-1) / np.maximum(count, 1)
        deviation -= residual[..., np.newaxis]
        return count, mean + residual, deviation
    valid = np.broadcast_to(valid, values.shape)
    count = valid.sum(axis=-1)
    mean = np.where(valid, values, 0.0).sum(axis=-1) / np.maximum(count, 1)
    deviation = np.where(valid, values - mean[..., np.newaxis], 0.0)
    residual = deviation.sum(axis=-1) / np.maximum(count, 1)
    deviation = np.where(valid, deviation - residual[..., np.newaxis], 0.0)
    return count, mean + residual, deviation


def _float_moments(
    of_x: tuple[NDArray[np.int64], Floats, Floats], of_y: tuple[NDArray[np.int64], Floats, Floats]
) -> Moments:
    """Return the moments of centred cells; x is the same for all slices, or one a slice."""
    _, mean_x, x = of_x
    count, mean_y, y = of_y
    return Moments(
        count=count,
        mean_x=np.broadcast_to(mean_x, mean_y.shape),
        mean_y=mean_y,
        ss_x=np.broadcast_to(_dot(x, x), mean_y.shape),
        ss_y=_dot(y, y),
        ss_xy=_dot(x, y),
    )
