"""Moments of pairs: `block_sums` over slabs of the stack, and what comes of it to the host.

References that take the same way to their sums form a group; each slab of slices is on the device once for all groups.
Device memory beyond input and result: the sums of the blocks of a slab, and of each reference a copy, of integers in
bytes (none of a single one of uint8), else in float64, under masks in its own dtype where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.errors import BackendError
from gpu_stackcorr.moments import INT64_PIXELS, IntegerSums, Moments

from . import block_sums, integer_sums
from .block_sums import StoredSums, Sums, is_exact
from .cell_totals import Found, Layout, Totals
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

    def work(sums: Sequence[StoredSums], start: int, slab: Array) -> list[Found]:
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
    return integer_sums.IntegerSums if exact else block_sums.CentredSums


def of_slabs(
    device: Device,
    references: Sequence[Array],
    slices: Array,
    kind: Callable[[bool], type[Sums]],
    work: Callable[[Sequence[Any], int, Array], list[Found]],
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
        Given the sums of all groups of references, the number of a slab's first slice and the slab: for each group
        what its cells have, and behind it what the whole has where that is not all of a single cell.
    bytes_a_slice : int
        Device memory that `work` takes beside that of the sums.
    most : int, optional
        Most slices of a slab.
    """
    if max(slices.shape[1:]) >= LONGEST:
        raise BackendError(f"moments on cuda: slices are {slices.shape[1:]}, sides below {LONGEST} pixels are allowed")
    groups = _grouped(references, slices, tiles, kind)
    parts: list[list[Found]] = []
    if slices.size and groups:
        sums = [_sums_of(device, group, references, slices, reference_mask, slice_mask) for group in groups]
        needed = bytes_a_slice + sum(each.bytes_a_slice() for each in sums)
        parts = in_slabs(device, slices, needed, lambda start, slab: work(sums, start, slab), most=most)
    fetched, wait = device.fetch([found.memory for part in parts for found in part])
    memories, pixels = iter(fetched), prod(slices.shape[1:])
    hosts = [[found.layout.totals(next(memories)) for found in part] for part in parts]
    if len(parts) != 1 or not all(group.exact and _are_whole(group, pixels) for group in groups):
        wait()  # what follows looks at values; otherwise it makes views while they come
    results: dict[int, Moments] = {}
    for g, group in enumerate(groups):
        totals = [_joined(parts[0][g].layout, slabs) for slabs in zip(*(host[g] for host in hosts), strict=True)]
        found = _moments(totals, group, len(slices), pixels, tiled=tiles is not None)
        results |= zip(group.numbers, found, strict=True)
    wait()
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
    if not group.exact or area.max(initial=0) <= LARGEST_CELL:
        return group.edges, np.arange(len(area))
    parts = np.maximum(1, -(-area // LARGEST_CELL))
    ends = zip(rows[:-1].tolist(), rows[1:].tolist(), parts.tolist(), strict=True)
    starts = [start + (stop - start) * np.arange(n) // n for start, stop, n in ends]
    return (np.concatenate([*starts, rows[-1:]]), columns), np.cumsum(parts) - parts


def _are_whole(group: _Group, pixels: int) -> bool:
    """Whether int64 holds the sums of the whole, and each cell was summed at once."""
    edges, firsts = _refined(group)
    return pixels < INT64_PIXELS and len(firsts) == len(edges[0]) - 1


def _joined(layout: Layout, slabs: Sequence[Totals]) -> list[NDArray[Any]]:
    """Return what the cells of all slabs have; what stands once for all pairs seems there for each."""
    first = [array for array in slabs[0] if array is not None]
    slabs_of_arrays = [array for array in zip(*slabs, strict=True) if array[0] is not None]
    joined = [np.concatenate(arrays, axis=2) if len(slabs) > 1 else arrays[0] for arrays in slabs_of_arrays]
    references, slices = joined[2].shape[1:3]
    for i in range(0, len(joined), 3):
        of_x, of_y = first[i] if layout.shared_x else joined[i], joined[i + 1]
        joined[i] = np.broadcast_to(of_x, (*of_x.shape[:2], slices, of_x.shape[3]))
        joined[i + 1] = np.broadcast_to(of_y, (len(of_y), references, *of_y.shape[2:]))
    return joined


def _moments(
    totals: Sequence[Sequence[NDArray[Any]]], group: _Group, slices: int, pixels: int, *, tiled: bool
) -> list[Moments]:
    """Return the moments of each reference of a group from what cells have, and the whole where it is told."""
    edges, firsts = _refined(group)
    rows, columns = (len(ends) - 1 for ends in edges)
    cells = totals[0] if totals else _of_nothing(group, slices, rows * columns)
    are_whole, results = _are_whole(group, pixels), []
    for k in range(len(group.numbers)):
        whole = None
        if group.exact and are_whole:
            of_cells = _of_integers(cells, k, (slices, rows, columns))
            whole = _of_integers(totals[-1], k, (slices,)) if totals else None
        elif group.exact:
            of_cells = _of_parts(cells, k, (slices, rows, columns), firsts)
        else:
            of_cells = _of_floats(cells, k, (slices, rows, columns))
        if whole is None:
            with np.errstate(over="ignore", invalid="ignore"):
                whole = of_cells.reshape(slices, -1 if slices else 1).total()
        results.append(whole.with_cells(of_cells) if tiled else whole)
    return results


def _of_nothing(group: _Group, slices: int, cells: int) -> list[NDArray[Any]]:
    """Return what cells without pixels have."""
    shapes = [(values, len(group.numbers), slices, cells) for values in (3, 2, 1, 2, 2, 1)]
    kinds = [np.int64] * 3 + [np.float64] * 3 if group.exact else [np.float64] * 3
    return [np.zeros(shape, kind) for shape, kind in zip(shapes, kinds, strict=False)]


def _of_reference(totals: Sequence[NDArray[Any]], k: int, shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """Return each value of one reference, (N, cells) in another shape: those of x, of y and of both, in turn."""
    return [value[k].reshape(shape) for values in totals for value in values]


def _of_integers(totals: Sequence[NDArray[Any]], k: int, shape: tuple[int, ...]) -> Moments:
    """Return moments with exact sums."""
    n, x, xx, y, yy, xy, mean_x, ss_x, mean_y, ss_y, ss_xy = _of_reference(totals, k, shape)
    return Moments(n, mean_x, mean_y, ss_x, ss_y, ss_xy, IntegerSums(n, x, y, xx, yy, xy))


def _of_parts(totals: Sequence[NDArray[Any]], k: int, shape: tuple[int, ...], firsts: NDArray[np.intp]) -> Moments:
    """Return moments of exact sums that int64 may not hold: of cells that are several rows of what has been summed."""
    n, x, xx, y, yy, xy, *_ = _of_reference(totals, k, shape)
    sums = [n, x, y, xx, yy, xy]
    if len(firsts) != shape[1]:
        sums = [np.add.reduceat(values.astype(object), firsts, axis=1) for values in sums]
    return Moments.from_sums(IntegerSums(*sums))


def _of_floats(totals: Sequence[NDArray[Any]], k: int, shape: tuple[int, ...]) -> Moments:
    """Return moments without sums."""
    n, mean_x, ss_x, mean_y, ss_y, ss_xy = _of_reference(totals, k, shape)
    return Moments(n.astype(np.int64), mean_x, mean_y, ss_x, ss_y, ss_xy)
