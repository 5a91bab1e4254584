"""Takes a stack in slabs: as many slices as the device has room for, fewer where that was too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from gpu_stackcorr.backends.base import Array

from .device import Device

Result = TypeVar("Result")

SHARE = 4
"""One part in so many of the free memory is for a slab and its result: two of each are on the device at once."""

HOST_BYTES = 1 << 27
"""Bytes of a slab of the host: small enough for the copy of the next one to hide behind the work on the last."""


def in_slabs(
    device: Device, slices: Array, bytes_a_slice: int, work: Callable[[int, Array], Result], *, most: int | None = None
) -> list[Result]:
    """Return what `work` makes of each slab (n, Y, X) on the device and the number of its first slice.

    Parameters
    ----------
    device : Device
    slices : (N, Y, X) array
        Of the host or of the device.
    bytes_a_slice : int
        What `work` needs beside the slice.
    work : function
        It may run out of memory: the slab is then taken again in smaller ones.
    most : int, optional
        Most slices of a slab.
    """
    results: list[Result] = []
    size = slices[:1].nbytes
    length = slab_length(device, len(slices), size + bytes_a_slice, size if isinstance(slices, np.ndarray) else 0)
    through_slabs(
        device,
        len(slices),
        min(length, most or length),
        cut=lambda slab: [slices[slab]],
        work=lambda slab, part: results.append(work(slab.start, part)),
        targets=lambda _slab, _result: [],
    )
    return results


def through_slabs(
    device: Device,
    count: int,
    length: int,
    *,
    cut: Callable[[slice], Sequence[Array]],
    work: Callable[..., Result],
    targets: Callable[[slice, Result], Sequence[tuple[Array, Array]]],
) -> None:
    """Call ``work(slab, *parts)`` of each slab in turn.

    The device works on a slab while the next one is copied to it and what it made of the last one is copied back.

    Parameters
    ----------
    device : Device
    count, length : int
        How many slices there are, and how many a slab has to begin with.
    cut : function
        Returns what a slab consists of, arrays of the host or of the device; `work` finds them on the device.
    work : function
        It may run out of memory: slabs are then shorter.
    targets : function
        Returns pairs, for a slab and what `work` made of it: an array of the host, and the device array that it takes.
    """
    done = 0

    def finished(slab: slice) -> None:
        nonlocal done
        done = slab.stop

    while done < count:
        slabs = [slice(start, min(start + length, count)) for start in range(done, count, length)]
        try:
            _take(device, slabs, cut, work, targets, finished)
        except MemoryError:
            if length == 1:
                raise
            length = max(1, length // 2)


def _take(
    device: Device,
    slabs: Sequence[slice],
    cut: Callable[[slice], Sequence[Array]],
    work: Callable[..., Result],
    targets: Callable[[slice, Result], Sequence[tuple[Array, Array]]],
    finished: Callable[[slice], None],
) -> None:
    """Take slabs of one length. Of slabs and results two each are on the device at once."""
    uploads = [_upload(device, slabs, cut, number) for number in range(len(cut(slabs[0])))]
    downloads = device.downloads()
    begun: list[slice] = []

    def finish() -> None:
        if begun:
            downloads.finish()
            finished(begun.pop())

    try:
        for slab in slabs:
            parts = [next(upload) for upload in uploads]
            result = work(slab, *parts)
            finish()
            downloads.begin(targets(slab, result))
            begun.append(slab)
            del parts, result
    finally:
        finish()


def _upload(
    device: Device, slabs: Sequence[slice], cut: Callable[[slice], Sequence[Array]], number: int
) -> Iterator[Array]:
    """Return one of the parts of each slab on the device."""
    return device.upload(cut(slab)[number] for slab in slabs)


def slab_length(device: Device, count: int, bytes_a_slice: int, host_bytes: int) -> int:
    """Return how many slices to begin with, each of so many bytes in all, and so many of the host's to be uploaded."""
    room = device.free_bytes() // SHARE // max(1, bytes_a_slice)
    if host_bytes:
        room = min(room, HOST_BYTES // host_bytes)
    return max(1, min(room, count))


def filtered(
    device: Device, image: Array, axes: Sequence[int], dtype: np.dtype[Any], work: Callable[[Array], Array]
) -> Array:
    """Return what a filter along `axes` makes of an array, where that lies.

    An array of the host is taken in slabs along its first axis, unless that is one of the axes.
    """
    on_host = isinstance(image, np.ndarray)
    if not on_host:
        return work(image)
    if not image.size or image.ndim < 2 or 0 in axes:
        return device.to_host(work(image))
    result = np.empty(image.shape, dtype)

    size = image[:1].nbytes
    length = slab_length(device, len(image), size + result[:1].nbytes, size)
    through_slabs(
        device,
        len(image),
        length,
        cut=lambda slab: [image[slab]],
        work=lambda _, part: work(part),
        targets=lambda slab, part: [(result[slab], part)],
    )
    return result
