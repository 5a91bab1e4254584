"""``stackcorr report``: the whole analysis of a volume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .ahead import compiling_ahead
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
    number,
    whole,
)
from .screen import bytes_in_words, progress, say, say_json, seconds_in_words, voxels_in_words

if TYPE_CHECKING:
    from gpu_stackcorr.pipeline import Cost
    from gpu_stackcorr.report import ReportOptions
    from gpu_stackcorr.volumes import Volume

MOST_NAMED = 10
"""Slices that are named one by one."""

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to; made where it is not there.")
]
Alpha = Annotated[
    float,
    typer.Option(parser=number(0), metavar="PIXELS", help="Scale of the elastic deformation."),
]
Sigma = Annotated[
    float,
    typer.Option(parser=number(0), metavar="PIXELS", help="Smoothness of the elastic deformation."),
]


def report(
    volume: VolumePath,
    output: Output,
    reference: Reference = 0,
    alpha: Alpha = 250.0,
    sigma: Sigma = 10.0,
    elastic: Annotated[
        bool, typer.Option("--elastic/--no-elastic", help="Compare elastically deformed slices as well.")
    ] = True,
    pairs: Annotated[
        bool, typer.Option("--pairs/--no-pairs", help="Compare all pairs of slices as well: more reading, more time.")
    ] = True,
    max_shift: Annotated[
        int | None,
        typer.Option(
            parser=whole(0),
            metavar="PIXELS",
            help="Draw the largest correlation over shifts of each slice by up to so much as well.",
        ),
    ] = None,
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
    """Analyse a volume; write figures, tables, results.json and report.html."""
    from gpu_stackcorr.report import ReportOptions

    options = ReportOptions(
        reference=reference,
        alpha=alpha,
        sigma=sigma,
        elastic=elastic,
        pairs=pairs,
        max_shift=max_shift,
        confidence_level=confidence,
        ci=None if ci == "none" else ci,
        seed=seed,
        backend=backend,
        threads=threads,
        memory=memory,
    )
    with Selection(channel, z, crop, voxel_size).open(volume) as opened, compiling_ahead(opened.dtype.str, options):
        run(opened, output, options, as_json=as_json)


def run(
    volume: Volume,
    output: Path,
    options: ReportOptions,
    *,
    expected: Callable[[Any], Any] | None = None,
    as_json: bool,
) -> None:
    """Write the report of a volume; say beforehand what it will cost, and afterwards what it found."""
    from gpu_stackcorr.arrays import get_backend
    from gpu_stackcorr.report import write_report

    if not as_json:
        say(f"{volume.path}: {voxels_in_words(volume.shape)}, {volume.dtype}")
        say(f"expected: {cost_in_words(cost(volume, options), get_backend(options.backend).name)}")
    start = time.perf_counter()
    with progress("correlating", afterwards="drawing") as callback:
        page = write_report(volume, output, options, expected=expected, progress=callback)
    headline = read_headline(page, time.perf_counter() - start)
    if as_json:
        say_json(headline)
    else:
        for line in headline_in_words(headline):
            say(line)
        say(f"report: {page}")


def cost(volume: Volume, options: ReportOptions) -> Cost:
    """Return what the report of a volume is expected to cost."""
    from gpu_stackcorr.pipeline import Cost, estimate
    from gpu_stackcorr.report.analysis import transforms
    from gpu_stackcorr.report.pairs import estimate_all

    curves = estimate(
        volume,
        transforms(options),
        reference=options.reference,
        ci=options.ci,
        backend=options.backend,
        threads=options.threads,
        memory=options.memory,
    )
    pairs = estimate_all(volume, options)
    return Cost(curves.seconds + pairs.seconds, max(curves.memory, pairs.memory))


def cost_in_words(expected: Cost, backend: str) -> str:
    """Return what a report is expected to cost, as a phrase."""
    return (
        f"about {seconds_in_words(expected.seconds)} on {backend} and some seconds to draw, "
        f"{bytes_in_words(expected.memory)} of memory beside Python's own"
    )


def read_headline(page: Path, seconds: float) -> dict[str, Any]:
    """Return what a report found, in short, from its results.json."""
    results = json.loads((page.parent / "results.json").read_text(encoding="utf-8"))
    depth, computed = results["depths"]["identity"], results["computed"]
    return {
        "report": str(page),
        "slices": results["file"]["shape"][0],
        "reference": results["reference_slice"]["index"],
        "threshold": depth["threshold"],
        "depth": depth["depth"],
        "depth_nm": depth["depth_nm"],
        "first_below": depth["first_below"],
        "farthest": depth["farthest"],
        "flagged": results["flagged"],
        "seed": computed["seed"],
        "backend": computed["backend"],
        "seconds": round(seconds, 3),
    }


def headline_in_words(headline: dict[str, Any]) -> list[str]:
    """Return the depth at which the correlation falls below 1/e, and what slices have none, as sentences."""
    flagged = [
        f"{reason} slices, without a correlation: {', '.join(map(str, indices[:MOST_NAMED]))}"
        + (f" and {len(indices) - MOST_NAMED} more" if len(indices) > MOST_NAMED else "")
        for reason, indices in (("constant", headline["flagged"]["constant"]), ("NaN", headline["flagged"]["nan"]))
        if indices
    ]
    if headline["depth"] is None:
        return [*flagged, f"the correlation stays above 1/e, up to {headline['farthest']} slices from the reference"]
    nm = "" if headline["depth_nm"] is None else f" ({headline['depth_nm']:.4g} nm)"
    return [*flagged, f"the correlation falls below 1/e {headline['depth']:.1f} slices{nm} from the reference"]
