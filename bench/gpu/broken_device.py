"""A plugin of pytest: a process whose device a kernel has broken ends, and pytest-xdist puts another in its place.

After an illegal access every call of CUDA in that process fails; tests that come later would fail for nothing. Why the
process ended stands in the file that BROKEN_DEVICE_LOG names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """End the process after a failure that the device does not outlive."""
    report = yield
    if report.failed and _is_broken():
        with Path(os.environ["BROKEN_DEVICE_LOG"]).open("a") as log:
            log.write(f"{item.nodeid}\n{report.longreprtext}\n\n")
        os._exit(1)
    return report


def _is_broken() -> bool:
    """Return whether the device still answers."""
    if "cupy" not in sys.modules:
        return False
    try:
        sys.modules["cupy"].cuda.runtime.deviceSynchronize()
    except Exception:
        return True
    return False
