"""The record of a run: what its file of results holds.

====================  ================================================================================================
started, seconds      when it began (UTC), and for how long each contestant was timed in a pass
passes                how many passes were asked for: see `bench.passes`
quick                 whether the small cases were taken
version, commit       of gpu_stackcorr
machine               processor, threads, memory, device, system, versions of libraries
memory_method         how peaks of the host's memory were found; "" where they were not
limits                ``cpu`` and ``cuda``: bytes and operations a second, as measured in the run
cases                 operation, case, group, parameters, pixels, bytes, written, operations, arithmetic, reason, module
rows                  what was measured of each contestant: the fields of `bench.harness.Row`, from all its passes, and
                      ``passes``: what each of them gave
missing               modules of rivals that cannot be imported, and why
skipped, failures     cases that were left out, contestants that raised or were wrong, in which pass, and why
finished              how many passes of each module of cases were done to their end
====================  ================================================================================================

A record is JSON: times in seconds, sizes in bytes, nothing that is not finite.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from . import gpu_record, memory, passes
from .harness import Case, Row
from .machine import commit, machine

Record = dict[str, Any]

SAME = ("version", "commit", "machine", "seconds", "quick")
"""What a run that goes on must have in common with what was begun."""

_OPTIONAL = {field.name: field.default for field in fields(Row) if field.default is not MISSING}
_NEEDED = {"operation": str, "case": str, "contestant": str, "median": (int, float)}


class UnusableError(ValueError):
    """A file that is no record."""


def new(*, seconds: float, quick: bool, n_passes: int = 1) -> Record:
    """Return the record of a run that begins."""
    from gpu_stackcorr import __version__

    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": seconds,
        "passes": n_passes,
        "quick": quick,
        "version": __version__,
        "commit": commit(),
        "machine": machine(),
        "memory_method": memory.method(),
        **{name: {} for name in ("limits", "missing", "finished")},
        **{name: [] for name in ("cases", "rows", "skipped", "failures")},
    }


def case_entry(case: Case) -> dict[str, Any]:
    """Return what a record says of a case."""
    names = ("group", "pixels", "bytes", "written", "operations", "arithmetic", "reason")
    parameters = {key: _plain(value) for key, value in case.parameters.items()}
    return {
        "operation": case.operation,
        "case": case.name,
        "parameters": parameters,
        **{name: _plain(getattr(case, name)) for name in names},
    }


def row_entry(row: Row) -> dict[str, Any]:
    """Return what a record says of a contestant after its first pass; an error that is no number becomes words."""
    entry = {name: _plain(value) for name, value in asdict(row).items()}
    if row.error is not None and not math.isfinite(row.error):
        entry["error"] = None
        entry["note"] = ", ".join(filter(None, (row.note, "its result is not finite")))
    return {**entry, "passes": [passes.of_row(entry)]}


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    return value.item() if hasattr(value, "item") else list(value) if isinstance(value, tuple) else value


def save(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record; the file is always whole."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> Record:
    """Read a record, of `bench.gpu` as well.

    Raises
    ------
    UnusableError
        If there is no such file, or it is no record.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableError(f"'{path}': {error.strerror}") from error
    except ValueError as error:
        raise UnusableError(f"'{path}' is not JSON: {error}") from error
    try:
        if gpu_record.is_one(found):
            found = gpu_record.converted(found)
        if all(map(_usable, found["rows"])):
            return completed(found)
    except (AttributeError, KeyError, TypeError):  # of another form than ours
        pass
    raise UnusableError(f"'{path}' is not a result file of the benchmarks")


def _usable(row: Mapping[str, Any]) -> bool:
    """Whether a row has what every table needs."""
    return all(isinstance(row.get(name), kind) for name, kind in _NEEDED.items()) and row["median"] > 0


def completed(found: Mapping[str, Any]) -> Record:
    """Return a record with all that an earlier version did not write, empty."""
    absent = {"note": "", "error": None, **_OPTIONAL}
    rows = [{**row, **{name: value for name, value in absent.items() if name not in row}} for row in found["rows"]]
    for row in rows:
        row.setdefault("lower_quartile", row["median"])
        row.setdefault("upper_quartile", row["median"])
        row.setdefault("gigapixels_per_second", None)
        row.setdefault("rounds", None)
        row.setdefault("passes", [passes.of_row(row)])
    empty = {**case_entry(Case(operation="", name="", pixels=0, contestants=())), "module": ""}
    known = {(case["operation"], case["case"]): case for case in found.get("cases", [])}
    cases = []
    for key in dict.fromkeys([*known, *((row["operation"], row["case"]) for row in rows)]):
        unknown = {**empty, "operation": key[0], "case": key[1], "pixels": None}
        cases.append({**unknown, **known.get(key, {})})
    finished = found.get("finished", {})
    return {
        **dict.fromkeys(("started", "seconds", "version", "commit")),
        **{name: {} for name in ("limits", "missing", "machine")},
        "targets": [],
        "passes": 1,
        "quick": False,
        "memory_method": "",
        **found,
        "rows": rows,
        "cases": cases,
        # A list where a run was one pass.
        "finished": finished if isinstance(finished, dict) else dict.fromkeys(finished, 1),
        **{
            kind: [{"module": one["operation"], "pass": 1, **one} for one in found.get(kind, [])]
            for kind in ("skipped", "failures")
        },
    }


def name(record: Mapping[str, Any]) -> str:
    """Return what tables call the machine of a record."""
    about = record["machine"]
    threads = f", {about['threads']} threads" if about.get("threads") else ""
    processor = f"{about['processor']}{threads}" if about.get("processor") else ""
    return " and ".join(filter(None, (about.get("device"), processor))) or "a machine that is not named"
