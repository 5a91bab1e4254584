"""A folder, or a glob pattern, of numbered TIFF or PNG images: one slice each, in natural order."""

from __future__ import annotations

import glob
import itertools
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.errors import VolumeError
from gpu_stackcorr.volumes.base import Volume
from gpu_stackcorr.volumes.checks import VoxelSize, check_channel, check_stack, merge_voxel_size
from gpu_stackcorr.volumes.indexing import Box
from gpu_stackcorr.volumes.png import PngImage
from gpu_stackcorr.volumes.raw import native, unreadable
from gpu_stackcorr.volumes.tiff import TiffPlanes

_log = logging.getLogger(__name__)

_NUMBER = re.compile("([0-9]+)")
# Images that are not read, but make it doubtful which of the files in a folder are the stack.
_OTHER_IMAGES = frozenset({".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".webp"})


class Image(Protocol):
    """What a sequence needs of an image of any format."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def stored(self) -> np.dtype[Any]:
        """The dtype of what `read` fills, in the byte order of the file."""

    @property
    def depth(self) -> int:
        """Slices; has to be 1."""

    @property
    def plane(self) -> tuple[int, int]:
        """(Y, X)."""

    @property
    def channels(self) -> int:
        """Channels."""

    @property
    def voxel_size(self) -> VoxelSize | None:
        """(z, y, x) in nm."""

    def read(self, box: Box, channel: int, out: NDArray[Any]) -> None:
        """Read a box, one slice deep, of a channel."""


def _open_tiff(path: Path) -> Image:
    """A TIFF image that is closed between reads."""
    return TiffPlanes(path, keep_open=False)


# Suffix to the name of the format and what opens one image of it.
IMAGES: dict[str, tuple[str, Callable[[Path], Image]]] = {
    ".tif": ("TIFF", _open_tiff),
    ".tiff": ("TIFF", _open_tiff),
    ".png": ("PNG", PngImage),
}


class SequenceVolume(Volume):
    """Numbered images as a volume. Opening reads every header and no pixel."""

    def __init__(self, path: Path, *, channel: int | None = None, voxel_size: VoxelSize | None = None) -> None:
        files = _list_files(path)
        name, open_image = _one_format(path, files)
        files.sort(key=natural_key)
        _warn_of_gaps(path, files)
        images = _open_alike(files, open_image)
        first = images[0]
        shape = (len(images), *first.plane)
        check_stack(path, shape, first.stored, first.channels)
        super().__init__(
            path,
            format=f"{name} sequence",
            shape=shape,
            dtype=first.stored,
            voxel_size=merge_voxel_size(voxel_size, first.voxel_size),
            channels=first.channels,
            channel=check_channel(path, first.channels, channel),
        )
        self._images = images

    def _read(self, box: Box) -> NDArray[Any]:
        (z0, z1), rows, columns = box
        out = np.empty([stop - start for start, stop in box], self.dtype)
        for position, image in enumerate(self._images[z0:z1]):
            # The byte order may differ from file to file.
            target = out[position : position + 1].view(image.stored)
            image.read(((0, 1), rows, columns), self.channel, target)
            native(target)
        return out


def natural_key(path: Path) -> tuple[list[tuple[str, int]], str]:
    """A key by which 2 comes before 10: text and numbers in turn, then the name as it is.

    >>> sorted([Path("z10.tif"), Path("z2.tif")], key=natural_key)[0].name
    'z2.tif'
    """
    pieces = _NUMBER.split(str(path.with_suffix("")).lower())
    pairs = itertools.zip_longest(pieces[::2], pieces[1::2], fillvalue="-1")
    return [(text, int(number)) for text, number in pairs], str(path)


def _list_files(path: Path) -> list[Path]:
    """The images of a folder, or what a pattern matches; hidden files are left out."""
    try:
        if path.is_dir():
            found: Iterable[Path] = [item for item in path.iterdir() if not item.name.startswith(".")]
            known = IMAGES.keys() | _OTHER_IMAGES
            files = [item for item in found if item.suffix.lower() in known and item.is_file()]
        else:
            # Unlike Path.glob, this takes absolute patterns and leaves hidden files out.
            names = glob.glob(str(path), recursive=True)  # noqa: PTH207
            files = [item for item in map(Path, names) if item.is_file()]
    except OSError as error:
        raise unreadable(path, error) from error
    if not files:
        what = "holds no TIFF or PNG image" if path.is_dir() else "matches no file"
        raise VolumeError(f"'{path}' {what}")
    return files


def _one_format(path: Path, files: Sequence[Path]) -> tuple[str, Callable[[Path], Image]]:
    """The format of all the files, which has to be one."""
    counts = Counter(IMAGES[suffix][0] if suffix in IMAGES else suffix or "no suffix" for suffix in _suffixes(files))
    readable = IMAGES.get(next(_suffixes(files)))
    if len(counts) > 1:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in counts.most_common())
        raise VolumeError(f"'{path}' mixes formats ({kinds}); choose one by a pattern, such as '*.tif'")
    if readable is None:
        raise VolumeError(f"'{path}' has files of {next(iter(counts))}; a sequence is read from {', '.join(IMAGES)}")
    return readable


def _suffixes(files: Iterable[Path]) -> Iterator[str]:
    """Suffixes in lower case."""
    return (file.suffix.lower() for file in files)


def _open_alike(files: Sequence[Path], open_image: Callable[[Path], Image]) -> list[Image]:
    """The images, all of one size, dtype and number of channels."""
    images: list[Image] = []
    for file in files:
        image = open_image(file)
        if image.depth != 1:
            raise VolumeError(
                f"'{file}' has {image.depth} slices, where a sequence has one an image; open it by itself"
            )
        images.append(image)
        if _describe(image) != _describe(images[0]):
            raise VolumeError(f"'{file}' is {_describe(image)}, but '{files[0]}' is {_describe(images[0])}")
    return images


def _describe(image: Image) -> str:
    """What has to be alike in all images of a stack."""
    channels = f" with {image.channels} channels" if image.channels > 1 else ""
    return f"{image.plane[0]} x {image.plane[1]} {image.stored.newbyteorder('=')}{channels}"


def _warn_of_gaps(path: Path, files: Sequence[Path]) -> None:
    """Log numbers that are missing from, or double in, the one number of the names that counts."""
    splits = [_NUMBER.split(file.stem) for file in files]
    if len({tuple(pieces[::2]) for pieces in splits}) > 1:
        return
    varying = [column for column in zip(*(pieces[1::2] for pieces in splits), strict=True) if len(set(column)) > 1]
    if len(varying) != 1:
        return
    numbers = sorted(int(text) for text in varying[0])
    double = [number for number, count in Counter(numbers).items() if count > 1]
    if double:
        _log.warning("'%s' has the number %d more than once", path, double[0])
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    step = math.gcd(*steps)
    missing = sum(gap // step - 1 for gap in steps if gap)
    if missing:
        absent = (n for a, b in itertools.pairwise(numbers) for n in range(a + step, b, step))
        names = ", ".join(map(str, itertools.islice(absent, 10))) + (", ..." if missing > 10 else "")
        _log.warning("'%s' lacks %d numbers of its sequence: %s", path, missing, names)
