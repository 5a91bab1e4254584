"""Runs Python under AddressSanitizer or ThreadSanitizer, and says which tests run under both.

A sanitizer's library must be in the process from its start, so each run is a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .availability import give_up, require_emulator

TESTS = Path(__file__).parents[1]

SELECTION = ["emulator/test_example_kernels.py", "emulator/test_operations.py"]
"""Tests, as pytest takes them from ``tests/``, that run under each sanitizer. Few: two to ten times as slow."""

LIBRARIES = {"address": "libasan.so", "thread": "libtsan.so"}
OPTIONS = {
    # Python leaks at its end, and that is not the question.
    "address": {"ASAN_OPTIONS": "detect_leaks=0:halt_on_error={halt}"},
    "thread": {"TSAN_OPTIONS": "halt_on_error={halt}:report_signal_unsafe=0"},
}


def run_python(sanitizer: str, arguments: Sequence[str], *, halt: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Python in ``tests/`` under a sanitizer, which ends it at its first report or only prints.

    Skips the test where the sanitizer cannot run, or fails it where the emulator is required.
    """
    require_emulator()
    library, refusal = _library(sanitizer)
    if refusal:
        give_up(refusal)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=TESTS,
        env=_environment(sanitizer, library, halt),
        capture_output=True,
        text=True,
        check=False,
    )


def by_section(said: str) -> dict[str, str]:
    """Return what was said after each line ``== name``."""
    _, *sections = re.split(r"^== (\w+)\n", said, flags=re.MULTILINE)
    return dict(zip(sections[::2], sections[1::2], strict=True))


@cache
def _library(sanitizer: str) -> tuple[str, str]:
    """Return the sanitizer's library, and why it cannot be used, if so."""
    name = LIBRARIES[sanitizer]
    command = ["g++", f"-print-file-name={name}"]
    library = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_absolute():
        return library, f"{name} is not installed"
    environment = _environment(sanitizer, library, True)
    attempt = subprocess.run([sys.executable, "-c", ""], env=environment, capture_output=True, text=True, check=False)
    # Under some kernels ThreadSanitizer finds the addresses that it needs taken: sysctl vm.mmap_rnd_bits=28 helps.
    return library, f"Python does not start under {name}: {attempt.stderr[:200]}" if attempt.returncode else ""


def _environment(sanitizer: str, library: str, halt: bool) -> dict[str, str]:
    options = {name: value.format(halt=int(halt)) for name, value in OPTIONS[sanitizer].items()}
    paths = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return {
        **kept,
        **options,
        "EMULATOR_SANITIZER": sanitizer,
        "LD_PRELOAD": library,
        "PYTHONPATH": os.pathsep.join(paths),
    }
