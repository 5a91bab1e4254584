"""How contestants are raced: each is verified first, then all are timed in turn, in one run.

A contestant is a call that does a case's work, with what its result is held against. Rounds are interleaved, so that a
processor that slows down slows all of them. A time is the wall time of a call; medians and quartiles are kept.
"""

from __future__ import annotations

import importlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

OURS = "gpu_stackcorr"
"""What the names of our own contestants begin with."""

FEWEST_ROUNDS = 3

LIBRARIES = (
    *("albumentations", "batchgeneratorsv2", "elasticdeform", "llvmlite", "monai", "numba", "numpy"),
    *("opencv-python-headless", "scikit-image", "scipy", "torch", "torchio"),
)
"""Whose versions a result file names."""


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of a case.

    Attributes
    ----------
    name : str
    call : callable
        Without arguments; returns the result.
    error : callable
        From the result to its largest error against the float64 reference; None where there is none to hold it against.
    tolerance : float
        What the error may be. Above it a contestant of ours is an error of ours; a rival's row says so.
    note : str
        What it does otherwise than the others.
    work : float
        How many times the case's work it does (K = 4 references: 4).
    """

    name: str
    call: Callable[[], Any]
    error: Callable[[Any], float] | None = None
    tolerance: float = np.inf
    note: str = ""
    work: float = 1.0


@dataclass(frozen=True)
class Case:
    """Some work, who does it, and how much it is."""

    operation: str
    name: str
    pixels: int
    contestants: Sequence[Contestant]


@dataclass(frozen=True)
class Row:
    """What was measured of one contestant: seconds a call, and its largest error."""

    operation: str
    case: str
    contestant: str
    median: float
    lower_quartile: float
    upper_quartile: float
    rounds: int
    gigapixels_per_second: float
    error: float | None
    note: str


def race(case: Case, *, seconds: float = 2.0) -> list[Row]:
    """Verify the contestants of a case, then time them in turn, each for about `seconds` and at least three times."""
    errors = [_verified(case, contestant) for contestant in case.contestants]
    times: list[list[float]] = [[] for _ in case.contestants]
    while waiting := [n for n, own in enumerate(times) if len(own) < FEWEST_ROUNDS or sum(own) < seconds]:
        for n in waiting:
            start = time.perf_counter()
            case.contestants[n].call()
            times[n].append(time.perf_counter() - start)
    return [
        _row(case, contestant, own, error)
        for contestant, own, error in zip(case.contestants, times, errors, strict=True)
    ]


def _verified(case: Case, contestant: Contestant) -> float | None:
    """Return the error of a contestant, which is warm afterwards; raise where ours is too large."""
    result = contestant.call()
    if contestant.error is None:
        return None
    error = contestant.error(result)
    if contestant.name.startswith(OURS) and not error <= contestant.tolerance:
        raise AssertionError(
            f"{case.operation}, {case.name}, {contestant.name}: error {error:.2g}, allowed {contestant.tolerance:.2g}"
        )
    return error


def _row(case: Case, contestant: Contestant, times: list[float], error: float | None) -> Row:
    """Return what is kept of a contestant's times."""
    lower, median, upper = (float(q) for q in np.quantile(times, [0.25, 0.5, 0.75]))
    return Row(
        operation=case.operation,
        case=case.name,
        contestant=contestant.name,
        median=median,
        lower_quartile=lower,
        upper_quartile=upper,
        rounds=len(times),
        gigapixels_per_second=contestant.work * case.pixels / median / 1e9,
        error=error,
        note=contestant.note,
    )


def largest_difference(reference: Any) -> Callable[[Any], float]:
    """Return what gives the largest absolute difference of a result from `reference`."""
    expected = np.asarray(reference, np.float64)
    return lambda result: float(np.abs(np.asarray(result, np.float64) - expected).max())


def optional(*names: str) -> list[Any] | None:
    """Return modules of rivals, or None where one of them cannot be imported."""
    try:
        return [importlib.import_module(name) for name in names]
    except Exception:  # whatever a half-installed library raises
        return None


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    from importlib.metadata import distributions

    from gpu_stackcorr.threads import available_threads

    versions = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    return {
        "processor": _processor(),
        "threads": available_threads(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: versions[name] for name in LIBRARIES if name in versions},
    }


def _processor() -> str:
    """Return the name and the vector instructions of the processor, as far as the system tells."""
    try:
        from llvmlite import binding

        features = binding.get_host_cpu_features()
        vectors = [name for name in ("avx2", "avx512f", "avx512vnni", "avxvnni", "neon", "sve") if features.get(name)]
        return f"{binding.get_host_cpu_name()} ({', '.join(vectors)})"
    except ImportError:
        return platform.processor() or platform.machine()


def markdown(rows: Sequence[Row]) -> str:
    """Return tables, one a case: milliseconds, rate, how many times as long as our fastest, and the error."""
    lines: list[str] = []
    for key in dict.fromkeys((row.operation, row.case) for row in rows):
        own = [row for row in rows if (row.operation, row.case) == key]
        best = min((row.median for row in own if row.contestant == OURS), default=None)
        lines += [
            f"## {key[0]}: {key[1]}",
            "",
            "| | ms, median (quartiles) | Gpixel/s | times ours | error | |",
            "|---|---|---|---|---|---|",
        ]
        for row in own:
            error = "" if row.error is None else f"{row.error:.1e}"
            times = "" if best is None else f"{row.median / best:.2f}"
            spread = f"{1e3 * row.median:.2f} ({1e3 * row.lower_quartile:.2f} to {1e3 * row.upper_quartile:.2f})"
            lines.append(
                f"| {row.contestant} | {spread} | {row.gigapixels_per_second:.3g} | {times} | {error} | {row.note} |"
            )
        lines.append("")
    return "\n".join(lines)


def as_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as they stand in a file."""
    return [asdict(row) for row in rows]
