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
from itertools import pairwise, product
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
    edges = cast("Edges | None", tiles) or tuple(np.array([0, n]) for n in slices.shape[1:])
    rows, columns = ([slice(*ends) for ends in pairwise(axis)] for axis in edges)
    cells = list(product(rows, columns))
    largest = max((y.stop - y.start) * (x.stop - x.start) for y, x in cells)
    batch = max(1, BLOCK_VALUES // max(1, min(largest, BLOCK_PIXELS)))
    parts = [
        [_cell(references, slices[n : n + batch], masks, _batch_of(slice_mask, n, batch), cell) for cell in cells]
        for n in range(0, max(len(slices), 1), batch)
    ]
    grid = tuple(len(axis) - 1 for axis in edges)
    results = []
    for k in range(len(references)):
        by_cell = concatenate([_side_by_side([cell[k] for cell in part]) for part in parts])
        whole = by_cell.total()
        results.append(whole if tiles is None else whole.with_cells(by_cell.reshape(len(slices), *grid)))
    return results


def _batch_of(slice_mask: Array | None, start: int, length: int) -> Array | None:
    """Return the masks of some slices."""
    return slice_mask[start : start + length] if slice_mask is not None and slice_mask.ndim == 3 else slice_mask


def _side_by_side(parts: Sequence[Moments]) -> Moments:
    """Return the moments of the same pairs over several parts, along a new last axis."""
    return concatenate([part[..., np.newaxis] for part in parts], axis=-1)


def _cell(
    references: Sequence[Array], slices: Array, masks: Masks, slice_mask: Array | None, cell: tuple[slice, slice]
) -> list[Moments]:
    """Return the moments of every reference over one cell, block by block."""
    y, x = cell
    width = max(1, min(x.stop - x.start, BLOCK_PIXELS))
    height = max(1, BLOCK_PIXELS // width)
    blocks = [
        _block(
            [r[rows, columns].ravel() for r in references],
            _flat(slices[:, rows, columns]),
            [None if m is None else m[rows, columns].ravel() for m in masks],
            None if slice_mask is None else _flat(slice_mask[..., rows, columns]),
        )
        for rows in _cut(y, height)
        for columns in _cut(x, width)
    ]
    return [_side_by_side(parts).total() for parts in zip(*blocks, strict=True)]


def _cut(whole: slice, length: int) -> list[slice]:
    """Cut a slice into slices of at most `length`; an empty one stays one empty slice."""
    starts = range(whole.start, max(whole.stop, whole.start + 1), length)
    return [slice(start, min(start + length, whole.stop)) for start in starts]


def _flat(images: Array) -> Array:
    """Return images with their two last axes as one."""
    return images.reshape(*images.shape[:-2], images.shape[-2] * images.shape[-1])


def _is_exact(image: Array) -> bool:
    """Whether an image's pairs can have exact sums."""
    return image.dtype.newbyteorder("=") in EXACT_DTYPES


def _block(references: Sequence[Array], slices: Array, masks: Masks, slice_mask: Array | None) -> list[Moments]:
    """Return the moments of every reference (P,) with slices (N, P)."""
    y = slices.astype(np.float64, order="C")  # the layout decides the order of additions
    exact = _is_exact(slices)
    centred_y = cache(lambda: _centred(y, None))
    plain_sums = cache(lambda: (y.sum(axis=1), _exact_dot(y, y)))
    results: list[Moments] = []
    for reference, mask in zip(references, masks, strict=True):
        x = reference.astype(np.float64)
        valid = slice_mask if mask is None else mask if slice_mask is None else mask & slice_mask
        if exact and _is_exact(reference):
            sums = _plain_sums(x, y, *plain_sums()) if valid is None else _masked_sums(x, y, np.atleast_2d(valid))
            results.append(Moments.from_sums(sums))
        elif valid is None:
            results.append(_float_moments(_centred(x, None), centred_y()))
        else:
            results.append(_float_moments(_centred(np.broadcast_to(x, y.shape), valid), _centred(y, valid)))
    return results


def _exact_dot(a: Floats, b: Floats) -> Floats:
    """Return the sum of products of each row of two arrays (1 or N, P) of integers."""
    return np.asarray(np.einsum("np,np->n", *np.broadcast_arrays(a, b)))


def _dot(a: Floats, b: Floats) -> Floats:
    """Return the sum of products of each row of two arrays (1 or N, P), added pairwise."""
    return np.asarray((a * b).sum(axis=1))


def _plain_sums(x: Floats, y: Floats, sum_y: Floats, sum_yy: Floats) -> IntegerSums:
    """Return the exact sums of integer images x (P,) and y (N, P)."""
    x = x[np.newaxis]
    return _as_integers(len(y), x.size, x.sum(), sum_y, _exact_dot(x, x), sum_yy, _exact_dot(x, y))


def _masked_sums(x: Floats, y: Floats, valid: Array) -> IntegerSums:
    """Return the exact sums of integer images x (P,) and y (N, P) over valid pixels (1 or N, P)."""
    weight = valid.astype(np.float64)
    x, y = x * weight, y * weight
    sums = (a.sum(axis=1) for a in (weight, x, y))
    return _as_integers(len(y), *sums, _exact_dot(x, x), _exact_dot(y, y), _exact_dot(x, y))


def _as_integers(length: int, *sums: Any) -> IntegerSums:
    """Return sums, of which some are the same for all pairs, as int64 arrays."""
    return IntegerSums(*(np.broadcast_to(np.asarray(s, np.int64), (length,)) for s in sums))


def _centred(values: Floats, valid: Array | None) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return count, mean and deviations (0 where not valid) of each row; the mean is corrected by its own residual."""
    rows = np.atleast_2d(values)
    if valid is None:
        count = np.full(len(rows), rows.shape[1], np.int64)
        mean = rows.sum(axis=1) / np.maximum(count, 1)
        deviation = rows - mean[:, np.newaxis]
        residual = deviation.sum(axis=1) / np.maximum(count, 1)
        deviation -= residual[:, np.newaxis]
        return count, mean + residual, deviation
    valid = np.broadcast_to(valid, rows.shape)
    count = valid.sum(axis=1)
    mean = np.where(valid, rows, 0.0).sum(axis=1) / np.maximum(count, 1)
    deviation = np.where(valid, rows - mean[:, np.newaxis], 0.0)
    residual = deviation.sum(axis=1) / np.maximum(count, 1)
    deviation = np.where(valid, deviation - residual[:, np.newaxis], 0.0)
    return count, mean + residual, deviation


def _float_moments(
    of_x: tuple[NDArray[np.int64], Floats, Floats], of_y: tuple[NDArray[np.int64], Floats, Floats]
) -> Moments:
    """Return the moments of centred rows; x has one row, or one a slice."""
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
