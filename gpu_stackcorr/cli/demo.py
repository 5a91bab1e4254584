"""``stackcorr demo``: the report of a phantom made on the spot, whose correlation is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .ahead import compiling_ahead
from .files import directory, replacing
from .options import DEFAULT_MEMORY, BackendName, Json, Memory, Threads, number, read_seed, whole
from .report import Output, run
from .screen import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VOXEL_NM = 8.0
"""Edge of a voxel of the phantom, at which its membranes are as thick as in FIB-SEM."""

DTYPE = "uint8"
"""Of the phantom."""


def demo(
    output: Output,
    slices: Annotated[int, typer.Option(parser=whole(2), metavar="N", help="Slices of the phantom.")] = 64,
    size: Annotated[int, typer.Option(parser=whole(32), metavar="PIXELS", help="Height and width of a slice.")] = 512,
    correlation_length: Annotated[
        float, typer.Option(parser=number(1, 1e6), metavar="SLICES", help="Distance at which the correlation is 1/e.")
    ] = 12.0,
    elastic: Annotated[
        bool, typer.Option("--elastic/--no-elastic", help="Compare elastically deformed slices as well.")
    ] = True,
    backend: BackendName = None,
    threads: Threads = None,
    memory: Memory = DEFAULT_MEMORY,
    seed: Annotated[
        int, typer.Option(parser=read_seed, metavar="N", help="Seed of the phantom, noise and fields.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Make a phantom with a known correlation, and report on it."""
    from gpu_stackcorr.phantoms import phantom_correlation
    from gpu_stackcorr.report import ReportOptions
    from gpu_stackcorr.volumes import open_volume

    options = ReportOptions(elastic=elastic, seed=seed, backend=backend, threads=threads, memory=memory)
    path = output / "phantom.tif"
    with directory(output), compiling_ahead(DTYPE, options):
        write_phantom(path, (slices, size, size), correlation_length, seed)
        try:
            with open_volume(path) as volume:
                run(
                    volume,
                    output,
                    options,
                    expected=lambda distance: phantom_correlation(distance, correlation_length=correlation_length),
                    as_json=as_json,
                )
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def write_phantom(path: Path, shape: tuple[int, int, int], correlation_length: float, seed: int) -> None:
    """Write a phantom as an ImageJ TIFF that knows its voxel size, a slice at a time."""
    import tifffile

    from gpu_stackcorr.phantoms import phantom_slices

    images = phantom_slices(shape, correlation_length=correlation_length, seed=seed)
    with replacing(path) as partial, progress("making the phantom") as moved:

        def counted() -> Iterator[NDArray[np.uint8]]:
            for done, image in enumerate(images, 1):
                yield image
                moved(done, shape[0])

        tifffile.imwrite(
            partial,
            counted(),
            shape=shape,
            dtype=DTYPE,
            imagej=True,
            resolution=(1 / VOXEL_NM, 1 / VOXEL_NM),
            metadata={"axes": "ZYX", "spacing": VOXEL_NM, "unit": "nm"},
        )
