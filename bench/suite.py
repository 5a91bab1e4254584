"""The modules of cases, and a run over them that writes its record after every case.

Each is a module of this package, ``bench_NAME``, with ``cases(*, quick=False)``, which yields `Case` or, for what
this machine cannot do, `Skip`, one at a time: the memory of one is given back before the next is made. With `quick` it
yields those that together, at a tenth of a second a contestant, take seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from . import limits, record
from .harness import OURS, Case, Contestant, Skip, missing, race

OPERATIONS = (
    "experiments",
    *("moments", "intervals", "cross_moments", "lags"),
    *("gaussian_filter", "spline_filter", "map_coordinates", "warp"),
    *("random_field", "displacement", "elastic_transform", "warp_moments"),
    "scaling",
)
"""In the order of the report."""

SECONDS, QUICK_SECONDS = 1.0, 0.1
"""For each contestant."""

QUICK_BUDGET = 40.0
"""Seconds after which a quick run begins no case, so that it ends within a minute."""

QUICK_LIMITS = {"array_bytes": 2**28, "side": 1024}
"""Sizes with which a quick run measures the limits."""

OUT_OF_TIME = "a quick run had used up its time"

Told = Callable[[str, str], None]
"""Takes the operation and name of a case that begins."""


def cases(operation: str, *, quick: bool = False) -> Iterator[Case | Skip]:
    """Yield the cases of a module."""
    yield from import_module(f".bench_{operation}", __package__).cases(quick=quick)


def run(
    begun: record.Record,
    operations: Sequence[str] = OPERATIONS,
    *,
    backend: str | None = None,
    path: Path | None = None,
    told: Told = lambda *_: None,
) -> None:
    """Race the cases that a record does not have yet; add them to it, and write it to `path` after each.

    `backend` leaves the others of ours out.
    """
    ends = time.perf_counter() + (QUICK_BUDGET if begun["quick"] else math.inf)
    begun["limits"] = begun["limits"] or _limits(begun["quick"])
    _write(path, begun)
    for operation in operations:
        if operation in begun["finished"]:
            continue
        # What kept a former run from finishing these cases is tried again.
        begun["skipped"] = [one for one in begun["skipped"] if one["operation"] != operation]
        begun["failures"] = [one for one in begun["failures"] if one["operation"] != operation or one["case"]]
        try:
            finished = _operation(begun, operation, backend, path, ends, told)
        except Exception as error:  # where a case could not be made; the other modules go on
            begun["failures"].append(_failure(operation, "", "", error))
            finished = False
        begun["missing"] = {**begun["missing"], **missing()}
        begun["finished"] += [operation] if finished else []
        _write(path, begun)


def seconds(quick: bool) -> float:
    """Return for how long contestants are timed unless it is said."""
    return QUICK_SECONDS if quick else SECONDS


def _limits(quick: bool) -> dict[str, dict[str, float]]:
    """Measure what the machine can do at most."""
    from gpu_stackcorr.arrays import available_backends

    sizes = QUICK_LIMITS if quick else {}
    found = {"cpu": limits.measure(seconds(quick), **sizes)}
    if available_backends()["cuda"].available:
        found["cuda"] = limits.measure_device(seconds(quick), **sizes)
    return found


def _operation(
    begun: record.Record, operation: str, backend: str | None, path: Path | None, ends: float, told: Told
) -> bool:
    """Race the cases of a module; return whether all are done."""
    done = {(case["operation"], case["case"]) for case in begun["cases"]}
    for case in cases(operation, quick=begun["quick"]):
        if time.perf_counter() > ends:
            begun["skipped"].append({"operation": operation, "case": "", "reason": OUT_OF_TIME})
            return False
        if isinstance(case, Skip):
            begun["skipped"].append({"operation": case.operation, "case": case.name, "reason": case.reason})
        elif (case.operation, case.name) not in done:
            told(case.operation, case.name)
            _race(begun, case, backend)
            _write(path, begun)
        del case  # its memory, before the next is made
    return True


def _race(begun: record.Record, case: Case, backend: str | None) -> None:
    """Race a case, and add it to a record."""

    def failed(contestant: Contestant, error: Exception) -> None:
        begun["failures"].append(_failure(case.operation, case.name, contestant.name, error))

    chosen = [racer for racer in case.contestants if backend is None or racer.backend in (None, backend)]
    limits = begun["limits"]
    raced = race(replace(case, contestants=chosen), seconds=begun["seconds"], limits=limits, failed=failed)
    begun["cases"].append(record.case_entry(case))
    begun["rows"] += [record.row_entry(row) for row in raced]


def _failure(operation: str, case: str, contestant: str, error: Exception) -> dict[str, str]:
    """Return what a record says of an error."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return {"operation": operation, "case": case, "contestant": contestant, "failure": text}


def ours_failed(found: record.Record) -> list[dict[str, str]]:
    """Return the failures of ours: contestants that raised or were wrong, and cases that could not be made."""
    return [one for one in found["failures"] if not one["contestant"] or one["contestant"].startswith(OURS)]


def _write(path: Path | None, begun: record.Record) -> None:
    if path is not None:
        record.save(path, begun)
