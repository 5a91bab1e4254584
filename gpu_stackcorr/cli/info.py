"""``stackcorr info``: what is in a file, and what a report on it will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpu_stackcorr.errors import ParameterError

from .options import (
    DEFAULT_MEMORY,
    BackendName,
    Channel,
    CropRange,
    Json,
    Memory,
    Selection,
    Threads,
    VolumePath,
    VoxelSizeOption,
    ZRange,
)
from .report import cost, cost_in_words
from .screen import bytes_in_words, nm_in_words, say, say_json, voxels_in_words

if TYPE_CHECKING:
    from gpu_stackcorr.volumes import Volume


def info(
    volume: VolumePath,
    z: ZRange = None,
    crop: CropRange = None,
    channel: Channel = None,
    voxel_size: VoxelSizeOption = None,
    backend: BackendName = None,
    threads: Threads = None,
    memory: Memory = DEFAULT_MEMORY,
    as_json: Json = False,
) -> None:
    """Say what is in a file, and what a report on it will cost in time and memory."""
    from gpu_stackcorr.arrays import get_backend
    from gpu_stackcorr.report import ReportOptions

    options = ReportOptions(backend=backend, threads=threads, memory=memory)
    where = get_backend(backend).name
    with Selection(channel, z, crop, voxel_size).open(volume) as opened:
        try:
            found = cost(opened, options)
        except ParameterError as error:  # such as a constant first slice: what is in the file is known all the same
            price: dict[str, Any] = {"error": str(error)}
            phrase = f"not as it stands: {error}"
        else:
            price = {"seconds": found.seconds, "memory_bytes": found.memory, "backend": where}
            phrase = cost_in_words(found, where)
        if as_json:
            say_json({**_facts(opened), "report": price})
        else:
            _say_table({**_facts_in_words(opened), "a report": phrase})


def _facts(volume: Volume) -> dict[str, Any]:
    """Return what is in a file, for machines."""
    return {
        "path": str(volume.path),
        "format": volume.format,
        "shape": list(volume.shape),
        "dtype": volume.dtype.name,
        "bytes": volume.nbytes,
        "voxel_size_nm": None if volume.voxel_size is None else list(volume.voxel_size),
        "channels": volume.channels,
        "channel": volume.channel,
    }


def _facts_in_words(volume: Volume) -> dict[str, str]:
    """Return what is in a file, for people."""
    several = volume.channels > 1
    return {
        "path": str(volume.path),
        "format": volume.format,
        "shape": f"{voxels_in_words(volume.shape)} (z, y, x)",
        "dtype": volume.dtype.name,
        "size": bytes_in_words(volume.nbytes),
        "voxel size": nm_in_words(volume.voxel_size),
        "channels": f"{volume.channels}, of which channel {volume.channel} is read" if several else "1",
    }


def _say_table(facts: dict[str, str]) -> None:
    """Write names and facts in two columns."""
    width = max(map(len, facts))
    for name, fact in facts.items():
        say(f"{name:<{width}}  {fact}")
