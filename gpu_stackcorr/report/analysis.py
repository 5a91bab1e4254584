"""What a report tells, as numbers: one pass over a volume, before anything is drawn or written."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.arrays import available_backends
from gpu_stackcorr.correlation import stack_correlation
from gpu_stackcorr.decorrelation import decorrelation_depth
from gpu_stackcorr.pipeline import correlate_volume
from gpu_stackcorr.plots import Expected
from gpu_stackcorr.random_fields import seed_or_fresh
from gpu_stackcorr.records import Battery, DecorrelationDepth, StackCorrelation
from gpu_stackcorr.threads import allowed_threads, use_threads
from gpu_stackcorr.transforms import AddNoise, Elastic, Transform, flip_right_left, flip_up_down, identity

from .grids import Grid, examine_grids
from .pairs import AllPairs, compare_all

if TYPE_CHECKING:
    from gpu_stackcorr.volumes import Volume

Progress = Callable[[int, int], None]
"""Told the number of slices done, and of all."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report computes.

    Attributes
    ----------
    reference : int
        The slice that all are compared with.
    alpha, sigma : float
        Of the elastic deformation, in pixels.
    elastic : bool
        Whether elastically deformed slices are compared as well.
    pairs : bool
        Whether all pairs of slices are compared as well, which reads the volume again.
    noise : tuple of float
        Magnitudes of the noise levels, in standard deviations of the slice.
    max_shift : int or None
        Draw the largest correlation over shifts by up to so many pixels as well.
    confidence_level : float
        Of every interval, between 0 and 1.
    ci : str or None
        How intervals are found: see ``gpu_stackcorr.intervals``.
    seed : int or None
        Of noise and deformations, 0 to 2^64 - 1; None draws one, which the report names.
    backend : str or None
        Where to compute; None chooses.
    threads : int or None
        None takes as many as there are processors.
    memory : int
        Bytes that slabs and what is computed from them may take.
    """

    reference: int = 0
    alpha: float = 250.0
    sigma: float = 10.0
    elastic: bool = True
    pairs: bool = True
    noise: tuple[float, ...] = (0, 1, 2, 3, 4)
    max_shift: int | None = None
    confidence_level: float = 0.95
    ci: str | None = "tiles"
    seed: int | None = None
    backend: str | None = None
    threads: int | None = None
    memory: int = 512 * 2**20


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of the file: its name without the path, format, shape, dtype, voxel size (z, y, x) in nm."""

    name: str
    format: str
    shape: tuple[int, int, int]
    dtype: str
    nbytes: int
    voxel_size: tuple[float | None, ...]
    channel: int
    channels: int


@dataclass(frozen=True, slots=True)
class GreyValues:
    """The grey values of the reference slice."""

    minimum: float
    maximum: float
    mean: float
    standard_deviation: float


@dataclass(frozen=True, slots=True)
class Computed:
    """How and where the numbers were computed; `seconds` is the wall time, `peak_memory` in bytes or None."""

    backend: str
    device: str
    versions: dict[str, str]
    platform: str
    seed: int
    threads: int
    started: str
    seconds: float
    peak_memory: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Everything that a report tells.

    Attributes
    ----------
    file : FileFacts
    options : ReportOptions
    reference : (Y, X) array
        The reference slice as it was read.
    grey : GreyValues
    battery : Battery
        Identity, both flips, the noise levels above 0, the elastic deformation where asked for.
    depths : dict of DecorrelationDepth
        Where each curve first falls below 1/e, by label.
    shifted : StackCorrelation or None
        The largest correlation over small shifts, where that was asked for.
    pairs : AllPairs or None
        What all pairs of slices tell, where that was asked for.
    grids : tuple of Grid
        How the deformations of the grid panels fold the reference slice.
    expected : float64 array or None
        The known correlation at the distances of the identity curve.
    computed : Computed
    """

    file: FileFacts
    options: ReportOptions
    reference: NDArray[Any]
    grey: GreyValues
    battery: Battery
    depths: dict[str, DecorrelationDepth]
    shifted: StackCorrelation | None
    pairs: AllPairs | None
    grids: tuple[Grid, ...]
    expected: NDArray[np.float64] | None
    computed: Computed

    @property
    def identity(self) -> StackCorrelation:
        """The curve of the slices as they are."""
        return self.battery.results[0]

    @property
    def index(self) -> int:
        """The index of the reference slice, not negative."""
        return self.identity.reference or 0

    @property
    def flips(self) -> tuple[StackCorrelation, ...]:
        """The curves of both flips."""
        return self.battery.results[1:3]

    @property
    def noise(self) -> dict[float, StackCorrelation]:
        """The curve of each noise magnitude asked for; that of 0 is the identity's."""
        curves = {result.noise: result for result in self.battery.results if result.transform == "identity"}
        return {float(m): curves[float(m)] for m in dict.fromkeys(self.options.noise)}

    @property
    def elastic(self) -> StackCorrelation | None:
        """The curve of the elastic deformation, where it was asked for."""
        return self.battery.results[-1] if self.options.elastic else None

    @property
    def flagged(self) -> dict[str, list[int]]:
        """The slices without a correlation, by reason: "constant" and "nan"."""
        flags = self.identity.flags
        return {reason: [n for n, flag in enumerate(flags) if flag == reason] for reason in ("constant", "nan")}


def analyse(
    volume: Volume,
    options: ReportOptions | None = None,
    *,
    expected: Expected | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Compute what a report tells: one pass over a volume, and one or two more for all pairs of its slices.

    Parameters
    ----------
    volume : Volume
        As ``open_volume`` returns it.
    options : ReportOptions, optional
    expected : callable, optional
        A known correlation: a function of an array of distances in slices.
    progress : callable, optional
        Called with the number of slices done, and of all.

    Returns
    -------
    Analysis

    Raises
    ------
    ParameterError
        For an option that is not allowed, or a reference slice that is constant or has NaN.
    VolumeError
        If the volume cannot be read.
    """
    options = options or ReportOptions()
    started, clock = datetime.now(UTC), time.perf_counter()
    seed = seed_or_fresh(options.seed)
    battery = correlate_volume(
        volume,
        transforms(options),
        reference=options.reference,
        ci=options.ci,
        seed=seed,
        backend=options.backend,
        threads=options.threads,
        memory=options.memory,
        progress=progress,
    )
    curve = battery.results[0]
    curve.confidence_interval(options.confidence_level)  # an error of this option comes before anything is drawn
    reference = np.asarray(volume[curve.reference or 0])
    with use_threads(int(options.threads or allowed_threads())):
        shifted = None if options.max_shift is None else _shifted(volume, options)
        pairs = compare_all(volume, options)
        grids = examine_grids(
            reference.shape, reference.dtype, seed=seed, index=curve.reference or 0, backend=options.backend
        )
    return Analysis(
        file=file_facts(volume),
        options=options,
        reference=reference,
        grey=grey_values(reference),
        battery=battery,
        depths={label: decorrelation_depth(result) for label, result in battery.items()},
        shifted=shifted,
        pairs=pairs,
        grids=grids,
        expected=None if expected is None else np.asarray(expected(curve.distance), np.float64),
        computed=_computed(curve.backend, options, seed, started, time.perf_counter() - clock),
    )


def _shifted(volume: Volume, options: ReportOptions) -> StackCorrelation:
    """Return the largest correlations over small shifts."""
    result = stack_correlation(
        volume, options.reference, max_shift=options.max_shift, ci=options.ci, backend=options.backend
    )
    assert not isinstance(result, tuple)
    return result


def transforms(options: ReportOptions) -> list[Transform]:
    """Return the transforms of a report, the identity first and the elastic deformation last."""
    chosen: list[Transform] = [identity, flip_right_left, flip_up_down]
    chosen += [AddNoise(magnitude) for magnitude in dict.fromkeys(options.noise) if magnitude != 0]
    return [*chosen, Elastic(options.alpha, options.sigma)] if options.elastic else chosen


def file_facts(volume: Volume) -> FileFacts:
    """Return what is known of the file of a volume."""
    path = volume.path
    # The last part of a glob pattern says little alone.
    name = f"{path.parent.name}/{path.name}" if "*" in path.name or "?" in path.name else path.name
    return FileFacts(
        name=name.lstrip("/"),
        format=volume.format,
        shape=volume.shape,
        dtype=volume.dtype.name,
        nbytes=volume.nbytes,
        voxel_size=volume.voxel_size or (None, None, None),
        channel=volume.channel,
        channels=volume.channels,
    )


def grey_values(image: NDArray[Any]) -> GreyValues:
    """Return the range, mean and standard deviation of a slice."""
    values = np.asarray(image, np.float64)
    return GreyValues(float(values.min()), float(values.max()), float(values.mean()), float(values.std()))


def _computed(backend: str, options: ReportOptions, seed: int, started: datetime, seconds: float) -> Computed:
    """Return how the numbers were computed."""
    return Computed(
        backend=backend,
        device=available_backends()[backend].device,
        versions=versions(),
        platform=platform.platform(),
        seed=seed,
        threads=options.threads or allowed_threads(),
        started=started.isoformat(timespec="seconds"),
        seconds=seconds,
        peak_memory=peak_memory(),
    )


def versions(packages: Sequence[str] = ("numpy", "scipy", "matplotlib")) -> dict[str, str]:
    """Return the versions of this package, of Python, and of the libraries that the numbers depend on."""
    from importlib.metadata import version

    from gpu_stackcorr import __version__

    return {
        "gpu_stackcorr": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def peak_memory() -> int | None:
    """Return the most memory that this process has held so far in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
