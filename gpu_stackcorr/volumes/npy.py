"""NPY files: (Z, Y, X), or (Z, channel, Y, X) as the notebook keeps its stacks."""

from __future__ import annotations

import math
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.errors import VolumeError
from gpu_stackcorr.volumes.base import Volume
from gpu_stackcorr.volumes.checks import VoxelSize, check_channel, check_stack
from gpu_stackcorr.volumes.indexing import Box
from gpu_stackcorr.volumes.raw import native, open_raw, read_box, unreadable


class NpyVolume(Volume):
    """An NPY file of which boxes are read; C or Fortran order, any byte order.

    In Fortran order z runs fastest, so that a slab, however thin, takes a pass over the whole file: 16 s for 16 slices
    of a file of 4 GiB, where C order takes 0.04 s. The memory is that of the slab either way.
    """

    def __init__(self, path: Path, *, channel: int | None = None, voxel_size: VoxelSize | None = None) -> None:
        with open_raw(path) as file:
            full, fortran, dtype = _read_header(path, file)
            self._offset = file.tell()
            size = file.seek(0, 2)
        check_shape(path, full)
        shape = (full[0], full[-2], full[-1])
        channels = full[1] if len(full) == 4 else 1
        check_stack(path, shape, dtype, channels)
        needed = self._offset + math.prod(full) * dtype.itemsize
        if size < needed:
            raise VolumeError(f"'{path}' is truncated: {full} {dtype} needs {needed} bytes, the file has {size}")
        super().__init__(
            path,
            format="NPY",
            shape=shape,
            dtype=dtype,
            voxel_size=voxel_size,
            channels=channels,
            channel=check_channel(path, channels, channel),
        )
        self._full, self._fortran, self._stored = full, fortran, dtype

    def _read(self, box: Box) -> NDArray[Any]:
        out = np.empty([stop - start for start, stop in box], self._stored)
        ranges, target, shape = list(box), out, self._full
        if len(shape) == 4:
            ranges.insert(1, (self.channel, self.channel + 1))
            target = out[:, np.newaxis]
        if self._fortran:
            shape, ranges, target = shape[::-1], ranges[::-1], target.T
        with open_raw(self.path) as file:
            read_box(file, self._offset, shape, ranges, target)
        return native(out)


def check_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse what is not (Z, Y, X) or (Z, channel, Y, X)."""
    if len(shape) == 2:
        raise VolumeError(f"'{path}' holds one slice of {shape[0]} x {shape[1]}; a stack has at least 2 slices")
    if len(shape) not in (3, 4):
        raise VolumeError(f"'{path}' has shape {shape}; allowed are (z, y, x) and (z, channel, y, x)")
    if min(shape) == 0:
        raise VolumeError(f"'{path}' is empty: its shape is {shape}")


def _read_header(path: Path, file: FileIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, Fortran order, dtype), with the file left at the first byte of the data."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            # Version 3 exists for field names outside Latin-1, so it is a structured array, which is refused below.
            raise ValueError(f"NPY version {version[0]}.{version[1]} is not supported; allowed are 1.0 and 2.0")
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:
        # A damaged header raises almost anything: ValueError, SyntaxError, TokenError, UnicodeDecodeError...
        raise unreadable(path, error, " as NPY") from error
    if min(shape, default=0) < 0:
        raise VolumeError(f"cannot read '{path}' as NPY: its header has the shape {shape}")
    return shape, fortran, dtype
