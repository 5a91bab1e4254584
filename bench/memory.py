"""Peak memory of one call, on the host and on a CUDA device.

The host's is the largest resident set during the call less that before it. Linux keeps the largest in VmHWM, which
writing 5 to ``/proc/self/clear_refs`` sets back; where that is not allowed, a thread looks at the resident set every
millisecond. What the allocator keeps from earlier calls is given back before, where the C library can. Elsewhere than
on Linux it is not known.

The device's is what CuPy's pool grows by, and the largest that torch has allocated.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PERIOD = 1e-3
"""Seconds between two looks of the thread."""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak(NamedTuple):
    """Bytes beyond what there was before; None where they are not known."""

    host: int | None
    device: int | None


def peak_memory(call: Callable[[], Any], *, on_device: bool = False) -> Peak:
    """Return the peak memory of one call; what is done in a first call alone should be done before."""
    device = _device_bytes() if on_device else None
    with _looker()() as host:
        kept = call()
    grown = None if device is None else device()
    del kept
    return Peak(host[0] if host else None, grown)


def method() -> str:
    """Return how the host's peak is found on this machine."""
    return {_by_kernel: "VmHWM", _by_thread: "sampled every millisecond", _unknown: ""}[_looker()]


@cache
def _looker() -> Callable[[], Any]:
    """Return the context that finds the peak of its block."""
    if not _STATUS.exists():
        return _unknown
    try:
        _CLEAR.write_text("5")
    except OSError:
        return _by_thread
    return _by_kernel


@contextmanager
def _by_kernel() -> Iterator[list[int]]:
    """Yield a list that holds the growth of the resident set, by the kernel's own mark, after the block."""
    _give_back()
    _CLEAR.write_text("5")
    found: list[int] = []
    before = _status("VmRSS")
    yield found
    found.append(max(0, _status("VmHWM") - before))


@contextmanager
def _by_thread() -> Iterator[list[int]]:
    """Yield a list that holds the growth of the resident set, as a thread saw it, after the block."""
    _give_back()
    found: list[int] = []
    before = largest = _status("VmRSS")
    ended = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not ended.wait(PERIOD):
            largest = max(largest, _status("VmRSS"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
        largest = max(largest, _status("VmRSS"))
    finally:
        ended.set()
        watcher.join()
    found.append(largest - before)


@contextmanager
def _unknown() -> Iterator[list[int]]:
    """Yield a list that stays empty."""
    yield []


def _status(name: str) -> int:
    """Return a size of this process in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {name}")


def _give_back() -> None:
    """Let the allocator return free memory to the system, where it can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _device_bytes() -> Callable[[], int]:
    """Return what gives the growth of the device's memory from now on."""
    torch = sys.modules.get("torch")
    with_torch = torch is not None and torch.cuda.is_available()
    pool = None
    if cupy := sys.modules.get("cupy"):
        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
    held = 0 if pool is None else pool.total_bytes()
    if torch is not None and with_torch:
        torch.cuda.reset_peak_memory_stats()
        held += torch.cuda.memory_allocated()

    def growth() -> int:
        now = 0 if pool is None else pool.total_bytes()
        if torch is not None and with_torch:
            now += torch.cuda.max_memory_allocated()
        return int(max(0, now - held))

    return growth
