"""PNG images, as slices of a sequence: 1-bit, 8-bit and 16-bit grey, and 8-bit colour, whose samples are channels."""

from __future__ import annotations

import struct
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.errors import StackCorrError, VolumeError
from gpu_stackcorr.volumes.checks import VoxelSize
from gpu_stackcorr.volumes.indexing import Box
from gpu_stackcorr.volumes.raw import unreadable

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# Colour type of the header to samples a pixel. Type 3 is a palette, whose numbers are no intensities.
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


class PngImage:
    """One PNG image. Opening reads its header and checks that its last chunk is there; Pillow decodes."""

    depth = 1
    voxel_size: VoxelSize | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                width, height, bits, colour = _header(path, file)
                _check_end(path, file)
        except OSError as error:
            if isinstance(error, VolumeError):
                raise
            raise unreadable(path, error) from error
        if colour not in _CHANNELS:
            raise VolumeError(f"'{path}' is a PNG image with a palette; convert it to grey")
        if bits == 16 and colour != 0:
            # Pillow would keep the upper 8 bits of each sample without a word.
            raise VolumeError(
                f"'{path}' is a PNG image of 16-bit colour, which cannot be read; save its channels as grey"
            )
        self.plane = (height, width)
        self.channels = _CHANNELS[colour]
        self.dtype: np.dtype[Any] = np.dtype({1: np.bool_, 16: np.uint16}.get(bits, np.uint8))
        self.stored = self.dtype

    def read(self, box: Box, channel: int, out: NDArray[Any]) -> None:
        """Read a box of a channel, one slice deep, into `out`."""
        # Not Image.open, which refuses images of 179 megapixels and more: slices may well be of that size.
        from PIL.PngImagePlugin import PngImageFile

        try:
            with PngImageFile(self.path) as image:
                array = np.asarray(image)
        except (StackCorrError, MemoryError):
            raise
        except Exception as error:
            raise unreadable(self.path, error, " as PNG") from error
        plane = array[..., channel] if array.ndim == 3 else array
        if plane.shape != self.plane:
            raise VolumeError(f"'{self.path}' has changed: it was {self.plane}, and is {plane.shape}")
        out[...] = plane[slice(*box[1]), slice(*box[2])]

    def close(self) -> None:
        """Nothing is kept open."""


def _header(path: Path, file: BufferedReader) -> tuple[int, int, int, int]:
    """(width, height, bits a sample, colour type)."""
    head = file.read(33)
    if head[:8] != _SIGNATURE or head[12:16] != b"IHDR" or len(head) < 33:
        raise VolumeError(f"'{path}' is not a PNG image: it begins with {head[:8]!r}")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    return width, height, bits, colour


def _check_end(path: Path, file: BufferedReader) -> None:
    """Refuse a truncated image: the last chunk ends the file, or else the chunks are walked to it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - len(_END)))
    if file.read() == _END:
        return
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        file.seek(position)
        chunk = file.read(8)
        length, kind = struct.unpack(">I4s", chunk) if len(chunk) == 8 else (0, b"")
        position += length + 12
        if position > size:
            raise VolumeError(f"'{path}' is truncated: a PNG image has an IEND chunk at its end")
