"""Takes a stack in slabs: as many slices as the device has room for, fewer where that was too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from gpu_stackcorr.backends.base import Array

from .device import Device

Result = TypeVar("Result")

SHARE = 4
"""One part in so many of the free memory is for a slab: two of the host's are on the device at once."""

HOST_BYTES = 1 << 27
"""Bytes of a slab of the host: small enough for the copy of the next one to hide behind the work on the last."""


def in_slabs(device: Device, slices: Array, bytes_a_slice: int, work: Callable[[int, Array], Result]) -> list[Result]:
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
    """
    length = _slab_length(device, slices, bytes_a_slice)
    results: list[tuple[int, Result]] = []
    while (start := sum(count for count, _ in results)) < len(slices):
        try:
            _take(device, slices, range(start, len(slices), length), work, results)
        except MemoryError:
            if length == 1:
                raise
            length = max(1, length // 2)
    return [result for _, result in results]


def _take(
    device: Device,
    slices: Array,
    starts: range,
    work: Callable[[int, Array], Result],
    results: list[tuple[int, Result]],
) -> None:
    """Append the length of each slab and what `work` makes of it. A slab is not kept while the next one is made."""
    parts = device.upload(slices[start : start + starts.step] for start in starts)
    for start in starts:
        part = next(parts)
        results.append((len(part), work(start, part)))
        del part


def _slab_length(device: Device, slices: Array, bytes_a_slice: int) -> int:
    """Return how many slices to begin with."""
    size = slices[:1].nbytes
    room = device.free_bytes() // SHARE // max(1, size + bytes_a_slice)
    if isinstance(slices, np.ndarray):
        room = min(room, HOST_BYTES // max(1, size))
    return max(1, min(room, len(slices)))
