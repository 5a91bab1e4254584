"""Sums up a run of ``bench/on_gpu.sh`` in text and JSON. It needs nothing but Python.

python bench/gpu/summary.py FOLDER
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

SAID = (r"^(FAILED|ERROR) ", r"^=+ .*(passed|failed|error|no tests|skipped|Interrupted)", r"(ERROR|RACECHECK) SUMMARY")
"""What a log's reader looks for."""

MOST_LINES = 40

PROFILED = {
    "Duration": "ms",
    "DRAM Throughput": "memory",
    "L2 Cache Throughput": "L2",
    "L1/TEX Cache Throughput": "L1",
    "Issue Slots Busy": "issue",
    "Achieved Occupancy": "warps",
}
"""What is taken from ncu's report, and the heads of its columns."""

WAITS = {
    "L1TEX": "for loads",
    "micro scheduler": "for their turn",
    "fixed latency": "for results",
    "barrier": "at barriers",
}
"""What instructions wait for, by words of ncu's."""


def main() -> None:
    """Run the command."""
    folder = Path(sys.argv[1])
    parts = _parts(folder)
    lines = ["gpu_stackcorr on a GPU", ""]
    if (environment := folder / "environment.txt").exists():
        lines += [*environment.read_text(errors="replace").splitlines(), ""]
    lines += ["Parts", ""]
    lines += [f"  {part['name']:<22}{part['result']:<16}{part['seconds']:>5} s" for part in parts]
    for part in parts:
        if told := _told(folder / f"{part['name']}.log"):
            lines += ["", f"{part['name']}.log", "", *(f"  {line}" for line in told)]
    benchmarks, experiments = (_record(folder / f"{name}.json") for name in ("benchmarks", "experiments"))
    profile = folder / "profile.log"
    lines += _bounds(profile.read_text(errors="replace") if profile.exists() else "")
    lines += _benchmarks(benchmarks) + _experiments(experiments)
    text = "\n".join(lines) + "\n"
    (folder / "summary.txt").write_text(text, encoding="utf-8")
    record = {"parts": parts, "targets": benchmarks.get("targets", []), "device": benchmarks.get("device", "")}
    (folder / "summary.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(text)


def _parts(folder: Path) -> list[dict[str, Any]]:
    """Return the parts that were run: name, exit status, seconds."""
    words = {0: "passed", 124: "cut off", 127: "not there"}
    parts = []
    for line in (folder / "parts.tsv").read_text().splitlines():
        name, status, seconds = line.split("\t")
        result = "left out" if status == "-" else words.get(int(status), f"failed ({status})")
        parts.append({"name": name, "status": status, "seconds": int(seconds), "result": result})
    return parts


def _told(log: Path) -> list[str]:
    """Return the lines of a log that say how it went."""
    if not log.exists():
        return []
    lines = [line for line in log.read_text(errors="replace").splitlines() if any(re.search(p, line) for p in SAID)]
    return lines[:MOST_LINES] + ([f"and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else [])


def _bounds(report: str) -> list[str]:
    """Return a table of what ncu's report says of each kernel: its time, and how busy what may bound it was."""
    lines: dict[str, str] = {}
    for part in re.split(r"\n  (?=\S.*, Context \d)", report)[1:]:
        told = (re.search(rf"^ +{re.escape(name)} +(\S+) +([\d.,]+) *$", part, re.MULTILINE) for name in PROFILED)
        found = [match for match in told if match]
        if len(found) < len(PROFILED):
            continue
        values = [float(match[2].replace(",", "")) for match in found]
        values[0] *= {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}[found[0][1]]
        kernel, grid = part.partition("(")[0].removeprefix("void "), re.search(r"\) (\([\d, ]+\))x\(", part)
        waits = re.search(r"([\d.]+)\s+cycles being stalled\s+waiting\s+(.*?)\.", part, re.DOTALL)
        reason = " ".join(waits[2].split()) if waits else ""
        words = next((words for key, words in WAITS.items() if key in reason), reason)
        line = f"  {kernel + ' ' + (grid[1] if grid else ''):<60}" + "".join(f"{value:>8.3g}" for value in values)
        lines.setdefault(kernel, f"{line}  {waits[1]} cycles an instruction wait {words}" if waits else line)
    if not lines:
        return []
    heads = "".join(f"{head:>8}" for head in PROFILED.values())
    return ["", "Kernels under ncu: percent of what is possible", "", f"  {'':<60}{heads}", *lines.values()]


def _record(path: Path) -> dict[str, Any]:
    """Return a part's record; nothing where it did not come so far."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _benchmarks(record: dict[str, Any]) -> list[str]:
    """Return tables of the benchmarks, and the targets beside what was reached."""
    if not record:
        return ["", "No benchmarks."]
    copy = record["copy_gigabytes_per_second"]
    lines = [
        "",
        f"Benchmarks on {record['device']}{' (TINY: no figures)' if record.get('tiny') else ''}",
        "",
        f"  A copy from device to device moves {copy:.0f} GB/s, reads and writes together; `of copy`: a share of that.",
        "  Milliseconds: median (quartiles) on the device, L2 emptied before; `wall`: what a caller waits for.",
        "  `first`: seconds of the first call, compiling included.",
    ]
    for case in dict.fromkeys(row["case"] for row in record["rows"]):
        rows = [row for row in record["rows"] if row["case"] == case]
        width = max(len(row["contestant"]) for row in rows) + 2
        heads = f"{'ms':>27}{'wall':>10}{'first':>8}{'GB/s':>8}{'of copy':>9}{'error':>9}"
        lines += ["", case, "", f"  {'':<{width}}{heads}"]
        lines += [f"  {row['contestant']:<{width}}{_figures(row)}" for row in rows]
        for target in (target for target in record["targets"] if target["case"] == case):
            sign = ">=" if target["at_least"] else "<="
            lines.append(
                f"  target: {target['text']}: {target['figure']:.3g} ({sign} {target['limit']:g}){_verdict(target)}"
            )
    return lines + [f"  failed: {text.splitlines()[-1]}" for text in record["failures"]]


def _verdict(target: dict[str, Any]) -> str:
    """Return whether a target was reached; nothing in a rehearsal."""
    if target["reached"] is None:
        return ""
    return ": reached" if target["reached"] else ": MISSED" if math.isfinite(target["figure"]) else ": unknown"


def _figures(row: dict[str, Any]) -> str:
    """Return the columns of a row."""
    if row["failure"]:
        return f"  {row['failure']}"

    def column(value: float | None, pattern: str, width: int) -> str:
        return f"{'' if value is None else format(value, pattern):>{width}}"

    times = f"{row['median']:.4g} ({row['lower_quartile']:.4g} to {row['upper_quartile']:.4g})"
    return (
        f"{times:>27}{column(row['wall'], '.4g', 10)}{column(row['first'], '.2f', 8)}"
        f"{column(row['gigabytes_per_second'], '.0f', 8)}{column(row['of_copy'], '.1%', 9)}"
        f"{column(row['error'], '.1e', 9)}  {row['note']}"
    )


def _experiments(record: dict[str, Any]) -> list[str]:
    """Return the figures of the experiments."""
    if not record:
        return ["", "No experiments."]
    lines = ["", "Experiments"]
    for group in dict.fromkeys(figure["group"] for figure in record["figures"]):
        lines += ["", f"  {group}"]
        for figure in (figure for figure in record["figures"] if figure["group"] == group):
            lines.append(f"    {figure['name']}: {figure['value']:.4g} {figure['unit']}")
    return lines + [f"  failed: {text.splitlines()[-1]}" for text in record["failures"]]


if __name__ == "__main__":
    main()
