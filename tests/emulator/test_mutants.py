"""Bugs planted in the project's own kernels are shown by the cases of ``operations.py``."""

from typing import get_args

import pytest

from . import sanitizers
from .availability import require_emulator
from .device import Schedule
from .mutants import OFF_BY_ONE, READS_TOO_FAR, shown, without_barriers


@pytest.fixture(autouse=True)
def _emulator():
    require_emulator()


@pytest.mark.parametrize("mutant", [*without_barriers(), *OFF_BY_ONE], ids=str)
def test_plain_runs_show_it(mutant):
    assert mutant.cases, "name some in CASES_OF_BARRIERS"
    assert shown(mutant, reversed(get_args(Schedule)))


def test_address_sanitizer_shows_what_is_read_and_not_used():
    assert not any(shown(mutant, get_args(Schedule)) for mutant in READS_TOO_FAR)
    run = sanitizers.run_python("address", ["-m", "emulator.mutants"], halt=False)
    said = sanitizers.by_section(run.stderr)
    assert len(said) == len(READS_TOO_FAR)
    assert all("use-after-poison" in section for section in said.values())
