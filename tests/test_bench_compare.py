"""``stackcorr bench --compare``: what is slower beyond the spread of both files, and files that cannot be compared."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gpu_stackcorr.benchmarks import module
from gpu_stackcorr.cli import app

comparison, harness = module("comparison"), module("harness")
NUMBA = harness.path_name("numba")


def row(contestant=NUMBA, case="a", quartiles=(0.9, 1.0, 1.1)):
    """Return a row with its quartiles."""
    lower, median, upper = quartiles
    times = {"lower_quartile": lower, "median": median, "upper_quartile": upper}
    return {"operation": "warp", "case": case, "contestant": contestant, **times}


def times(factor, row):
    """Return a row that takes so many times as long."""
    return {**row, **{name: factor * row[name] for name in ("lower_quartile", "median", "upper_quartile")}}


# Quartiles 0.2 apart: the fences are 0.6 and 1.4.


def test_a_spread_ends_at_the_fences():
    assert comparison.spread(row()) == pytest.approx((0.6, 1.4))


@pytest.mark.parametrize(("factor", "slower"), [(1.0, False), (2.3, False), (2.4, True), (0.1, False)])
def test_slower_is_what_the_fences_do_not_cover(factor, slower):
    change = comparison.Change(row(), times(factor, row()))
    assert change.slower == slower
    assert change.ratio == pytest.approx(factor)


@pytest.mark.parametrize(("factor", "slower"), [(1.04, False), (1.06, True)])
def test_what_runs_differ_by_is_not_told(factor, slower):
    exact = row(quartiles=(1.0, 1.0, 1.0))
    assert comparison.Change(exact, times(factor, exact)).slower == slower


@pytest.fixture
def compare(tmp_path):
    """Compare two lists of rows by the command."""

    def compared(before, after, *options, **rest):
        for name, rows in (("a.json", before), ("b.json", after)):
            own = rest if name == "b.json" else {}
            (tmp_path / name).write_text(json.dumps({"machine": {"processor": "abacus"}, "rows": rows, **own}))
        return CliRunner().invoke(app, ["bench", "--compare", *options, *map(str, paths)])

    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    return compared


def test_equal_runs_are_exit_status_0(compare):
    done = compare([row()], [times(1.2, row())])
    assert done.exit_code == 0, done.output
    assert done.stdout == "1 contestants compared: 0 of ours slower beyond the spread of both\n"
    assert done.stderr == ""


def test_slowdowns_are_named_with_exit_status_1(compare):
    done = compare([row(), row(case="b")], [row(), times(3, row(case="b"))])
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "2 contestants compared: 1 of ours slower beyond the spread of both"
    assert done.stdout.splitlines()[-1].split() == ["warp:", "b", *NUMBA.split(), "1000", "3000", "3×"]


def test_rivals_that_are_slower_are_no_failure_of_ours(compare):
    done = compare([row(), row("SciPy")], [row(), times(3, row("SciPy"))])
    assert done.exit_code == 0
    assert "1 rivals are slower as well: it may be the machine" in done.stderr


def test_a_contestant_of_ours_that_fails_now_is_exit_status_1(compare):
    failure = {"operation": "warp", "case": "b", "contestant": NUMBA, "failure": "AssertionError: error 1"}
    done = compare([row(), row(case="b")], [row()], failures=[failure])
    assert done.exit_code == 1
    assert f"failed: warp, b, {NUMBA}: AssertionError: error 1" in done.stdout
    failed_before = compare([row()], [row()], failures=[failure])
    assert failed_before.exit_code == 0


def test_another_machine_is_told(compare):
    done = compare([row()], [row()], machine={"processor": "fingers", "threads": 10})
    assert done.exit_code == 0
    assert "two machines: abacus; fingers, 10 threads" in " ".join(done.stderr.split())


def test_for_machines(compare):
    done = compare([row()], [times(3, row())], "--json")
    assert done.exit_code == 1
    slower = [
        {"operation": "warp", "case": "a", "contestant": NUMBA, "before": 1.0, "after": 3.0, "ratio": 3.0},
    ]
    assert json.loads(done.stdout) == {"compared": 1, "slower": slower, "failed": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ("[]", "is not a result file"),
        ('{"rows": 3}', "is not a result file"),
        ('{"rows": [{"operation": "warp"}]}', "is not a result file"),
        ('{"rows": []}', "no contestant in common"),
        ('{"copy_gigabytes_per_second": 3, "rows": [{"case": 1}]}', "is not a result file"),
    ],
)
def test_unusable_files_are_exit_status_2(tmp_path, text, message):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps({"rows": [row()]}))
    if text is not None:
        bad.write_text(text)
    for pair in ((good, bad), (bad, good)):
        done = CliRunner().invoke(app, ["bench", "--compare", *map(str, pair)])
        assert done.exit_code == 2, done.output
        (line,) = done.stderr.splitlines()
        assert message in line


@pytest.mark.parametrize("files", [[], ["a.json"], ["a.json", "b.json", "c.json"]])
def test_two_files_are_compared(files):
    done = CliRunner().invoke(app, ["bench", "--compare", *files])
    assert done.exit_code == 2
    assert f"takes two result files, and was given {len(files)}" in done.stderr
