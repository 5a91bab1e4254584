"""Runs the `gpu` tests in several processes: most of the time is the compiler's.

    python bench/gpu/run_tests.py [ARGUMENTS OF PYTEST]

With pytest-xdist the processes share all tests, and one whose device a kernel has broken is replaced; without it, each
file has a process of its own. Interrupted, it says what it knows. Exit status 1 where a test failed or none was found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

PYTEST = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short"]
PYTEST += ["-W", "default"]  # versions of libraries that we do not know may warn
PYTEST += ["-p", "no:benchmark"]  # warns beside xdist, with paths of the machine
PROCESSES = max(1, min(12, (os.cpu_count() or 1) - 2))

NO_TESTS = 5
"""Pytest's exit status where nothing was selected."""

SECONDS_A_TEST = 90


def main() -> None:
    """Run the command."""
    if find_spec("xdist"):
        options = ["-n", str(PROCESSES), "-p", "bench.gpu.broken_device"]
        if find_spec("pytest_timeout"):
            options += [f"--timeout={SECONDS_A_TEST}", "--timeout-method=thread"]
        os.execv(sys.executable, [*PYTEST, *options, *sys.argv[1:]])
    by_file(sys.argv[1:])


def by_file(arguments: list[str]) -> None:
    """Run each file with tests on its own."""
    found = subprocess.run([*PYTEST, "--collect-only", *arguments], capture_output=True, text=True, check=False)
    files = list(dict.fromkeys(line.partition("::")[0] for line in found.stdout.splitlines() if "::" in line))
    if found.returncode not in (0, NO_TESTS) or not files:
        print(found.stdout, found.stderr)
        sys.exit(f"ERROR no tests could be collected (pytest: {found.returncode})")
    options = [argument for argument in arguments if not Path(argument.partition("::")[0]).exists()]

    def run(file: str) -> int:
        process = subprocess.run(
            [*PYTEST, file, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(f"{file}\n{process.stdout}", flush=True)
        return process.returncode

    with ThreadPoolExecutor(PROCESSES) as pool:
        statuses = list(pool.map(run, files))
    print(f"{len(files)} files, {sum(map(bool, statuses))} of them with failures")
    sys.exit(1 if any(statuses) else 0)


if __name__ == "__main__":
    main()
