"""Boxes of uncompressed arrays, read from the file with plain reads.

A memory map would be shorter. Measured on a 4 GiB NPY file (512 x 1024 x 1024 float64) read once from end to end, as
the peak resident memory above that of the imports: with one map kept open 4104 MiB slice by slice and 4224 MiB in slabs
of 16 slices, because every page that was touched stays resident; with a new map for each slab 16 and 256 MiB, because
the slab is resident twice; with plain reads 8 and 128 MiB, which is the slab and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.errors import VolumeError

# Below this many bytes in a row, a whole block of rows is read and cut, above it each row is read alone: a call to the
# system costs about what copying 32 KiB does.
_SHORT_ROW = 32 * 1024
_SCRATCH = 4 * 1024 * 1024


def read_box(
    file: FileIO, offset: int, shape: Sequence[int], ranges: Sequence[tuple[int, int]], out: NDArray[Any]
) -> None:
    """Read a box of a C-ordered array that starts at a byte offset of a file.

    `out` has the dtype of the file (its byte order too), one axis for each of `shape` and the sizes of `ranges`; it may
    be strided, so that axes are permuted on the way. No more than 4 MiB, or one row, is held beside it.
    """
    row = math.prod(shape[1:]) * out.dtype.itemsize
    start = offset + ranges[0][0] * row if shape else offset
    whole_rows = all(wanted == (0, size) for wanted, size in zip(ranges[1:], shape[1:], strict=True))
    if whole_rows and out.flags.c_contiguous:
        _fill(file, start, out)
    elif len(shape) > 1 and row > _SHORT_ROW:
        for index in range(out.shape[0]):
            read_box(file, start + index * row, shape[1:], ranges[1:], out[index])
    else:
        _read_rows(file, start, shape[1:], ranges[1:], out)


def _read_rows(
    file: FileIO, start: int, inner: Sequence[int], ranges: Sequence[tuple[int, int]], out: NDArray[Any]
) -> None:
    """Rows read whole, a few at a time, and cut to the ranges."""
    row = math.prod(inner) * out.dtype.itemsize
    step = max(1, _SCRATCH // row)
    cut = tuple(slice(*wanted) for wanted in ranges)
    for first in range(0, out.shape[0], step):
        count = min(step, out.shape[0] - first)
        scratch = np.empty((count, *inner), out.dtype)
        _fill(file, start + first * row, scratch)
        out[first : first + count] = scratch[(slice(None), *cut)]


def _fill(file: FileIO, start: int, out: NDArray[Any]) -> None:
    """Fill a C-contiguous array with the bytes from `start` on."""
    file.seek(start)
    view = out.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        # One call moves 2 GiB at most on Linux.
        count = file.readinto(view[done:])
        if not count:
            raise VolumeError(
                f"'{file.name}' ends at byte {start + done}, before what was to be read: was it cut short?"
            )
        done += count


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the machine's own byte order, swapped in place where it has to be."""
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))


def open_raw(path: Path) -> FileIO:
    """The file, unbuffered; opened for each read, so that threads share no position."""
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException, what: str = "") -> VolumeError:
    """One line from an error of the system or of a format's library."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return VolumeError(f"cannot read '{path}'{what}: {' '.join(reason.split())}")
