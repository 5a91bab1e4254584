"""``pytest bench``: the same cases through pytest-benchmark, a test a contestant.

The small cases unless ``--full-size`` is given. Cases are made for their names when they are collected, and again, one
at a time, when they run. Contestants run one after the other here: where the speed of a machine drifts, ``stackcorr
bench``, which calls them in turn, is the fairer measure.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import Case, Skip, verified
from .suite import cases


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of sizes."""
    parser.addoption("--full-size", action="store_true", help="bench: the cases of a full run, not the small ones")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Cases | None:
    """Collect the modules of cases."""
    if file_path.parent != Path(__file__).parent or not file_path.match("bench_*.py"):
        return None
    return Cases.from_parent(parent, path=file_path)


class Cases(pytest.Module):
    """A module of cases, with a test for each contestant."""

    def collect(self) -> Iterator[Any]:
        """Yield the tests, each with its case as the group of pytest-benchmark's table."""
        pytest.importorskip("pytest_benchmark")
        full, operation = self.config.getoption("--full-size"), self.path.stem.removeprefix("bench_")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of rivals, when they are imported
            found = [_named(case) for case in cases(operation, quick=not full)]
        maker = _Maker(operation, quick=not full)
        for number, (case, names) in enumerate(found):
            for name in names:
                test = pytest.Function.from_parent(self, name=f"{case}: {name}", callobj=_test(maker, number, name))
                test.add_marker(pytest.mark.benchmark(group=f"{operation}: {case}"))
                test.add_marker(pytest.mark.filterwarnings("ignore"))
                yield test


def _named(case: Case | Skip) -> tuple[str, list[str]]:
    """Return the names of a case and its contestants; a case that cannot be done here has none."""
    return case.name, [] if isinstance(case, Skip) else [contestant.name for contestant in case.contestants]


class _Maker:
    """Makes the cases of a module in order, and keeps the last."""

    def __init__(self, operation: str, *, quick: bool) -> None:
        self.operation, self.quick = operation, quick
        self._begin()

    def _begin(self) -> None:
        self.left = enumerate(cases(self.operation, quick=self.quick))
        self.number, self.case = -1, None

    def made(self, number: int) -> Case:
        """Return a case; going on is cheap, going back begins anew."""
        if number < self.number:
            self._begin()
        while self.number < number:
            self.case = None  # its memory, before the next is made
            self.number, self.case = next(self.left)
        assert isinstance(self.case, Case)
        return self.case


def _test(maker: _Maker, number: int, name: str) -> Callable[[Any], None]:
    """Return the test that verifies and measures a contestant."""

    def run(benchmark: Any) -> None:
        case = maker.made(number)
        contestant = next(one for one in case.contestants if one.name == name)
        benchmark.extra_info.update(error=verified(case, contestant, contestant.waited()), note=contestant.note)
        benchmark(contestant.waited)

    return run
