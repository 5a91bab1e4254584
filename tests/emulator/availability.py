"""Whether the emulator can run here: a test is skipped where it cannot, or fails where REQUIRE_EMULATOR is 1."""

from __future__ import annotations

import os
import shutil
import sys

import pytest


def require_emulator() -> None:
    """Skip or fail the test that runs, unless the emulator can run."""
    if sys.platform != "linux":
        give_up("the emulator runs on Linux only")
    if shutil.which("g++") is None:
        give_up("the emulator needs g++, which is not installed (apt-get install g++)")


def give_up(reason: str) -> None:
    """Skip the test that runs, or fail it where the emulator is required."""
    if os.environ.get("REQUIRE_EMULATOR") == "1":
        pytest.fail(f"REQUIRE_EMULATOR=1, but {reason}")
    pytest.skip(reason)
