"""How contestants are raced: what is verified, timed, weighed, held against limits, written and taken up again."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gpu_stackcorr.benchmarks import module

harness, memory, record, roofline, suite = map(module, ("harness", "memory", "record", "roofline", "suite"))
OURS, Case, Contestant, Skip = harness.OURS, harness.Case, harness.Contestant, harness.Skip

LIMITS = {
    "read_bytes_per_second": 20e9,
    "copy_bytes_per_second": 10e9,
    "write_bytes_per_second": 5e9,
    "float32_flops": 100e9,
    "float64_flops": 50e9,
}


def zeros(name: str = harness.path_name("numpy"), **rest) -> Contestant:
    """Return a contestant that is right."""
    return Contestant(name, lambda: np.zeros(3), harness.largest_difference(np.zeros(3)), 0.0, **rest)


def ones(name: str) -> Contestant:
    """Return a contestant that is off by 1."""
    return Contestant(name, lambda: np.ones(3), harness.largest_difference(np.zeros(3)), 0.5)


def fails(name: str) -> Contestant:
    """Return a contestant that raises."""
    return Contestant(name, lambda: 1 / 0)


# A race.


def test_a_wrong_result_of_ours_is_never_timed():
    with pytest.raises(AssertionError, match=r"error 1, allowed 0[.]5"):
        harness.race(Case("operation", "case", 3, [ones(OURS)]))


def test_an_error_that_is_no_number_is_no_right_result():
    wrong = Contestant(OURS, lambda: np.full(3, np.nan), harness.largest_difference(np.zeros(3)), tolerance=0.5)
    with pytest.raises(AssertionError, match="error nan"):
        harness.race(Case("operation", "case", 3, [wrong]))


def test_a_wrong_result_of_a_rival_is_told():
    (row,) = harness.race(Case("operation", "case", 3, [ones("rival")]), seconds=0)
    assert row.error == 1


def test_a_contestant_that_fails_leaves_the_others_alone():
    failed = {}
    case = Case("operation", "case", 3, [ones(OURS), fails("rival"), zeros()])
    rows = harness.race(case, seconds=0, failed=lambda contestant, error: failed.update({contestant.name: error}))
    assert [row.contestant for row in rows] == [harness.path_name("numpy")]
    assert {name: type(error) for name, error in failed.items()} == {OURS: AssertionError, "rival": ZeroDivisionError}
    with pytest.raises(ZeroDivisionError):
        harness.race(Case("operation", "case", 3, [fails("rival")]))


@pytest.mark.parametrize(
    ("turn", "short", "rounds"),
    [(0.0, 0.0, "ab" * 3), (0.0, 60.0, "aabb" * 3), (60.0, 60.0, "aaaa" + "bbbb")],  # short: one call is not timed
    ids=["long calls", "calls that fill a turn", "short calls"],
)
def test_contestants_take_turns_and_all_have_three_rounds(turn, short, rounds, monkeypatch):
    monkeypatch.setattr(harness, "TURN", turn)
    monkeypatch.setattr(harness, "SHORT", short)
    called = []
    contestants = [Contestant(name, lambda name=name: called.append(name)) for name in "ab"]
    rows = harness.race(Case("operation", "case", 1, contestants), seconds=0)
    assert "".join(called) == "aa" + "bb" + rounds  # a first call, and one for memory each
    assert [row.rounds for row in rows] == [3, 3]


def test_turns_end_while_contestants_have_time_left(monkeypatch):
    monkeypatch.setattr(harness, "TURN", 0.01)
    called = []
    contestants = [Contestant(name, lambda name=name: (called.append(name), time.sleep(0.002))) for name in "ab"]
    harness.race(Case("operation", "case", 1, contestants), seconds=0.05)
    turns = "".join(name for name, _ in itertools.groupby(called))
    assert len(turns) > 4
    assert turns == "ab" * (len(turns) // 2) + "a" * (len(turns) % 2)


def test_times_wait_for_the_device(monkeypatch):
    monkeypatch.setattr(memory, "_device_bytes", lambda: lambda: 7)
    waits = zeros(synchronise=lambda: time.sleep(0.02))
    (row,) = harness.race(Case("operation", "case", 3, [waits]), seconds=0)
    assert row.fastest >= 0.02
    assert row.first_call >= 0.02
    assert row.on_device
    assert row.peak_device_bytes == 7


def test_rates_are_counted_by_the_case():
    contestant = Contestant("four", lambda: time.sleep(0.01), work=4, note="n", backend="numba")
    case = Case("operation", "case", 10**6, [contestant], bytes=3 * 10**6, operations=10**7)
    (row,) = harness.race(case, seconds=0, limits={"cpu": LIMITS})
    assert row.gigapixels_per_second == pytest.approx(4e-3 / row.median)
    assert row.gigabytes_per_second == pytest.approx(3e-3 / row.median)
    assert row.least == 4e7 / 100e9  # more than the 3e6 / 20e9 that the bytes take
    assert row.of_limit == row.least / row.median
    assert (row.bound, row.backend, row.note) == ("neither", "numba", "n")
    assert row.fastest <= row.lower_quartile <= row.median <= row.upper_quartile <= row.slowest


def test_without_counts_or_limits_there_is_no_ratio():
    (row,) = harness.race(Case("operation", "case", 3, [zeros()]), seconds=0, limits={"cpu": LIMITS})
    assert (row.gigabytes_per_second, row.least, row.of_limit, row.bound) == (None, None, None, "")
    (row,) = harness.race(Case("operation", "case", 3, [zeros()], bytes=3), seconds=0)
    assert row.of_limit is None


def test_rivals_that_are_not_there_are_named():
    assert harness.optional("json", "math") == [json, math]
    assert harness.optional("no_such_module") is None
    assert harness.missing()["no_such_module"] == "ModuleNotFoundError: No module named 'no_such_module'"


# The roofline.


@pytest.mark.parametrize(
    ("n_bytes", "written", "seconds"),
    [
        (20e9, 0, 1.0),  # read alone
        (10e9, 5e9, 1.0),  # a copy
        (5e9, 5e9, 1.0),  # written alone
        (30e9, 5e9, 1.0 + 1.0),  # a copy of 5 GB, and 20 GB read beside it
        (15e9, 10e9, 1.0 + 1.0),  # a copy of 5 GB, and 5 GB written beside it
    ],
)
def test_bytes_move_at_the_rate_of_their_kind(n_bytes, written, seconds):
    assert roofline.memory_seconds(LIMITS, n_bytes, written) == pytest.approx(seconds)


def test_writing_is_at_the_rate_of_a_copy_where_it_was_not_measured():
    without = {name: rate for name, rate in LIMITS.items() if not name.startswith("write")}
    assert roofline.memory_seconds(without, 10e9, 10e9) == 1.0


@pytest.mark.parametrize(
    ("operations", "arithmetic", "seconds", "expected"),
    [
        (None, "float32", 1.5, (1.0, "memory")),
        (50e9, "float32", 1.5, (1.0, "memory")),
        (50e9, "float64", 1.5, (1.0, "memory")),
        (100e9, "float64", 3.0, (2.0, "arithmetic")),
        (100e9, "float64", 5.0, (2.0, "neither")),
    ],
)
def test_the_larger_least_time_bounds(operations, arithmetic, seconds, expected):
    found = roofline.least_seconds(
        LIMITS, n_bytes=20e9, written=0, operations=operations, arithmetic=arithmetic, seconds=seconds
    )
    assert found == expected


def test_a_call_of_some_microseconds_is_bound_by_its_overhead():
    found = roofline.least_seconds(LIMITS, n_bytes=20e3, written=0, operations=None, arithmetic="float32", seconds=3e-5)
    assert found == (1e-6, "overhead")


# Peak memory.


@pytest.mark.parametrize("look", ["_by_kernel", "_by_thread"])
def test_the_peak_of_a_call_is_what_it_held(look, monkeypatch):
    if not memory.method() or (look == "_by_kernel" and memory.method() != "VmHWM"):
        pytest.skip("this system does not tell")
    monkeypatch.setattr(memory, "_looker", lambda: getattr(memory, look))

    def call():
        held = np.ones(2**23)  # 64 MiB, for so long that a thread sees it
        time.sleep(0.02)
        del held
        return np.ones(2**20)

    call()
    peak = memory.peak_memory(call)
    assert 60 * 2**20 < peak.host < 80 * 2**20
    assert peak.device is None


def test_where_the_system_does_not_tell_nothing_is_known(monkeypatch):
    monkeypatch.setattr(memory, "_looker", lambda: memory._unknown)
    assert memory.peak_memory(lambda: None) == (None, None)
    assert memory.method() == ""


class Pool:
    """CuPy's pool, as far as it is asked."""

    total = 100

    def free_all_blocks(self):
        self.total = 40

    def total_bytes(self):
        return self.total


class Cupy:
    """CuPy with one pool."""

    def __init__(self):
        self.pool = Pool()

    def get_default_memory_pool(self):
        return self.pool


def test_the_device_s_peak_is_what_the_pool_grew_by(monkeypatch):
    cupy = Cupy()
    monkeypatch.setitem(memory.sys.modules, "cupy", cupy)
    monkeypatch.setitem(memory.sys.modules, "torch", None)
    peak = memory.peak_memory(lambda: setattr(cupy.pool, "total", 190), on_device=True)
    assert peak.device == 150


# A run, and its record.


@pytest.fixture
def tiny(monkeypatch):
    """The suite with two modules of tiny cases, and limits that are known; gives the names of the cases made."""
    made = []

    def cases(operation, *, quick=False):
        if operation == "broken":
            raise MemoryError("too large")
        for name in ("small", "large"):
            made.append(f"{operation} {name}")
            yield Case(operation, name, 3, [zeros(), zeros(harness.path_name("numba"), backend="numba"), ones("rival")])
        yield Skip(operation, "huge", "needs 1 PB")

    monkeypatch.setattr(suite, "cases", cases)
    monkeypatch.setattr(suite, "OPERATIONS", ("first", "second"))
    monkeypatch.setattr(suite.limits, "measure", lambda seconds, **sizes: dict(LIMITS))
    return made


def names(found, of="rows"):
    """Return operation and case of what a record has."""
    return list(dict.fromkeys((entry["operation"], entry["case"]) for entry in found[of]))


ALL = [("first", "small"), ("first", "large"), ("second", "small"), ("second", "large")]


def test_a_run_records_everything(tiny, tmp_path):
    found = record.new(seconds=0.0, quick=False)
    suite.run(found, ("first", "broken", "second"), path=tmp_path / "results.json")
    assert names(found) == names(found, "cases") == ALL
    assert found["finished"] == {"first": 1, "second": 1}
    assert names(found, "skipped") == [("first", "huge"), ("second", "huge")]
    (failure,) = found["failures"]
    where = {"operation": "broken", "case": "", "contestant": "", "module": "broken", "pass": 1}
    assert failure == {**where, "failure": "MemoryError: too large"}
    assert suite.ours_failed(found) == [failure]
    assert found["limits"]["cpu"] == LIMITS
    assert found["machine"]["versions"]["numpy"] == np.__version__
    assert record.load(tmp_path / "results.json")["rows"] == found["rows"]
    suite.run(found, ("first", "broken"), path=tmp_path / "results.json")
    assert found["failures"] == [failure]


def test_an_interrupted_run_loses_nothing_and_goes_on(tiny, tmp_path):
    path = tmp_path / "results.json"

    def interrupt(_, operation, case):
        if (operation, case) == ("second", "large"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        suite.run(record.new(seconds=0.0, quick=False), suite.OPERATIONS, path=path, told=interrupt)
    kept = record.load(path)
    assert names(kept) == ALL[:3]
    tiny.clear()
    suite.run(kept, suite.OPERATIONS, path=path)
    assert names(kept) == ALL
    assert len(kept["rows"]) == 3 * 4
    assert tiny == ["second small", "second large"]  # the finished module is not made again
    assert names(kept, "skipped") == [("first", "huge"), ("second", "huge")]


def test_a_backend_leaves_the_others_of_ours_out(tiny):
    found = record.new(seconds=0.0, quick=False)
    suite.run(found, ("first",), backend="numba")
    assert {row["contestant"] for row in found["rows"]} >= {harness.path_name("numba"), "rival"}
    assert {row["backend"] for row in found["rows"]} == {"numba", None}


def test_a_quick_run_begins_no_case_when_its_time_is_up(tiny, monkeypatch):
    monkeypatch.setattr(suite, "QUICK_BUDGET", -1.0)
    found = record.new(seconds=0.0, quick=True)
    suite.run(found, suite.OPERATIONS)
    assert (found["rows"], found["finished"]) == ([], {})
    assert [entry["reason"] for entry in found["skipped"]] == [suite.OUT_OF_TIME] * 2


def test_a_record_has_nothing_that_json_has_not(tmp_path):
    case = Case("operation", "case", np.int64(3), [], bytes=np.int64(7), parameters={"sigma": np.float64(2)})
    row = harness.Row("operation", "case", "rival", 1.0, 1.0, 1.0, 3, 1.0, math.inf, "float32")
    entry = record.row_entry(row)
    record.save(tmp_path / "x.json", {"cases": [record.case_entry(case)], "rows": [entry]})
    found = record.load(tmp_path / "x.json")
    assert found["cases"][0]["parameters"] == {"sigma": 2.0}
    assert found["rows"][0]["error"] is None
    assert found["rows"][0]["note"] == "float32, its result is not finite"


def test_pytest_benchmark_runs_the_cases(tmp_path):
    pytest.importorskip("pytest_benchmark")
    file = Path(suite.__file__).with_name("bench_spline_filter.py")
    options = ["-q", "-p", "no:cacheprovider", "--benchmark-min-rounds=1", "--benchmark-max-time=0.01"]
    written = tmp_path / "benchmark.json"
    command = [sys.executable, "-m", "pytest", *options, f"--benchmark-json={written}", str(file), "-k", "numpy"]
    # By that variable pytest-benchmark sees that tests run side by side, and would time nothing.
    alone = {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}
    done = subprocess.run(command, env=alone, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
    found = json.loads(written.read_text())["benchmarks"]
    assert found
    for one in found:
        assert one["group"].startswith("spline_filter: ")
        assert one["name"].endswith(harness.path_name("numpy"))
        assert one["extra_info"]["error"] < 1e-9


def test_every_module_of_cases_is_in_the_suite():
    folder = Path(suite.__file__).parent
    assert {path.stem.removeprefix("bench_") for path in folder.glob("bench_*.py")} == set(suite.OPERATIONS)
