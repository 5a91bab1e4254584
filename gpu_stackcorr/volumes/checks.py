"""What every format checks alike: dtype, size, channel, voxel size."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from gpu_stackcorr.errors import ParameterError, VolumeError

VoxelSize = tuple[float | None, float | None, float | None]

_DTYPES = frozenset(
    np.dtype(name)
    for name in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()  # noqa: SIM905
)


def check_stack(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], channels: int = 1) -> None:
    """Refuse dtypes that nothing here computes with, empty stacks and single slices."""
    if dtype.newbyteorder("=") not in _DTYPES:
        raise VolumeError(
            f"'{path}' holds {dtype}, which cannot be read as a volume; allowed are bool, integers of 8 to 64 bits, "
            "float32 and float64"
        )
    if 0 in shape:
        raise VolumeError(f"'{path}' is empty: its shape is {shape}")
    if shape[0] == 1:
        message = f"'{path}' holds one slice of {shape[1]} x {shape[2]}; a stack has at least 2 slices"
        if channels > 1:
            message += f". It has {channels} channels: if those are its slices, save it again with axes 'ZYX'"
        raise VolumeError(message)


def check_channel(path: Path, channels: int, channel: int | None) -> int:
    """The channel to read; with several, one has to be chosen."""
    if channel is None:
        if channels > 1:
            raise ParameterError(
                f"channel=None, but '{path}' has {channels} channels: choose one of {_show_channels(channels)}"
            )
        return 0
    if isinstance(channel, bool) or not isinstance(channel, SupportsIndex):
        raise ParameterError(f"channel={channel!r} is not an integer; '{path}' has {_show_channels(channels)}")
    chosen = operator.index(channel)
    if not 0 <= chosen < channels:
        raise ParameterError(f"channel={channel} does not exist; '{path}' has {_show_channels(channels)}")
    return chosen


def check_voxel_size(voxel_size: object) -> VoxelSize | None:
    """The caller's voxel size as (z, y, x) in nm."""
    if voxel_size is None:
        return None
    entries: tuple[Any, ...] = ()
    if isinstance(voxel_size, int | float | np.number):
        entries = (voxel_size,) * 3
    elif isinstance(voxel_size, Sequence | np.ndarray) and not isinstance(voxel_size, str | bytes):
        entries = tuple(voxel_size)
    try:
        sizes = [None if entry is None else float(entry) for entry in entries]
    except (TypeError, ValueError):
        sizes = []
    if len(sizes) != 3 or not all(size is None or (math.isfinite(size) and size > 0) for size in sizes):
        raise ParameterError(
            f"voxel_size={voxel_size!r} is not a size; allowed are one positive number or three (z, y, x), in nm, "
            "with None for an axis that the file knows"
        )
    return sizes[0], sizes[1], sizes[2]


def merge_voxel_size(chosen: VoxelSize | None, found: VoxelSize | None) -> VoxelSize | None:
    """What the caller gave, and what the file says where the caller gave nothing."""
    if chosen is None or found is None:
        return chosen if found is None else found
    merged = [a if a is not None else b for a, b in zip(chosen, found, strict=True)]
    return merged[0], merged[1], merged[2]


def simplify_voxel_size(voxel_size: VoxelSize | None) -> VoxelSize | None:
    """None where no axis is known."""
    return None if voxel_size is None or all(size is None for size in voxel_size) else voxel_size


def _show_channels(channels: int) -> str:
    """The channels by number."""
    if channels <= 8:
        return "channel " + ", ".join(str(channel) for channel in range(channels))
    return f"channels 0 to {channels - 1}"
