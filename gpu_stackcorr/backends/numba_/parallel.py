"""Threads for compiled loops that release the GIL: one pool a process, shared by all callers.

Of k callers at once each works itself, and the pool's threads help whom they can: no more threads run than the callers
and the pool, whoever nests or forks. What a thread computes must not depend on which thread it is.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from gpu_stackcorr.threads import allowed_threads, available_threads

SAMPLES_A_TASK = 1 << 14, 1 << 17
"""Samples that a task interpolates, at least and at most: enough to hide Python's share of ten microseconds, few enough
for all threads to have three tasks and to end together."""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def run(task: Callable[[int], object], count: int) -> None:
    """Call ``task(0)`` to ``task(count - 1)``, each once, in any order, in as many threads as are allowed.

    The caller begins with the first task, helpers with the last one, so that in steps that follow one another a thread
    finds what it wrote itself, more often than not. To fetch that from another core can be slow: in minutes in which it
    was, on two cores of a virtual machine (Zen 5), a warp took 0.74 ms in place of 0.82, otherwise 0.49 and 0.50.

    An exception of a task is raised here, after the tasks that had begun.
    """
    helpers = min(allowed_threads(), count) - 1
    numbers = deque(range(count))  # hands out each number once, whatever thread asks

    def work(take: Callable[[], int]) -> None:
        while numbers:
            try:
                number = take()
            except IndexError:  # another thread was faster
                return
            task(number)

    futures = [_helpers(helpers).submit(work, numbers.pop) for _ in range(helpers)]
    try:
        work(numbers.popleft)
    finally:
        for future in futures:
            if not future.cancel():  # not begun: there is nothing left for it to do
                future.result()


def samples_a_task(samples: int) -> int:
    """Return how many samples a task takes, of so many in all."""
    least, most = SAMPLES_A_TASK
    return max(least, min(most, samples // (3 * allowed_threads())))


def cut(length: int, parts: int, *, multiple: int = 1) -> list[slice]:
    """Cut ``range(length)`` into at most `parts` slices, nearly equal, starting at multiples of `multiple`."""
    blocks = -(-length // multiple)
    parts = max(1, min(parts, blocks))
    ends = [min(length, multiple * (blocks * part // parts)) for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _helpers(wanted: int) -> ThreadPoolExecutor:
    """Return the pool, with at least `wanted` threads."""
    global _pool, _size
    with _lock:
        if _pool is None or _size < wanted:
            _size = max(wanted, available_threads() - 1, 1)
            _pool = ThreadPoolExecutor(_size, "stackcorr-numba")  # an older pool ends when its last caller is done
        return _pool


def _forget() -> None:
    """Begin anew in a forked child, to which no thread comes along."""
    global _lock, _pool, _size
    _lock, _pool, _size = threading.Lock(), None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
