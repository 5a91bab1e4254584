"""TIFF files: several pages, ImageJ hyperstacks, OME; plain data are read as boxes, compressed pages whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.errors import StackCorrError, VolumeError
from gpu_stackcorr.volumes.base import Volume
from gpu_stackcorr.volumes.checks import VoxelSize, check_channel, check_stack, merge_voxel_size
from gpu_stackcorr.volumes.indexing import Box
from gpu_stackcorr.volumes.raw import native, open_raw, read_box, unreadable
from gpu_stackcorr.volumes.tiff_directories import count_directories
from gpu_stackcorr.volumes.tiff_layout import read_layout
from gpu_stackcorr.volumes.tiff_voxel_size import read_voxel_size

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage


class TiffVolume(Volume):
    """One TIFF file as a volume.

    Values are as stored: neither inverted where white is zero, nor looked up in a palette. Of a file
    without a z axis, the one axis beside channel, y and x is taken for z (time points, or pages without a name).
    """

    def __init__(self, path: Path, *, channel: int | None = None, voxel_size: VoxelSize | None = None) -> None:
        self._planes = TiffPlanes(path, keep_open=True)
        try:
            layout = self._planes.layout
            shape = (layout.depth, *layout.plane)
            check_stack(path, shape, layout.dtype, layout.channels)
            super().__init__(
                path,
                format="TIFF",
                shape=shape,
                dtype=layout.dtype,
                voxel_size=merge_voxel_size(voxel_size, self._planes.voxel_size),
                channels=layout.channels,
                channel=check_channel(path, layout.channels, channel),
            )
        except BaseException:
            self._planes.close()
            raise

    def _read(self, box: Box) -> NDArray[Any]:
        out = np.empty([stop - start for start, stop in box], self._planes.stored)
        self._planes.read(box, self.channel, out)
        return native(out)

    def close(self) -> None:
        super().close()
        self._planes.close()


class TiffPlanes:
    """The slices of one TIFF file, one of which is all that a file of a sequence has.

    `layout`, `voxel_size` and `stored`, the dtype with the file's byte order where boxes come straight from the file,
    are known on opening; so is that the file is whole and its compression can be undone. `keep_open` keeps the file of
    a compressed stack open between reads: right for one file, wrong for a thousand.
    """

    def __init__(self, path: Path, *, keep_open: bool) -> None:
        self.path = path
        self._keep_open = keep_open
        self._lock = threading.Lock()
        self._tif: TiffFile | None = None
        self._pages: list[TiffPage | TiffFrame] = []
        self._offsets: list[int] | None = None
        self.directories = count_directories(path)
        with self._damage():
            tif = _open_tifffile(path)
            try:
                self.layout, self._pages, self._offsets = read_layout(path, tif, self.directories)
                self.voxel_size = read_voxel_size(tif)
                self.stored = self.layout.dtype
                if self._offsets is None:
                    _check_codec(path, self._pages[0])
                else:
                    self.stored = self.layout.dtype.newbyteorder(tif.byteorder)
            except BaseException:
                tif.close()
                raise
        if self._offsets is None and keep_open:
            self._tif = tif
        else:
            tif.close()
            self._pages = []

    @property
    def depth(self) -> int:
        """Slices."""
        return self.layout.depth

    @property
    def plane(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.layout.plane

    @property
    def channels(self) -> int:
        """Channels."""
        return self.layout.channels

    def read(self, box: Box, channel: int, out: NDArray[Any]) -> None:
        """Read a box of a channel into `out`, which has the size of the box and the dtype `stored`."""
        with self._damage():
            if self._offsets is not None:
                self._read_plain(self._offsets, box, channel, out)
            else:
                with self._lock:
                    self._read_decoded(box, channel, out)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._tif is not None:
                self._tif.close()
            self._tif, self._pages = None, []

    def _read_plain(self, offsets: list[int], box: Box, channel: int, out: NDArray[Any]) -> None:
        """Boxes straight from the file."""
        layout = self.layout
        y_axis, x_axis = layout.y_axis - layout.lead, layout.x_axis - layout.lead
        others = tuple(axis for axis in range(len(layout.within)) if axis not in (y_axis, x_axis))
        with open_raw(self.path) as file:
            for target, z in zip(out, range(*box[0]), strict=True):
                page, index = layout.locate(z, channel)
                ranges = [(position, position + 1) for position in index]
                ranges[y_axis], ranges[x_axis] = box[1], box[2]
                plane = target if y_axis < x_axis else target.T
                read_box(file, offsets[page], layout.within, ranges, np.expand_dims(plane, others))

    def _read_decoded(self, box: Box, channel: int, out: NDArray[Any]) -> None:
        """Crops of pages that are decoded whole; the caller holds the lock, for tifffile shares one position."""
        layout = self.layout
        tif = self._tif or _open_tifffile(self.path)
        try:
            pages = self._pages or read_layout(self.path, tif, self.directories)[1]
            number, array = -1, np.empty(0)
            for target, z in zip(out, range(*box[0]), strict=True):
                page, index = layout.locate(z, channel)
                if page != number:
                    number, array = page, pages[page].asarray().reshape(layout.within)
                where: list[int | slice] = list(index)
                where[layout.y_axis - layout.lead] = slice(*box[1])
                where[layout.x_axis - layout.lead] = slice(*box[2])
                plane = array[tuple(where)]
                target[...] = plane if layout.y_axis < layout.x_axis else plane.T
        finally:
            if tif is not self._tif:
                tif.close()

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Turn whatever tifffile and the codecs raise over a damaged file into one line."""
        try:
            yield
        except (StackCorrError, MemoryError):
            raise
        except Exception as error:
            raise unreadable(self.path, error, " as TIFF") from error


def _open_tifffile(path: Path) -> TiffFile:
    """tifffile's view of a file, with its log kept from the terminal.

    tifffile logs what it finds odd in a file; without a handler Python would print that to stderr. What matters becomes
    an error here, and an application that sets up logging still gets the rest.
    """
    from tifffile import TiffFile

    log = logging.getLogger("tifffile")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    return TiffFile(path)


def _check_codec(path: Path, page: TiffPage | TiffFrame) -> None:
    """Refuse, on opening, a compression that cannot be undone here."""
    keyframe = page.keyframe
    if keyframe is None:
        raise VolumeError(f"'{path}' is damaged: its first page cannot be read")
    try:
        keyframe.decode(None, 0)
    except (ValueError, NotImplementedError) as error:
        if "imagecodecs" not in str(error):
            raise
        name = getattr(keyframe.compression, "name", keyframe.compression)
        raise VolumeError(
            f"'{path}' is compressed with {name} (predictor {int(keyframe.predictor)}), which needs the extra \"io\": "
            'pip install "gpu_stackcorr[io]"'
        ) from error
