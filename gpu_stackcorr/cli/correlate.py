"""``stackcorr correlate``: the table of correlations with a reference slice, for scripts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .files import replacing
from .options import (
    DEFAULT_MEMORY,
    BackendName,
    Channel,
    Ci,
    Confidence,
    CropRange,
    Json,
    Memory,
    Reference,
    Seed,
    Selection,
    Threads,
    VolumePath,
    VoxelSizeOption,
    ZRange,
    read_transform,
)
from .screen import note, progress, say

if TYPE_CHECKING:
    from gpu_stackcorr.records import Battery

FORMATS = (".csv", ".json")


def _check_table(path: Path | None) -> Path | None:
    """Refuse a file of which the format is not known."""
    if path is not None and path.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"'{path}' ends in {path.suffix!r}: allowed are {' and '.join(FORMATS)}")
    return path


Table = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=_check_table,
        metavar="FILE",
        help="File to write, .csv or .json; standard output unless given.",
    ),
]
TransformNames = Annotated[
    list[str] | None,
    typer.Option(
        "--transform",
        "-t",
        metavar="NAME",
        help="What is done to each slice: identity, flip-right-left, flip-up-down, rotate-90, noise=MAGNITUDE (in "
        "standard deviations of the slice), elastic=ALPHA,SIGMA (in pixels), or several joined by +. May be repeated; "
        "identity unless given.",
        show_default=False,
    ),
]


def correlate(
    volume: VolumePath,
    output: Table = None,
    transform: TransformNames = None,
    reference: Reference = 0,
    confidence: Confidence = 0.95,
    ci: Ci = "tiles",
    z: ZRange = None,
    crop: CropRange = None,
    channel: Channel = None,
    voxel_size: VoxelSizeOption = None,
    backend: BackendName = None,
    threads: Threads = None,
    memory: Memory = DEFAULT_MEMORY,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Write a table of each slice's correlation with a reference slice, for every transform."""
    from gpu_stackcorr.pipeline import correlate_volume

    transforms = [read_transform(name) for name in transform or ["identity"]]
    with Selection(channel, z, crop, voxel_size).open(volume) as opened, _destination(output) as file:
        with progress("correlating") as callback:
            battery = correlate_volume(
                opened,
                transforms,
                reference=reference,
                ci=None if ci == "none" else ci,
                seed=seed,
                backend=backend,
                threads=threads,
                memory=memory,
                progress=callback,
            )
        if output is not None and file is not None:
            in_file = _text(battery, confidence, as_json=output.suffix.lower() == ".json")
            file.write_text(in_file, encoding="utf-8")
    drawn = {result.seed for result in battery.values()} - {None, seed}
    for value in sorted(filter(None, drawn)):
        note(f"seed: {value}")
    if as_json or output is None:
        say(_text(battery, confidence, as_json=as_json).rstrip("\n"))
    else:
        say(f"{output}: {sum(map(len, battery.values()))} rows")


def _destination(path: Path | None) -> AbstractContextManager[Path | None]:
    """Return a context with the file to write to, or with None for standard output alone."""
    return nullcontext() if path is None else replacing(path)


def _text(table: Battery, confidence: float, *, as_json: bool) -> str:
    """Return a table as the words that a file would have."""
    if as_json:
        return table.to_json(confidence_level=confidence) + "\n"
    return table.to_csv(confidence_level=confidence)
