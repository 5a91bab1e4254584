"""The command line once more, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

PROGRAM = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the first one ends the other
sys.path[:] = json.loads(sys.argv.pop(1))
from gpu_stackcorr.cli import main
main()
"""


def run(words: Sequence[str]) -> int:
    """Run ``stackcorr`` with some words in a fresh interpreter that looks for modules where this one does.

    No child of ``multiprocessing``: operations take one thread there. Returns the exit status, which is negative where
    a signal ended the process. An interrupt ends it.
    """
    return subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(sys.path), *words], check=False).returncode


def watch() -> Callable[[], None]:
    """Return what ends this process, when it is called, if the one that ran it has ended."""
    parent = os.getppid()

    def check() -> None:
        if os.getppid() != parent:
            sys.exit("the process that this one worked for has ended")

    return check
