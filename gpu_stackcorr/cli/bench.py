"""``stackcorr bench``: how fast this machine is, beside rivals and its own limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gpu_stackcorr.benchmarks import module
from gpu_stackcorr.errors import StackCorrError

from . import fresh
from .files import directory, replacing
from .options import Json, check_backend, number, whole
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
        parser=number(0), metavar="S", help="For each contestant and pass; 1, and 0.1 with --quick, unless given.",
        show_default=False,
    ),
]  # fmt: skip
Passes = Annotated[
    int | None,
    typer.Option(
        parser=whole(1),
        metavar="N",
        help="How often all is gone over, so that spreads cover the drift of the machine; 1 unless given. With -o each "
        "pass is a process of its own.",
        show_default=False,
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        callback=check_backend,
        metavar="NAME",
        help="Measure ours on cuda, numba or numpy alone; on all that can run here unless given.",
    ),
]


@dataclass(frozen=True)
class Wanted:
    """What a run was asked for: see the options of `bench`. `only` is the one pass that this process is there for."""

    operations: list[str]
    output: Path | None
    quick: bool
    seconds: float | None
    backend: str | None
    passes: int | None
    resume: bool
    only: int | None


def bench(
    words: Words = None,
    output: Folder = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small cases: a pass ends within a minute.")] = False,
    seconds: Seconds = None,
    backend: Backend = None,
    passes: Passes = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder of -o, which was interrupted.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Name what is slower in the second result file; exit status 1 if any is.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help=f"Write {PAGE} of result files, those of bench/gpu as well.")
    ] = False,
    only: Annotated[int | None, typer.Option("--only-pass", parser=whole(1), hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Measure this machine: every operation on every backend, beside rivals where they are installed."""
    given = words or []
    measuring = quick or resume or any(value is not None for value in (seconds, backend, passes))
    if compare + report + measuring > 1:
        raise typer.BadParameter("--compare, --report and the options of a run are for different things: give one")
    if compare:
        _compare(given, as_json=as_json)
    elif report:
        _report(given, output)
    else:
        _measure(Wanted(given, output, quick, seconds, backend, passes, resume, only), as_json=as_json)


def _measure(wanted: Wanted, *, as_json: bool) -> None:
    """Run the benchmarks; print the table, and write the files."""
    suite, tables = module("suite"), module("tables")
    _check(wanted)
    record, output = _begin(wanted), wanted.output
    operations = wanted.operations or suite.OPERATIONS
    if output is None:
        suite.run(record, operations, backend=wanted.backend, told=_tell)
    elif wanted.only is not None:
        _only_pass(record, wanted, operations, output)
        return
    else:
        with directory(output):
            try:
                record = _passes(record, wanted, operations, output)
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


def _check(wanted: Wanted) -> None:
    """Refuse what cannot be run."""
    from gpu_stackcorr.arrays import get_backend

    known = module("suite").OPERATIONS
    if unknown := sorted(set(wanted.operations) - set(known)):
        raise typer.BadParameter(f"{', '.join(unknown)}: no such operation; allowed are {', '.join(known)}")
    if wanted.resume and wanted.output is None:
        raise typer.BadParameter("--resume needs -o: the folder of the run to go on with")
    if wanted.backend is not None:
        get_backend(wanted.backend)  # which says what to install


def _begin(wanted: Wanted) -> Any:
    """Return a new record, or the one in the folder if it was begun alike."""
    suite, records = module("suite"), module("record")
    seconds = suite.seconds(wanted.quick) if wanted.seconds is None else wanted.seconds
    new = records.new(seconds=seconds, quick=wanted.quick, n_passes=wanted.passes or 1)
    if not wanted.resume or wanted.output is None:
        return new
    begun = _load(wanted.output / RECORD)
    if differing := [name for name in records.SAME if begun[name] != new[name]]:
        raise typer.BadParameter(
            f"the run in '{wanted.output}' cannot go on: it differs in {', '.join(differing)}; "
            "run again without --resume"
        )
    if wanted.passes is not None and wanted.passes < begun["passes"]:
        raise typer.BadParameter(
            f"--passes {wanted.passes}: the run in '{wanted.output}' was begun with {begun['passes']}; it may have more"
        )
    return {**begun, "passes": max(begun["passes"], new["passes"])}


def _passes(record: Any, wanted: Wanted, operations: list[str], output: Path) -> Any:
    """Do the passes of a record, each in a process of its own where there are several, and return it with them."""
    suite, path = module("suite"), output / RECORD
    if record["passes"] == 1:
        suite.run(record, operations, backend=wanted.backend, path=path, told=_tell)
        return record
    module("record").save(path, record)
    same = ["--resume", f"--output={output}", f"--seconds={record['seconds']!r}"]
    same += ["--quick"] if wanted.quick else []
    same += [] if wanted.backend is None else [f"--backend={wanted.backend}"]
    for k in range(1, record["passes"] + 1):
        if status := fresh.run(["bench", *operations, *same, f"--only-pass={k}"]):
            raise StackCorrError(f"pass {k} ended with status {status}; --resume goes on with the run in '{output}'")
    return _load(path)


def _only_pass(record: Any, wanted: Wanted, operations: list[str], output: Path) -> None:
    """Do one pass for the process that holds the others together; the record on disk is what both share."""
    check = fresh.watch()

    def told(*begins: Any) -> None:
        check()
        _tell(*begins)

    module("suite").one_pass(record, wanted.only, operations, backend=wanted.backend, path=output / RECORD, told=told)


def _write(record: Any, folder: Path) -> None:
    """Write what is made of a record."""
    tables, page = module("tables"), module("page")
    made = {TABLE: tables.csv_text(record), TEXT: tables.markdown(record), PAGE: page.render([record])}
    for name, text in made.items():
        with replacing(folder / name) as file:
            file.write_text(text, encoding="utf-8")


def _tell(pass_number: int, operation: str, case: str) -> None:
    """Say on standard error which case begins."""
    note(f"{f'pass {pass_number}, ' if pass_number > 1 else ''}{operation}: {case}")


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
