"""The benchmarks, tiny: every contestant that is installed does its work, and ours are right."""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np
import pytest

from gpu_stackcorr import available_backends

pytest.importorskip("bench", reason="the benchmarks are not beside the package")
if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from bench import (
    bench_cross_moments,
    bench_elastic_transform,
    bench_gaussian_filter,
    bench_moments,
    bench_random_field,
    bench_warp,
    readme,
)
from bench.__main__ import main
from bench.harness import OURS, Case, Contestant, Row, largest_difference, race
from bench.suite import OPERATIONS
from bench.tables import markdown

CASES = {
    "moments of integers": lambda: bench_moments.case("uint8", (5, 64, 80)),
    "moments of floats": lambda: bench_moments.case("float64", (5, 64, 80)),
    "gaussian_filter": lambda: bench_gaussian_filter.case("float32", (33, 40), 2.0),
    "gaussian_filter in 3-D": lambda: bench_gaussian_filter.case("float64", (9, 10, 11), 1.0),
    "warp": lambda: bench_warp.case("float32", (33, 40), 1),
    "random_field": lambda: bench_random_field.case("float32", (2, 33, 40)),
    "cross_moments": lambda: bench_cross_moments.case("uint8", (9, 16, 24)),
    "elastic_transform": lambda: bench_elastic_transform.slice_case("uint8", (64, 80)),
    "elastic_transform in 3-D": lambda: bench_elastic_transform.cube_case((16, 17, 18)),
    "experiment": lambda: bench_elastic_transform.experiment_case((4, 64, 80)),
}


@pytest.mark.parametrize("name", CASES)
def test_contestants_do_their_work(name):
    case = CASES[name]()
    rows = race(case, seconds=0)
    assert [row.contestant for row in rows] == [contestant.name for contestant in case.contestants]
    assert rows[0].contestant == OURS
    assert rows[0].error is not None
    assert all(row.rounds == 3 and 0 < row.lower_quartile <= row.median <= row.upper_quartile for row in rows)


def test_a_wrong_result_of_ours_is_never_timed():
    wrong = Contestant(OURS, lambda: np.ones(3), largest_difference(np.zeros(3)), tolerance=0.5)
    with pytest.raises(AssertionError, match=r"error 1, allowed 0[.]5"):
        race(Case("operation", "case", 3, [wrong]))


def test_an_error_that_is_no_number_is_no_right_result():
    wrong = Contestant(OURS, lambda: np.full(3, np.nan), largest_difference(np.zeros(3)), tolerance=0.5)
    with pytest.raises(AssertionError, match="error nan"):
        race(Case("operation", "case", 3, [wrong]))


def test_a_wrong_result_of_a_rival_is_told():
    rival = Contestant("rival", lambda: np.ones(3), largest_difference(np.zeros(3)))
    (row,) = race(Case("operation", "case", 3, [rival]), seconds=0)
    assert row.error == 1


def test_the_table_gives_ratios_to_ours():
    rows = [
        Row("warp", "small", OURS, 0.001, 0.001, 0.002, 9, 1.5, 1e-9, ""),
        Row("warp", "small", "rival", 0.0025, 0.002, 0.003, 9, 0.6, None, "other numbers"),
    ]
    lines = markdown(rows).splitlines()
    assert lines[0] == "## warp: small"
    assert lines[4] == f"| {OURS} | 1.00 (1.00 to 2.00) | 1.5 | 1.00 | 1.0e-09 |  |"
    assert lines[5] == "| rival | 2.50 (2.00 to 3.00) | 0.6 | 2.50 |  | other numbers |"


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_random_field, "cases", lambda: iter([bench_random_field.case("float32", (2, 8, 8))]))
    arguments = ["bench", "random_field", "--seconds", "0", "--output", str(tmp_path / "new" / "cpu")]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    record = json.loads((tmp_path / "new" / "cpu.json").read_text())
    assert record["rows"][0]["contestant"] == OURS
    assert record["machine"]["versions"]["numpy"] == np.__version__
    assert (tmp_path / "new" / "cpu.md").read_text().strip() == capsys.readouterr().out.strip()


def test_the_readme_shows_the_fastest_rival_and_losses_first():
    rows = [
        {"operation": "warp", "case": "a", "contestant": OURS, "median": 0.001, "note": ""},
        {"operation": "warp", "case": "a", "contestant": f"{OURS}, numpy backend", "median": 0.0001, "note": ""},
        {"operation": "warp", "case": "a", "contestant": "limit: memory", "median": 0.0001, "note": ""},
        {"operation": "warp", "case": "a", "contestant": "slow", "median": 0.01, "note": ""},
        {"operation": "warp", "case": "a", "contestant": "fast", "median": 0.004, "note": "other numbers"},
        {"operation": "warp", "case": "b", "contestant": OURS, "median": 0.002, "note": ""},
        {"operation": "warp", "case": "b", "contestant": "fast", "median": 0.001, "note": ""},
    ]
    lines = readme.table(rows).splitlines()
    assert lines[2:] == ["| warp | b | 2 | fast | 1 | 0.5 |", "| warp | a | 1 | fast (other numbers) | 4 | 4 |"]
    text = f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow"
    assert readme.replaced(text, "new") == f"above\n{readme.BEGIN}\nnew\n{readme.END}\nbelow"
    with pytest.raises(ValueError, match="has no"):
        readme.replaced("nothing", "new")


def test_unknown_operations_are_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "wrap"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "wrap" in capsys.readouterr().err


def test_every_operation_has_its_benchmark():
    modules = {name.removeprefix("bench_") for name in globals() if name.startswith("bench_")}
    assert modules == set(OPERATIONS)
    assert len(list(itertools.islice(bench_gaussian_filter.cases(), 2))) == 2
