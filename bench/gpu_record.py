"""Result files of ``bench/on_gpu.sh`` (``benchmarks.json``) as records that the report reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_stackcorr.backends import PREFERENCE

from .harness import OURS, path_name
from .roofline import MEMORY, NEAR, NEITHER


def is_one(found: Any) -> bool:
    """Whether a file is of `bench.gpu.benchmarks`."""
    return isinstance(found, dict) and "copy_gigabytes_per_second" in found and isinstance(found.get("rows"), list)


def converted(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file of `bench.gpu.benchmarks` as a record: milliseconds on the device become seconds."""
    rows = [row for row in found["rows"] if not row.get("failure")]
    failed = [row for row in found["rows"] if row.get("failure")]
    return {
        "started": found.get("started"),
        "commit": found.get("commit"),
        "rehearsal": bool(found.get("tiny")),
        "machine": _machine(found),
        "limits": {"cuda": {"copy_bytes_per_second": 1e9 * found["copy_gigabytes_per_second"]}},
        "cases": list({(case["operation"], case["case"]): case for case in map(_case, reversed(rows))}.values())[::-1],
        "rows": [_row(row) for row in rows],
        "failures": [
            *({**_key(row), "contestant": row["contestant"], "failure": row["failure"]} for row in failed),
            *(
                {"operation": "", "case": "", "contestant": "", "failure": text.splitlines()[-1]}
                for text in found.get("failures", [])
            ),
        ],
        "targets": [{**target, **_key(target)} for target in found.get("targets", [])],
    }


def _machine(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the machine."""
    cuda = {f"CUDA {part}": found[part] for part in ("driver", "runtime") if part in found}
    libraries = {name: found[name] for name in ("cupy", "numpy") if name in found}
    return {"device": found.get("device", ""), "versions": {**libraries, **{k: str(v) for k, v in cuda.items()}}}


def _key(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the operation and the rest of what a case is called."""
    operation, _, rest = row["case"].partition(", ")
    return {"operation": operation, "case": rest}


def _parts(row: Mapping[str, Any]) -> tuple[dict[str, str], str, str | None]:
    """Return the case of a row, its contestant, and the backend where it is ours.

    A small input is the case of two operations there: each is one here.
    """
    key, name = _key(row), row["contestant"]
    what, on, backend = name.rpartition(" on ")
    if on and backend in PREFERENCE:
        return {**key, "case": f"{key['case']}, {what}"}, path_name(backend), backend
    return key, name, "cuda" if name.startswith(OURS) else None


def _case(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the case of a row. Its bytes are the rate times the time."""
    rate = row.get("gigabytes_per_second")
    experiment = row["case"].startswith("the notebook")
    n_bytes = None if not rate else round(1e6 * rate * row["median"])
    return {**_parts(row)[0], "group": "experiment" if experiment else "operation", "bytes": n_bytes}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in seconds: what the device takes, or what a caller waits for where the input is on the host."""
    key, name, backend = _parts(row)
    times = {quantile: row[quantile] / 1e3 for quantile in ("median", "lower_quartile", "upper_quartile")}
    copy, wall = row.get("of_copy"), row["wall"] / 1e3
    from_host = row["note"].startswith("from the host")
    if from_host:
        times = dict.fromkeys(times, wall)
    return {
        **key,
        "contestant": name,
        **times,
        "rounds": row["rounds"],
        "error": row["error"],
        "note": "from the host and back" if from_host else row["note"],
        "wall": wall,
        "backend": backend,
        "on_device": not (from_host or "on the host" in row["note"]),
        "first_call": row.get("first"),
        "gigabytes_per_second": row.get("gigabytes_per_second"),
        "least": None if copy is None else copy * times["median"],
        "of_limit": copy,
        "bound": "" if copy is None else MEMORY if copy >= NEAR else NEITHER,
    }
