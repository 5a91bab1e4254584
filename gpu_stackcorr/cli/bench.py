"""``stackcorr bench``: how fast this machine is, beside rivals and its own limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gpu_stackcorr.benchmarks import module

from .files import directory, replacing
from .options import Json, check_backend, number
from .screen import note, say, say_json

RECORD, TABLE, TEXT, PAGE = "results.json", "results.csv", "results.md", "report.html"

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OPERATION",
        help="Operations to measure, all unless given; with --compare two result files, with --report one or more.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help=f"Folder for {RECORD}, {TABLE}, {TEXT} and {PAGE}; made where it is not there.",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        parser=number(0), metavar="S", help="For each contestant; 1, and 0.1 with --quick, unless given.",
        show_default=False,
    ),
]  # fmt: skip
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        callback=check_backend,
        metavar="NAME",
        help="Measure ours on cuda, numba or numpy alone; on all that can run here unless given.",
    ),
]


def bench(
    words: Words = None,
    output: Folder = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small cases: ends within a minute.")] = False,
    seconds: Seconds = None,
    backend: Backend = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder of -o, which was interrupted.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Name what is slower in the second result file; exit status 1 if any is.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help=f"Write {PAGE} of result files, those of bench/gpu as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure this machine: every operation on every backend, beside rivals where they are installed."""
    given = words or []
    measuring = quick or resume or seconds is not None or backend is not None
    if compare + report + measuring > 1:
        raise typer.BadParameter("--compare, --report and the options of a run are for different things: give one")
    if compare:
        _compare(given, as_json=as_json)
    elif report:
        _report(given, output)
    else:
        _measure(given, output, quick=quick, seconds=seconds, backend=backend, resume=resume, as_json=as_json)


def _measure(
    operations: list[str],
    output: Path | None,
    *,
    quick: bool,
    seconds: float | None,
    backend: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Run the benchmarks; print the table, and write the files."""
    from gpu_stackcorr.arrays import get_backend

    suite, tables = module("suite"), module("tables")
    if unknown := sorted(set(operations) - set(suite.OPERATIONS)):
        allowed = ", ".join(suite.OPERATIONS)
        raise typer.BadParameter(f"{', '.join(unknown)}: no such operation; allowed are {allowed}")
    if resume and output is None:
        raise typer.BadParameter("--resume needs -o: the folder of the run to go on with")
    if backend is not None:
        get_backend(backend)  # which says what to install
    record = _begin(output if resume else None, quick=quick, seconds=seconds)
    if output is None:
        suite.run(record, operations or suite.OPERATIONS, backend=backend, told=_tell)
    else:
        with directory(output):
            try:
                suite.run(record, operations or suite.OPERATIONS, backend=backend, path=output / RECORD, told=_tell)
            except KeyboardInterrupt:
                note(f"what was measured is in {output / RECORD}: --resume goes on from there")
                raise
            _write(record, output)
    if as_json:
        say_json(record)
    else:
        for line in tables.aligned(tables.summary(record)):
            say(line)
        if output is not None:
            say(f"report: {output / PAGE}")
    _tell_what_is_missing(record)
    if suite.ours_failed(record):
        raise typer.Exit(1)


def _begin(folder: Path | None, *, quick: bool, seconds: float | None) -> Any:
    """Return a new record, or the one in a folder if it was begun alike."""
    suite, records = module("suite"), module("record")
    new = records.new(seconds=seconds if seconds is not None else suite.seconds(quick), quick=quick)
    if folder is None:
        return new
    begun = _load(folder / RECORD)
    if differing := [name for name in records.SAME if begun[name] != new[name]]:
        raise typer.BadParameter(
            f"the run in '{folder}' cannot go on: it differs in {', '.join(differing)}; run again without --resume"
        )
    return begun


def _write(record: Any, folder: Path) -> None:
    """Write what is made of a record."""
    tables, page = module("tables"), module("page")
    made = {TABLE: tables.csv_text(record), TEXT: tables.markdown(record), PAGE: page.render([record])}
    for name, text in made.items():
        with replacing(folder / name) as file:
            file.write_text(text, encoding="utf-8")


def _tell(operation: str, case: str) -> None:
    """Say on standard error which case begins."""
    note(f"{operation}: {case}")


def _tell_what_is_missing(record: Any) -> None:
    """Say on standard error what was not measured."""
    for title, entries in module("tables").left_out(record).items():
        note(f"{title}:")
        for entry in entries:
            note(f"  {entry}")


def _load(path: Path) -> Any:
    """Return the record of a file; a file that is none is an error of usage."""
    records = module("record")
    try:
        return records.load(path)
    except records.UnusableError as error:
        raise typer.BadParameter(str(error)) from error


def _report(files: list[str], output: Path | None) -> None:
    """Write the page of result files."""
    if not files or output is None:
        raise typer.BadParameter("--report takes one or more result files, and -o for the folder to write to")
    page = module("page").render([_load(Path(file)) for file in files])
    with directory(output), replacing(output / PAGE) as file:
        file.write_text(page, encoding="utf-8")
    say(f"report: {output / PAGE}")


def _compare(files: list[str], *, as_json: bool) -> None:
    """Say what became slower from one result file to another, beyond the spread of both."""
    if len(files) != 2:
        raise typer.BadParameter(f"--compare takes two result files, and was given {len(files)}")
    comparison, tables, records = module("comparison"), module("tables"), module("record")
    before, after = (_load(Path(file)) for file in files)
    changes = list(comparison.changes(before, after))
    if not changes:
        raise typer.BadParameter("the two files have no contestant in common")
    slower = [change for change in changes if change.slower]
    ours = [change for change in slower if comparison.is_ours(change.after)]
    rivals = [change for change in slower if not comparison.is_ours(change.after)]
    broken = comparison.broken(before, after)
    if as_json:
        say_json({"compared": len(changes), "slower": tables.changes_json(ours), "failed": broken})
    else:
        say(f"{len(changes)} contestants compared: {len(ours)} of ours slower beyond the spread of both")
        for line in [*(tables.changes_table(ours) if ours else []), *tables.failures(broken)]:
            say(line)
    if records.name(before) != records.name(after):
        note(f"warning: the files are of two machines: {records.name(before)}; {records.name(after)}")
    if rivals:
        note(f"{len(rivals)} rivals are slower as well: it may be the machine")
    if ours or broken:
        raise typer.Exit(1)
