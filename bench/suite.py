"""The modules of cases, and passes over them that write their record after every case.

Each is a module of this package, ``bench_NAME``, with ``cases(*, quick=False)``, which yields `Case` or, for what
this machine cannot do, `Skip`, one at a time: the memory of one is given back before the next is made. With `quick` it
yields those that together, at a tenth of a second a contestant, take seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from . import limits, passes, record
from .harness import OURS, Case, Failed, Skip, missing, race, race_again, rates

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
"""Seconds after which a pass of a quick run begins no case, so that it ends within a minute."""

QUICK_LIMITS = {"array_bytes": 2**28, "side": 1024}
"""Sizes with which a quick run measures the limits."""

OUT_OF_TIME = "a quick run had used up its time"
NOT_MADE = "the case could not be made again"

Told = Callable[[int, str, str], None]
"""Takes the number of the pass, and operation and name of a case that begins."""


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
    """Do all the passes that a record asks for, one after the other in this process: see `one_pass`."""
    for number in range(1, begun["passes"] + 1):
        one_pass(begun, number, operations, backend=backend, path=path, told=told)


def one_pass(
    begun: record.Record,
    number: int,
    operations: Sequence[str] = OPERATIONS,
    *,
    backend: str | None = None,
    path: Path | None = None,
    told: Told = lambda *_: None,
) -> None:
    """Race the cases that a record does not have from a pass yet; add them to it, and write it to `path` after each.

    The first pass verifies, weighs and times contestants; a later one times those again that `passes.due` names, in
    the modules that the pass before has finished. `backend` leaves the others of ours out.
    """
    ends = time.perf_counter() + (QUICK_BUDGET if begun["quick"] else math.inf)
    begun["limits"] = begun["limits"] or _limits(begun["quick"])
    doing = _Pass(begun, number, backend, path, ends, told)
    doing.write()
    for operation in operations:
        if begun["finished"].get(operation, 0) == number - 1:
            doing.go_over(operation)


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


@dataclass(frozen=True)
class _Pass:
    """A pass: the record that it adds to, and where that is written."""

    begun: record.Record
    number: int
    backend: str | None
    path: Path | None
    ends: float
    told: Told

    def go_over(self, module: str) -> None:
        """Go over a module of cases; what goes wrong with one keeps no other from its turn."""
        begun = self.begun
        # What kept a former run from finishing these cases is tried again.
        begun["skipped"] = [one for one in begun["skipped"] if not self._is_of(one, module)]
        begun["failures"] = [one for one in begun["failures"] if not self._is_of(one, module) or one["case"]]
        try:
            finished = self._first(module) if self.number == 1 else self._again(module)
        except Exception as error:  # where a case could not be made
            self._fail(module, module, "", "", error)
            finished = False
        begun["missing"] = {**begun["missing"], **missing()}
        if finished:
            begun["finished"][module] = self.number
        self.write()

    def _is_of(self, one: passes.Entry, module: str) -> bool:
        """Whether an entry of what was left out is of a module and of this pass."""
        return bool(one["module"] == module and one["pass"] == self.number)

    def _first(self, module: str) -> bool:
        """Race the cases that the record does not have; return whether all are done."""
        done = {(case["operation"], case["case"]) for case in self.begun["cases"]}
        for case in cases(module, quick=self.begun["quick"]):
            if self._out_of_time(module):
                return False
            if isinstance(case, Skip):
                self._skip(module, case.operation, case.name, case.reason)
            elif (case.operation, case.name) not in done:
                self.told(self.number, case.operation, case.name)
                self._race(module, case)
                self.write()
            del case  # its memory, before the next is made
        return True

    def _again(self, module: str) -> bool:
        """Time again what is due; return whether all is done."""
        due = passes.due(self.begun, module, self.number, self.backend)
        for case in cases(module, quick=self.begun["quick"]) if due else ():
            if self._out_of_time(module):
                return False
            if isinstance(case, Case) and (names := due.pop((case.operation, case.name), None)):
                self.told(self.number, case.operation, case.name)
                self._race_again(module, case, names)
                self.write()
            del case  # its memory, before the next is made
            if not due:
                break  # the cases that are left would be made for nothing
        for operation, name in due:
            self._skip(module, operation, name, NOT_MADE)
        return True

    def _race(self, module: str, case: Case) -> None:
        """Race a case, and add it to the record."""
        begun = self.begun
        chosen = [racer for racer in case.contestants if self.backend is None or racer.backend in (None, self.backend)]
        raced = race(
            replace(case, contestants=chosen),
            seconds=begun["seconds"],
            limits=begun["limits"],
            failed=self._failed(module, case),
        )
        begun["cases"].append({**record.case_entry(case), "module": module})
        begun["rows"] += [record.row_entry(row) for row in raced]

    def _race_again(self, module: str, case: Case, names: set[str]) -> None:
        """Time contestants of a case again, and add that to their rows."""
        begun = self.begun
        chosen = [racer for racer in case.contestants if racer.name in names]
        raced = race_again(
            replace(case, contestants=chosen), seconds=begun["seconds"], failed=self._failed(module, case)
        )
        places = {(row["operation"], row["case"], row["contestant"]): n for n, row in enumerate(begun["rows"])}
        for contestant, times in raced:
            place = places[case.operation, case.name, contestant.name]
            row = passes.added(begun["rows"][place], self.number, times)
            begun["rows"][place] = {**row, **rates(case, contestant, row["median"], begun["limits"])}

    def _failed(self, module: str, case: Case) -> Failed:
        """Return what adds the failure of a contestant to the record."""
        return lambda contestant, error: self._fail(module, case.operation, case.name, contestant.name, error)

    def _fail(self, module: str, operation: str, case: str, contestant: str, error: Exception) -> None:
        """Add a failure to the record."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        self.begun["failures"].append(
            {**self._where(module, operation, case), "contestant": contestant, "failure": text}
        )

    def _skip(self, module: str, operation: str, case: str, reason: str) -> None:
        """Add what is left out to the record."""
        self.begun["skipped"].append({**self._where(module, operation, case), "reason": reason})

    def _where(self, module: str, operation: str, case: str) -> dict[str, Any]:
        """Return what entries of failures and of what is left out have in common."""
        return {"operation": operation, "case": case, "module": module, "pass": self.number}

    def _out_of_time(self, module: str) -> bool:
        """Whether the time of the pass is up; the record says so then."""
        if time.perf_counter() <= self.ends:
            return False
        self._skip(module, module, "", OUT_OF_TIME)
        return True

    def write(self) -> None:
        """Write the record."""
        if self.path is not None:
            record.save(self.path, self.begun)


def ours_failed(found: record.Record) -> list[dict[str, Any]]:
    """Return the failures of ours: contestants that raised or were wrong, and cases that could not be made."""
    return [one for one in found["failures"] if not one["contestant"] or one["contestant"].startswith(OURS)]
