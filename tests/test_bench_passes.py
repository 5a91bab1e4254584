"""Passes of the benchmarks: what is timed again, how it is merged, taken up again, shown and compared."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace

import pytest

from gpu_stackcorr.benchmarks import module

comparison, harness, page, passes, record, suite, tables = map(
    module, ("comparison", "harness", "page", "passes", "record", "suite", "tables")
)
Case, Contestant, Skip, Times = harness.Case, harness.Contestant, harness.Skip, harness.Times
NUMPY, NUMBA = harness.path_name("numpy"), harness.path_name("numba")
LIMITS = {"read_bytes_per_second": 2e10, "copy_bytes_per_second": 1e10}


def row(*found, contestant=NUMBA, case="a"):
    """Return a row of the record that had passes with these times."""
    entries = [{"pass": k + 1, **vars(times)} for k, times in enumerate(found)]
    name = {"operation": "warp", "case": case, "contestant": contestant}
    backend = "numba" if contestant == NUMBA else None
    return {**name, "backend": backend, "note": "", "error": None, **passes.merged(entries), "passes": entries}


# Merging, by hand.

FIRST = Times(median=1.0, lower_quartile=0.9, upper_quartile=1.1, fastest=0.8, slowest=1.5, rounds=5)
SECOND = Times(median=1.4, lower_quartile=1.3, upper_quartile=1.7, fastest=1.2, slowest=1.8, rounds=3)
THIRD = Times(median=1.1, lower_quartile=0.7, upper_quartile=1.2, fastest=0.6, slowest=9.0, rounds=4)


def test_a_row_has_the_median_of_medians_and_the_widest_quartiles():
    both = {"median": 1.2, "lower_quartile": 0.9, "upper_quartile": 1.7, "fastest": 0.8, "slowest": 1.8, "rounds": 8}
    all_three = {**both, "median": 1.1, "lower_quartile": 0.7, "fastest": 0.6, "slowest": 9.0, "rounds": 12}
    assert passes.merged([vars(FIRST), vars(SECOND)]) == pytest.approx(both)
    assert passes.merged([vars(FIRST), vars(SECOND), vars(THIRD)]) == pytest.approx(all_three)


def test_one_pass_changes_nothing():
    assert passes.merged([vars(FIRST)]) == vars(FIRST)


def test_a_pass_is_added_to_those_before():
    before = {"operation": "warp", "note": "n", **vars(FIRST)}
    before["passes"] = [passes.of_row(before)]
    after = passes.added(before, 3, THIRD)
    assert [one["pass"] for one in after["passes"]] == [1, 3]
    assert after["passes"][1] == {"pass": 3, **vars(THIRD)}
    assert (after["median"], after["rounds"], after["note"]) == (pytest.approx(1.05), 9, "n")
    assert before["median"] == 1.0


# What is timed again.


def due(rows, failures=(), number=2, backend=None):
    """Return what is due of the module "warps"."""
    cases = [{"operation": "warp", "case": name, "module": "warps"} for name in "ab"]
    other = {"operation": "warp", "case": "c", "module": "scaling"}
    return passes.due({"cases": [*cases, other], "rows": rows, "failures": failures}, "warps", number, backend)


def test_slow_contestants_are_left_out():
    slow = replace(FIRST, median=passes.LONGEST * 1.01)
    assert due([row(FIRST), row(slow, contestant="SciPy"), row(slow, case="b")]) == {("warp", "a"): {NUMBA}}


def test_the_first_pass_decides_what_is_slow():
    assert due([row(FIRST, SECOND)], number=3) == {("warp", "a"): {NUMBA}}


def test_what_had_the_pass_or_failed_in_it_is_not_due():
    failure = {"operation": "warp", "case": "b", "contestant": "SciPy", "pass": 2}
    rows = [row(FIRST, SECOND), row(FIRST, contestant="SciPy", case="b"), row(FIRST, case="c")]
    assert due(rows, [failure]) == {}
    assert due(rows, [failure], number=3) == {("warp", "a"): {NUMBA}, ("warp", "b"): {"SciPy"}}


def test_a_backend_leaves_the_others_of_ours_out():
    rows = [row(FIRST), row(FIRST, contestant="SciPy")]
    assert due(rows, backend="numpy") == {("warp", "a"): {"SciPy"}}
    assert due(rows, backend="numba") == due(rows) == {("warp", "a"): {NUMBA, "SciPy"}}


# A race for the second time.


def test_later_passes_verify_nothing_and_time_once_at_least():
    called = []
    contestants = [Contestant(name, lambda name=name: called.append(name), error=lambda _: 1 / 0) for name in "ab"]
    found = harness.race_again(Case("operation", "case", 1, contestants), seconds=0)
    assert "".join(called) == "ab" + "aa" + "bb"  # untimed; a turn of another untimed call and a round
    assert [(contestant.name, times.rounds) for contestant, times in found] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("calls", [1, 2])
def test_a_contestant_that_fails_drops_out(calls):
    """In its untimed call, or in a round."""
    left = iter(range(calls - 1))
    case = Case("operation", "case", 1, [Contestant("weak", lambda: next(left)), Contestant("strong", lambda: 1)])
    failed = []
    found = harness.race_again(case, seconds=0.001, failed=lambda contestant, error: failed.append(contestant.name))
    assert [contestant.name for contestant, _ in found] == ["strong"]
    assert failed == ["weak"]


def test_times_are_quartiles_of_rounds():
    expected = Times(median=3.0, lower_quartile=2.0, upper_quartile=4.0, fastest=1.0, slowest=9.0, rounds=5)
    assert Times.of([3.0, 1.0, 9.0, 2.0, 4.0]) == expected


# A run of several passes.


class Fleet:
    """Two modules of tiny cases; says what was called, and fails where it is told to."""

    def __init__(self):
        self.made, self.called, self.broken = [], [], set()

    def contestant(self, name, seconds=0.0):
        def call():
            self.called.append(name)
            if name in self.broken:
                raise ValueError("broken")
            time.sleep(seconds)

        backend = {NUMPY: "numpy", NUMBA: "numba"}.get(name)
        return Contestant(name, call, backend=backend)

    def cases(self, operation, *, quick=False):
        for name in ("small", "large", "last"):
            self.made.append(f"{operation} {name}")
            slow = 0.002 if name == "last" else 0.0
            racers = [self.contestant(NUMPY, slow), self.contestant("rival", slow)]
            yield Case(f"{operation} of", name, 3, racers, bytes=20)
        yield Skip(f"{operation} of", "huge", "needs 1 PB")


@pytest.fixture
def fleet(monkeypatch):
    found = Fleet()
    monkeypatch.setattr(suite, "cases", found.cases)
    monkeypatch.setattr(suite, "OPERATIONS", ("first", "second"))
    monkeypatch.setattr(suite.limits, "measure", lambda seconds, **sizes: dict(LIMITS))
    return found


def run(n_passes, **how):
    """Return the record of a run."""
    found = record.new(seconds=0.0, quick=False, n_passes=n_passes)
    suite.run(found, ("first", "second"), **how)
    return found


def numbers(found):
    """Return which passes each row has had."""
    return {(one["operation"], one["case"], one["contestant"]): [p["pass"] for p in one["passes"]] for one in found}


def test_later_passes_go_over_all_modules_again(fleet):
    told = []
    found = run(3, told=lambda *begins: told.append(begins))
    assert [begins[0] for begins in told] == [1] * 6 + [2] * 6 + [3] * 6
    assert told[6:12] == [(2, *begins[1:]) for begins in told[:6]]
    assert set(map(tuple, numbers(found["rows"]).values())) == {(1, 2, 3)}
    assert found["finished"] == {"first": 3, "second": 3}
    assert found["skipped"] == [
        {"operation": f"{name} of", "case": "huge", "module": name, "pass": 1, "reason": "needs 1 PB"}
        for name in ("first", "second")
    ]
    for one in found["rows"]:
        times = passes.merged(one["passes"])
        assert {name: one[name] for name in times} == times
        assert one["rounds"] == 3 + 1 + 1
        assert one["gigapixels_per_second"] == pytest.approx(3e-9 / one["median"])
        assert one["of_limit"] == pytest.approx(20 / 2e10 / one["median"])


def test_slow_cases_are_not_raced_and_the_last_are_not_even_made(fleet, monkeypatch):
    monkeypatch.setattr(passes, "LONGEST", 0.001)
    found = numbers(run(2)["rows"])
    assert {name: each for name, each in found.items() if name[1] == "last"} == {
        (f"{operation} of", "last", contestant): [1]
        for operation in ("first", "second")
        for contestant in (NUMPY, "rival")
    }
    assert found["first of", "large", "rival"] == [1, 2]
    assert fleet.made[6:] == ["first small", "first large", "second small", "second large"]


def test_a_module_of_slow_cases_alone_is_left_alone(fleet, monkeypatch):
    monkeypatch.setattr(passes, "LONGEST", -1.0)
    found = run(2)
    assert found["finished"] == {"first": 2, "second": 2}
    assert len(fleet.made) == 6


def test_an_interrupted_second_pass_goes_on_where_it_was(fleet, tmp_path):
    path = tmp_path / "results.json"

    def interrupt(*begins):
        if begins == (2, "second of", "large"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(2, path=path, told=interrupt)
    kept = record.load(path)
    assert kept["finished"] == {"first": 2, "second": 1}
    assert numbers(kept["rows"])["second of", "small", NUMPY] == [1, 2]
    fleet.made.clear()
    fleet.called.clear()
    suite.run(kept, ("first", "second"), path=path)
    assert kept["finished"] == {"first": 2, "second": 2}
    assert set(map(tuple, numbers(kept["rows"]).values())) == {(1, 2)}
    assert fleet.made == ["second small", "second large", "second last"]
    assert len(fleet.called) == 2 * 2 * 3  # cases, contestants, two untimed calls and one timed
    assert record.load(path)["rows"] == kept["rows"]


def test_what_fails_in_a_later_pass_is_named_with_it_and_keeps_its_row(fleet):
    def breaks(number, operation, case):
        fleet.broken = {NUMPY} if (number, operation, case) == (2, "first of", "small") else set()

    found = run(3, told=breaks)
    where = {"operation": "first of", "case": "small", "module": "first", "pass": 2}
    assert found["failures"] == [{**where, "contestant": NUMPY, "failure": "ValueError: broken"}]
    assert suite.ours_failed(found) == found["failures"]
    assert numbers(found["rows"])["first of", "small", NUMPY] == [1, 3]
    assert numbers(found["rows"])["first of", "small", "rival"] == [1, 2, 3]
    (line,) = tables.left_out(found)["Failed or wrong"]
    assert line == f"first of, small, {NUMPY}, pass 2: ValueError: broken"


def test_a_case_that_cannot_be_made_again_is_named(fleet, monkeypatch):
    found = run(1)
    monkeypatch.setattr(suite, "cases", lambda operation, quick: iter([Skip(f"{operation} of", "small", "too large")]))
    found["passes"] = 2
    suite.run(found, ("first",))
    named = [(one["case"], one["reason"]) for one in found["skipped"] if one["pass"] == 2]
    assert named == [(name, suite.NOT_MADE) for name in ("small", "large", "last")]


def test_a_module_that_the_pass_before_did_not_finish_waits(fleet, monkeypatch):
    def breaks(operation, *, quick):
        yield from fleet.cases(operation)
        if operation == "first":
            raise MemoryError("too large")

    monkeypatch.setattr(suite, "cases", breaks)
    found = run(2)
    assert found["finished"] == {"second": 2}
    assert [one["failure"] for one in found["failures"]] == ["MemoryError: too large"]


def test_a_quick_pass_ends_in_time(fleet, monkeypatch):
    found = {**run(1), "quick": True, "passes": 2}
    monkeypatch.setattr(suite, "QUICK_BUDGET", -1.0)
    suite.run(found, ("first", "second"))
    late = [one for one in found["skipped"] if one["pass"] == 2]
    assert [(one["operation"], one["reason"]) for one in late] == [
        ("first", suite.OUT_OF_TIME),
        ("second", suite.OUT_OF_TIME),
    ]
    assert found["finished"] == {"first": 1, "second": 1}


# What is read, shown and compared.


def test_a_record_from_before_there_were_passes_reads_well():
    old = {
        "rows": [{"operation": "warp", "case": "a", "contestant": NUMBA, "median": 1.0}],
        "finished": ["warp"],
        "failures": [{"operation": "warp", "case": "a", "contestant": "torch", "failure": "ValueError: no"}],
        "skipped": [{"operation": "warp", "case": "b", "reason": "needs 1 PB"}],
    }
    found = record.completed(old)
    assert (found["passes"], found["finished"]) == (1, {"warp": 1})
    (one,) = found["rows"]
    (only,) = one["passes"]
    assert (only["pass"], only["median"], only["lower_quartile"], only["fastest"]) == (1, 1.0, 1.0, None)
    assert tables.left_out(found)["Failed or wrong"] == ["warp, a, torch: ValueError: no"]
    assert "passes" not in tables.said_of_run(found)
    assert "passes" not in tables.details(comparison.compared(found)[0])[0]
    assert "passes" not in page.render([found]).partition("How it was measured")[0]


def test_tables_and_the_page_tell_the_passes():
    several = {"rows": [row(FIRST, SECOND), row(FIRST, contestant="SciPy")], "passes": 2}
    found = record.completed({**several, "seconds": 1.0, "finished": {"warp": 2}})
    assert "1 s a contestant, 2 passes." in tables.said_of_run(found)
    unfinished = {**found, "finished": {"warp": 2, "moments": 1}}
    assert "2 passes, which are not all finished" in tables.said_of_run(unfinished)
    head, *lines = tables.details(comparison.compared(found)[0])
    assert [line[head.index("passes")] for line in lines] == ["2", "1"]
    assert lines[0][head.index("ms (quartiles)")] == "1200 (900 to 1700)"
    assert "2 passes" in page.render([found])
    assert "2 passes" in tables.markdown(found)
    assert [one["passes"] for one in csv.DictReader(io.StringIO(tables.csv_text(found)))] == ["2", "1"]


def test_the_drift_between_passes_is_no_slowdown():
    # Quartiles of one pass: fences from 0.6 to 1.4. Of two: 0.9 to 1.7, fences from -0.3 to 2.9.
    slower = replace(FIRST, median=2.0, lower_quartile=1.9, upper_quartile=2.1)
    assert comparison.Change(row(FIRST), row(slower)).slower
    drifts = row(FIRST, SECOND)
    assert comparison.spread(drifts) == pytest.approx((-0.3, 2.9))
    assert not comparison.Change(drifts, row(slower)).slower
    much = replace(FIRST, median=4.0, lower_quartile=3.9, upper_quartile=4.1)
    assert comparison.Change(drifts, row(much, much)).slower
