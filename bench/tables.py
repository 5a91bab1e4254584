"""A record as text: the table that is printed, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import passes
from . import record as records
from .comparison import Change, Compared, compared, losses, used_backends
from .words import DASH, error, milliseconds, rate, share, significant, size, times

CASE_COLUMNS = ("group", "pixels", "bytes", "written", "operations", "arithmetic")
"""What a row of the CSV says of its case."""


def summary(found: Mapping[str, Any]) -> list[list[str]]:
    """Return a table with a row a case, those where a rival is faster first; the head is its first row."""
    cases = compared(found)
    backends = used_backends(cases)
    first = losses(cases)
    rest = [one for one in cases if not one.lost]
    head = ["operation", "case", *(f"{name} ms" for name in backends), "fastest rival", "its ms", "times ours"]
    return [[*head, "of limit", "bound by"], *(_line(one, backends) for one in (*first, *rest))]


def _line(one: Compared, backends: Sequence[str]) -> list[str]:
    """Return the row of a case."""
    ours, rival = one.ours or {}, one.rival or {}
    paths = [milliseconds(path["median"]) if (path := one.path(name)) else DASH for name in backends]
    return [
        one.case["operation"],
        one.case["case"],
        *paths,
        rival.get("contestant", DASH),
        milliseconds(rival.get("median")),
        times(one.ratio),
        share(ours.get("of_limit")),
        ours.get("bound") or DASH,
    ]


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in columns: words to the left, numbers to the right."""
    columns = list(zip(*table, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell[0].isdigit() or cell == DASH for cell in column[1:] if cell) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]


def _grid(table: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as Markdown."""
    head, *rows = (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table)
    return [head, "|" + "---|" * len(table[0]), *rows, ""]


def markdown(found: Mapping[str, Any]) -> str:
    """Return a record as a page of Markdown."""
    lines = ["# Benchmarks of gpu_stackcorr", "", f"On {records.name(found)}. {said_of_run(found)}", ""]
    if found["limits"]:
        lines += ["The limits of the machine, measured in the same run:", "", *_grid(limits_table(found))]
    if lost := losses(compared(found)):
        lines += ["## Where a rival is faster", "", *_grid(losses_table(lost))]
    lines += ["## All cases", "", *_grid(summary(found))]
    for one in filter(lambda one: one.rows, compared(found)):
        lines += [f"### {one.title}", "", *_grid(details(one))]
    for title, entries in left_out(found).items():
        lines += [f"## {title}", "", *(f"- {entry}" for entry in entries), ""]
    return "\n".join(lines)


def said_of_run(found: Mapping[str, Any]) -> str:
    """Return when, of what and how long was measured, in words."""
    parts = [
        f"Begun {found['started']}" if found["started"] else "",
        f"gpu_stackcorr {found['version']}" if found["version"] else "",
        f"commit {found['commit']}" if found["commit"] else "",
        f"{found['seconds']:g} s a contestant" if found["seconds"] is not None else "",
        passes.in_words(found),
        "quick: small cases" if found["quick"] else "",
        "A REHEARSAL: no figures" if found.get("rehearsal") else "",
    ]
    return ", ".join(filter(None, parts)) + "."


def limits_table(found: Mapping[str, Any]) -> list[list[str]]:
    """Return what the CPU and the device can do at most."""
    names = {
        "read_bytes_per_second": ("read", "B"),
        "copy_bytes_per_second": ("copy", "B"),
        "write_bytes_per_second": ("write", "B"),
        "float32_flops": ("float32 product", "flop"),
        "float64_flops": ("float64 product", "flop"),
    }
    rows = [[place, *(rate(own.get(key), unit) for key, (_, unit) in names.items())] for place, own in
            found["limits"].items()]  # fmt: skip
    return [["", *(title for title, _ in names.values())], *rows]


def losses_table(lost: Sequence[Compared]) -> list[list[str]]:
    """Return the cases where a rival is faster, with the reason."""
    rows = []
    for one in lost:
        assert one.ours is not None
        assert one.rival is not None
        ours = f"{milliseconds(one.ours['median'])} ({one.ours['backend'] or one.ours['contestant']})"
        rival = f"{milliseconds(one.rival['median'])} ({one.rival['contestant']})"
        rows.append([one.title, ours, rival, times(one.ratio), one.reason])
    return [["case", "our ms", "its ms", "times ours", "why"], *rows]


def details(one: Compared) -> list[list[str]]:
    """Return everything that was measured in a case; columns of which nothing is known are left out."""
    head = ["", "ms (quartiles)", "Gpixel/s", "GB/s", "times ours", "of limit", "bound by"]
    best = one.ours["median"] if one.ours else None
    several = any(len(row["passes"]) > 1 for row in one.rows)
    table = [[*head, "passes", "memory", "on device", "first call, s", "wall ms", "error", "note"]]
    for row in one.rows:
        quartiles = f"{milliseconds(row['lower_quartile'])} to {milliseconds(row['upper_quartile'])}"
        table.append(
            [
                row["contestant"],
                f"{milliseconds(row['median'])} ({quartiles})",
                significant(row["gigapixels_per_second"]),
                significant(row["gigabytes_per_second"]),
                times(row["median"] / best if best else None),
                share(row["of_limit"]),
                row["bound"] or DASH,
                str(len(row["passes"])) if several else "",
                size(row["peak_host_bytes"]),
                size(row["peak_device_bytes"]),
                significant(row["first_call"]),
                milliseconds(row.get("wall")),  # what a caller waits for, beside the time of the device
                error(row["error"]),
                row["note"],
            ]
        )
    known = [column for column in zip(*table, strict=True) if set(column[1:]) - {"", DASH}]
    return [list(row) for row in zip(*known, strict=True)]


def left_out(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what was not measured, and why, by kind."""
    parts = {
        "Failed or wrong": [f"{_title(one)}: {one['failure']}" for one in found["failures"]],
        "Rivals that are not there": [f"{name}: {reason}" for name, reason in found["missing"].items()],
        "Left out": [f"{_title(one)}: {one['reason']}" for one in found["skipped"]],
    }
    return {title: entries for title, entries in parts.items() if entries}


def _title(one: Mapping[str, Any]) -> str:
    """Return what an entry is about."""
    later = f"pass {one['pass']}" if one["pass"] > 1 else ""
    return ", ".join(filter(None, (one["operation"], one["case"], one.get("contestant", ""), later))) or "in general"


def csv_text(found: Mapping[str, Any]) -> str:
    """Return a row a contestant, with what its case counts."""
    cases = {(case["operation"], case["case"]): case for case in found["cases"]}
    rows = []
    for row in found["rows"]:
        case = cases[row["operation"], row["case"]]
        parameters = " ".join(f"{key}={value}" for key, value in case["parameters"].items())
        counts = {name: case[name] for name in CASE_COLUMNS}
        rows.append({**row, "passes": len(row["passes"]), **counts, "parameters": parameters})
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def changes_table(found: Sequence[Change]) -> list[str]:
    """Return the lines that name changes."""
    return aligned([["case", "contestant", "before, ms", "after, ms", "times"], *_changed(found)])


def changes_json(found: Sequence[Change]) -> list[dict[str, Any]]:
    """Return changes for machines: seconds, and how many times as long."""
    names = ("operation", "case", "contestant")
    return [
        {
            **{name: change.after[name] for name in names},
            "before": change.before["median"],
            "after": change.after["median"],
            "ratio": change.ratio,
        }
        for change in found
    ]


def failures(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines that name failures."""
    return [f"failed: {_title(one)}: {one['failure']}" for one in found]


def _changed(found: Sequence[Change]) -> Iterator[list[str]]:
    for change in found:
        row = change.after
        before, after = milliseconds(change.before["median"]), milliseconds(row["median"])
        yield [f"{row['operation']}: {row['case']}", row["contestant"], before, after, times(change.ratio)]
