"""Volumes on disk, read box by box: `open_volume` chooses the format by the path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gpu_stackcorr.errors import InputTypeError, ParameterError, VolumeError
from gpu_stackcorr.volumes.base import Volume
from gpu_stackcorr.volumes.checks import VoxelSize, check_voxel_size
from gpu_stackcorr.volumes.npy import NpyVolume
from gpu_stackcorr.volumes.raw import unreadable
from gpu_stackcorr.volumes.sequence import IMAGES, SequenceVolume
from gpu_stackcorr.volumes.tiff import TiffVolume

__all__ = ["Volume", "open_volume"]

# A new format is a module beside this one and a line here. Its libraries are imported on first use.
_FILES: dict[str, Callable[..., Volume]] = {
    ".npy": NpyVolume,
    ".tif": TiffVolume,
    ".tiff": TiffVolume,
}


def open_volume(
    path: str | os.PathLike[str],
    *,
    channel: int | None = None,
    voxel_size: float | VoxelSize | None = None,
) -> Volume:
    """Open a stack of slices without reading it.

    Parameters
    ----------
    path : str or path
        One of: an NPY file of shape (z, y, x) or (z, channel, y, x), in C or Fortran order; a TIFF file of several
        pages, an ImageJ hyperstack or OME-TIFF; a folder of TIFF or PNG images, one slice each, taken in natural order
        (2 before 10); or a glob pattern of such images, ``"data/*.tif"``. Values are bool, integers of 8 to 64 bits,
        float32 or float64, in any byte order.
    channel : int, optional
        Which channel to read, counted from 0. Has to be given where there are several; the samples of colour images are
        channels.
    voxel_size : float or tuple, optional
        (z, y, x) in nm, or one number for all three; goes before what the file says. None stands for an axis to be
        taken from the file.

    Returns
    -------
    Volume
        With `shape`, `dtype`, `voxel_size` and `read(box)`; it can stand for a (Z, Y, X) array. Use it in a ``with``
        statement, or call its `close`.

    Raises
    ------
    VolumeError
        Where the path does not exist, may not be read, is of no supported format, is truncated or damaged, or holds
        fewer than two slices, or images that differ in size or dtype.
    ParameterError
        Where `channel` or `voxel_size` has a value that is not allowed, or a channel has to be chosen.
    InputTypeError
        Where `path` is not a path.

    Notes
    -----
    The voxel size of a TIFF file is that of OME (PhysicalSizeX, Y, Z), else of ImageJ (unit, spacing, resolution), else
    of the resolution fields, which know nothing of z. Sizes from pixels an inch or centimetre count only below 10 um:
    larger ones are those of screens and printers.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/stack.npy", np.arange(24.0).reshape(2, 3, 4))
    ...     with open_volume(f"{folder}/stack.npy", voxel_size=(50, 4.6, 4.6)) as volume:
    ...         print(volume.shape, volume.dtype, volume.voxel_size)
    ...         print(volume[1, :2, 2:])
    (2, 3, 4) float64 (50.0, 4.6, 4.6)
    [[14. 15.]
     [18. 19.]]
    """
    where = _check_path(path)
    chosen = check_voxel_size(voxel_size)
    return _opener(where)(where, channel=channel, voxel_size=chosen)


def _check_path(path: str | os.PathLike[str]) -> Path:
    """The path; an empty one would be the working folder."""
    if not isinstance(path, str | os.PathLike):
        raise InputTypeError(f"path={path!r} is not a path; allowed are a string and a path object")
    if not os.fspath(path):
        raise ParameterError("path='' is empty")
    return Path(path)


def _opener(path: Path) -> Callable[..., Volume]:
    """What opens a path."""
    try:
        exists, folder, regular = path.exists(), path.is_dir(), path.is_file()
    except OSError as error:
        raise unreadable(path, error) from error
    if not exists and not set(str(path)).isdisjoint("*?["):
        return SequenceVolume
    if not exists:
        raise VolumeError(f"'{path}' does not exist")
    if folder:
        return SequenceVolume
    if not regular:
        raise VolumeError(f"'{path}' is neither a file nor a folder")
    suffix = path.suffix.lower()
    if suffix in _FILES:
        return _FILES[suffix]
    if suffix in IMAGES:
        raise VolumeError(f"'{path}' holds one slice; open its folder, or a pattern such as '*{path.suffix}'")
    raise VolumeError(
        f"'{path}' has the suffix '{path.suffix}', which is not supported; supported are {', '.join(_FILES)}, "
        f"and a folder or a glob pattern of images ({', '.join(IMAGES)})"
    )
