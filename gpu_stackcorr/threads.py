"""How many threads an operation may take, and what says so."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import ParameterError

VARIABLES = ("GPU_STACKCORR_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
"""The environment variables that name a number of threads, strongest first."""

_context: ContextVar[int | None] = ContextVar("gpu_stackcorr_threads", default=None)


def available_threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Let the operations of a ``with`` block take so many threads each (in this thread or task).

    Parameters
    ----------
    threads : int
        1 or more. The numbers that an operation returns do not depend on it.

    Raises
    ------
    ParameterError
        If `threads` is not a positive integer.

    Examples
    --------
    >>> with use_threads(1):
    ...     allowed_threads()
    1
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ParameterError(f"threads = {threads!r}: allowed are the integers from 1 on")
    token = _context.set(threads)
    try:
        yield
    finally:
        _context.reset(token)


def allowed_threads() -> int:
    """Return the number of threads that an operation called now may take.

    The choice, strongest first: ``with use_threads(...)``; the variables ``GPU_STACKCORR_NUM_THREADS``,
    ``NUMBA_NUM_THREADS`` and ``OMP_NUM_THREADS``; one thread where others already share the processors out, which are
    the workers of Dask and the child processes of ``multiprocessing`` (PyTorch's data loaders among them); all
    processors that this process may use.
    """
    if (chosen := _context.get()) is not None:
        return chosen
    for variable in VARIABLES:
        # OMP_NUM_THREADS may be a list, one number a nesting level.
        value = os.environ.get(variable, "").partition(",")[0].strip()
        if value.isdecimal() and int(value) > 0:
            return int(value)
    return 1 if _is_worker() else available_threads()


def _is_worker() -> bool:
    """Whether this thread or process is one of many workers that a scheduler keeps busy."""
    if multiprocessing.parent_process() is not None:
        return True
    scheduler = sys.modules.get("distributed.worker")  # not imported here: then it is no worker's
    if scheduler is None:
        return False
    try:
        scheduler.get_worker()
    except ValueError:
        return False
    return True
