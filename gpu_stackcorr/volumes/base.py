"""The interface of every volume: shape, dtype, voxel size, and `read(box)`.

A `Volume` knows what is in a file and reads only the box that is asked for. A format is a module beside this one with a
subclass that fills in `_read`, and one line in the table of `gpu_stackcorr.volumes`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.errors import ParameterError, VolumeError
from gpu_stackcorr.volumes.checks import VoxelSize, simplify_voxel_size
from gpu_stackcorr.volumes.indexing import (
    AXES,
    Box,
    Index,
    Range,
    Shape,
    axis_index,
    check_box,
    crop_range,
    expand_index,
    show_range,
    span,
    within,
)


class Volume(ABC):
    """A stack of slices on disk, of which only what is asked for is read.

    A volume can stand wherever a (Z, Y, X) stack is expected: it has `shape`, `ndim`, `dtype` and `len`, and
    ``volume[3]`` is a slice, ``volume[10:20]`` a slab and ``volume[..., :100, :]`` a crop, each a new NumPy array.
    Several threads may read at once.

    Attributes
    ----------
    path : Path
        The file, the folder or the glob pattern.
    format : str
        "NPY", "TIFF", "TIFF sequence" or "PNG sequence".
    shape : tuple of int
        (Z, Y, X), of the channel that is read.
    dtype : numpy.dtype
        Of what `read` returns; always in the machine's own byte order, whatever the file's.
    voxel_size : tuple or None
        (z, y, x) in nm; an axis that is not known is None, and so is the whole where no axis is known.
    channels : int
        How many channels the file has.
    channel : int
        The one that is read, counted from 0.
    """

    def __init__(
        self,
        path: Path,
        *,
        format: str,
        shape: Shape,
        dtype: DTypeLike,
        voxel_size: VoxelSize | None = None,
        channels: int = 1,
        channel: int = 0,
    ) -> None:
        self.path = path
        self.format = format
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
        self.voxel_size = simplify_voxel_size(voxel_size)
        self.channels = channels
        self.channel = channel
        self._closed = False

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def nbytes(self) -> int:
        """Bytes of the whole volume once read (one channel)."""
        return math.prod(self.shape) * self.dtype.itemsize

    @abstractmethod
    def _read(self, box: Box) -> NDArray[Any]:
        """The box as a C-contiguous array in native byte order; the box has been checked."""

    def read(self, box: Box) -> NDArray[Any]:
        """Read one box.

        Parameters
        ----------
        box : tuple
            ((z0, z1), (y0, y1), (x0, x1)), in voxels, each with 0 <= start <= stop <= size.

        Returns
        -------
        numpy.ndarray
            (z1 - z0, y1 - y0, x1 - x0), C-contiguous, writeable, in native byte order; the caller's own.

        Raises
        ------
        ParameterError
            Where the box does not lie within the volume.
        VolumeError
            Where the file cannot be read, or the volume was closed.
        """
        checked = check_box(box, self.shape)
        if self._closed:
            raise VolumeError(f"cannot read '{self.path}': the volume has been closed")
        if any(start == stop for start, stop in checked):
            return np.empty([stop - start for start, stop in checked], self.dtype)
        return self._read(checked)

    def crop(self, *, z: Range = None, y: Range = None, x: Range = None) -> Volume:
        """A volume restricted to a box; nothing is read.

        Parameters
        ----------
        z, y, x : slice or tuple, optional
            (start, stop) along the axis, or a slice of step 1; None, as a whole or as an end, keeps all. Negative ends
            count from the far side.

        Returns
        -------
        Volume
            A view that reads from this volume; closing either closes both.

        Raises
        ------
        ParameterError
            Where a range is empty or reaches outside the volume, or fewer than two slices are left.
        """
        ranges = (z, y, x)
        box = [crop_range(*item) for item in zip(AXES, ranges, self.shape, strict=True)]
        if box[0][1] - box[0][0] < 2:
            raise ParameterError(
                f"z={show_range(z)} leaves one slice of {self.shape[0]}; a stack has at least 2 slices"
            )
        return Crop(self, (box[0], box[1], box[2]))

    def close(self) -> None:
        """Release the file. A closed volume keeps its attributes, and reads no more."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[z] for z in range(len(self)))

    def __getitem__(self, index: Index | tuple[Index, ...]) -> NDArray[Any]:
        axes = [
            axis_index(item, size, axis)
            for axis, (item, size) in enumerate(zip(expand_index(index), self.shape, strict=True))
        ]
        ranges = [span(axis) for axis in axes]
        box: Box = (ranges[0], ranges[1], ranges[2])
        part: list[int | slice] = [within(axis, start) for axis, (start, _) in zip(axes, box, strict=True)]
        z = axes[0]
        if isinstance(z, range) and abs(z.step) > 1:
            # One slice in every fifty is wanted, so one slice in every fifty is read.
            planes = [self.read(((i, i + 1), box[1], box[2]))[0, part[1], part[2]] for i in z]
            return np.stack(planes) if planes else self.read(box)[:, part[1], part[2]]
        array: NDArray[Any] = self.read(box)[tuple(part)]
        return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"the volume '{self.path}' lies on disk and cannot become an array without a copy")
        whole = self.read(((0, self.shape[0]), (0, self.shape[1]), (0, self.shape[2])))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        shape = " x ".join(str(size) for size in self.shape)
        channel = f", channel {self.channel} of {self.channels}" if self.channels > 1 else ""
        voxel = "unknown" if self.voxel_size is None else f"{_show_voxel_size(self.voxel_size)} nm"
        return (
            f"<{self.format} volume '{self.path}': {shape} (z, y, x) {self.dtype}, "
            f"{_show_bytes(self.nbytes)}{channel}, voxel size {voxel}>"
        )


class Crop(Volume):
    """A box of another volume, as a volume."""

    def __init__(self, source: Volume, box: Box) -> None:
        shape = (box[0][1] - box[0][0], box[1][1] - box[1][0], box[2][1] - box[2][0])
        super().__init__(
            source.path,
            format=source.format,
            shape=shape,
            dtype=source.dtype,
            voxel_size=source.voxel_size,
            channels=source.channels,
            channel=source.channel,
        )
        self._source = source
        self.box = box

    def _read(self, box: Box) -> NDArray[Any]:
        (z, _), (y, _), (x, _) = self.box
        (z0, z1), (y0, y1), (x0, x1) = box
        return self._source.read(((z + z0, z + z1), (y + y0, y + y1), (x + x0, x + x1)))

    def close(self) -> None:
        super().close()
        self._source.close()


def _show_voxel_size(voxel_size: VoxelSize) -> str:
    """z x y x x, a question mark where an axis is not known."""
    return " x ".join("?" if size is None else f"{size:g}" for size in voxel_size)


def _show_bytes(count: int) -> str:
    """Bytes in the largest binary unit that leaves at least one."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.3g} {units[0]}" if units[0] != "bytes" else f"{count} bytes"
