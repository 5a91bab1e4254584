"""Moments of pairs: `block_sums` over slabs of the stack, and what the host makes of the sums of cells.

References that take the same way to their sums form a group; each slab of slices is on the device once for all groups.
Device memory beyond input and result: the sums of the blocks of a slab, and of each reference a copy, of integers in
bytes (none of a single one of uint8), else in float64, under masks in its own dtype where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.errors import BackendError
from gpu_stackcorr.moments import IntegerSums, Moments

from . import block_sums
from .block_sums import StoredSums, Sums, is_exact
from .device import Device
from .slabs import in_slabs

LARGEST_CELL = 2**31 - 1
"""Pixels up to which int64 holds a sum of products of uint16."""


LONGEST = 2**30
"""Pixels of a side from which on bytes along it, and positions around a tile, do not fit into 32 bits."""


class _Group(NamedTuple):
    """References, by their numbers, that one `Sums` takes."""

    make: type[Sums]
    numbers: list[int]
    edges: Edges
    exact: bool


def moments(
    device: Device,
    references: Sequence[Array],
    slices: Array,
    *,
    reference_mask: Array | None = None,
    slice_mask: Array | None = None,
    tiles: Edges | Sequence[Edges] | None = None,
) -> list[Moments]:
    """See ``Backend.moments``."""
    masked = reference_mask is not None or slice_mask is not None

    def work(sums: Sequence[StoredSums], start: int, slab: Array) -> list[Array]:
        return [each.of_slab(start, slab) for each in sums]

    def kind(exact: bool) -> type[StoredSums]:
        return stored_kind(exact=exact, masked=masked)

    return of_slabs(
        device, references, slices, kind, work, reference_mask=reference_mask, slice_mask=slice_mask, tiles=tiles
    )


def stored_kind(*, exact: bool, masked: bool) -> type[StoredSums]:
    """Return which sums references take with slices as they are."""
    if masked:
        return block_sums.MaskedSums
    return block_sums.IntegerSums if exact else block_sums.CentredSums


def of_slabs(
    device: Device,
    references: Sequence[Array],
    slices: Array,
    kind: Callable[[bool], type[Sums]],
    work: Callable[[Sequence[Any], int, Array], list[Array]],
    *,
    reference_mask: Array | None,
    slice_mask: Array | None = None,
    tiles: Edges | Sequence[Edges] | None,
    bytes_a_slice: int = 0,
    most: int | None = None,
) -> list[Moments]:
    """Return the moments that `work` finds slab by slab.

    Parameters
    ----------
    kind : function
        Which sums a pair takes, given whether it is exact.
    work : function
        Given the sums of all groups of references, the number of a slab's first slice and the slab, what cells have:
        (6, K, n, cells) a group.
    bytes_a_slice : int
        Device memory that `work` takes beside that of the sums.
    most : int, optional
        Most slices of a slab.
    """
    if max(slices.shape[1:]) >= LONGEST:
        raise BackendError(f"moments on cuda: slices are {slices.shape[1:]}, sides below {LONGEST} pixels are allowed")
    groups = _grouped(references, slices, tiles, kind)
    parts: list[list[Array]] = []
    if slices.size and groups:
        sums = [_sums_of(device, group, references, slices, reference_mask, slice_mask) for group in groups]
        needed = bytes_a_slice + sum(each.bytes_a_slice() for each in sums)
        parts = in_slabs(device, slices, needed, lambda start, slab: work(sums, start, slab), most=most)
    results: dict[int, Moments] = {}
    for g, group in enumerate(groups):
        cells = _joined([device.to_host(part[g]) for part in parts], group, len(slices))
        found = [_moments(arrays, group, tiled=tiles is not None) for arrays in cells.swapaxes(0, 1)]
        results |= zip(group.numbers, found, strict=True)
    return [results[k] for k in range(len(references))]


def _grouped(
    references: Sequence[Array],
    slices: Array,
    tiles: Edges | Sequence[Edges] | None,
    kind: Callable[[bool], type[Sums]],
) -> list[_Group]:
    """Return the groups: references of one dtype and grid of cells, or of all dtypes where they become float64."""
    groups: dict[Any, _Group] = {}
    for k, reference in enumerate(references):
        if tiles is None:
            edges = cast(Edges, tuple(np.array([0, n]) for n in slices.shape[1:]))
        else:
            edges = cast(Edges, tiles[k] if isinstance(tiles[0], tuple) else tiles)
        exact = is_exact(reference.dtype) and is_exact(slices.dtype)
        make = kind(exact)
        dtype = reference.dtype.newbyteorder("=") if exact or make is block_sums.MaskedSums else None
        key = (make, dtype, *(tuple(ends.tolist()) for ends in edges))
        groups.setdefault(key, _Group(make, [], edges, exact)).numbers.append(k)
    return list(groups.values())


def _sums_of(
    device: Device,
    group: _Group,
    references: Sequence[Array],
    slices: Array,
    reference_mask: Array | None,
    slice_mask: Array | None,
) -> Sums:
    """Return the sums of a group."""
    if reference_mask is None:
        masks = []
    else:
        masks = [reference_mask[k] for k in group.numbers] if reference_mask.ndim == 3 else [reference_mask]
    kind = slices.dtype.newbyteorder("=")
    edges, _ = _refined(group)
    return group.make(device, [references[k] for k in group.numbers], slices.shape, kind, edges, masks, slice_mask)


def _refined(group: _Group) -> tuple[Edges, NDArray[np.intp]]:
    """Return edges of cells whose sums fit into int64, and the first row of those of each cell."""
    rows, columns = group.edges
    area = np.diff(rows) * int(np.diff(columns).max(initial=0))
    parts = np.maximum(1, -(-area // LARGEST_CELL)) if group.exact else np.ones(len(area), np.int64)
    ends = zip(rows[:-1].tolist(), rows[1:].tolist(), parts.tolist(), strict=True)
    starts = [start + (stop - start) * np.arange(n) // n for start, stop, n in ends]
    return (np.concatenate([*starts, rows[-1:]]), columns), np.cumsum(parts) - parts


def _joined(parts: Sequence[NDArray[Any]], group: _Group, slices: int) -> NDArray[Any]:
    """Return what cells have, (6, K, N, cells_y, cells_x), from that of all slabs; zeros where there are no pixels."""
    edges, firsts = _refined(group)
    shape = 6, len(group.numbers), slices, len(edges[0]) - 1, len(edges[1]) - 1
    if not parts:
        return np.zeros((*shape[:3], len(firsts), shape[4]), np.int64 if group.exact else np.float64)
    cells = np.concatenate(parts, axis=2).reshape(shape)
    return cells if len(firsts) == shape[3] else np.add.reduceat(cells.astype(object), firsts, axis=3)


def _moments(arrays: NDArray[Any], group: _Group, *, tiled: bool) -> Moments:
    """Return the moments of one reference from what its cells have."""
    cells = (
        Moments.from_sums(IntegerSums(*arrays))
        if group.exact
        else Moments(arrays[0].astype(np.int64), *cast(Any, arrays[1:]))
    )
    slices = arrays.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        whole = cells.reshape(slices, -1 if slices else 1).total()
    return whole.with_cells(cells) if tiled else whole
