"""Volumes larger than memory: the battery slab by slab, within a memory budget, with what it will cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import battery, measurement
from .arrays import Stack
from .backends.base import Backend
from .correlation import find_reference, slabs
from .errors import ParameterError
from .records import Battery
from .threads import allowed_threads, use_threads
from .transforms import Transform

DEFAULT_MEMORY = 512 * 2**20
"""Bytes that a run may use beside the interpreter and its libraries."""

WORK_BYTES = 16 * 2**20
"""Bytes of temporaries of a thread, whatever the size of a slice."""

STEPS_PER_PIXEL = 64
"""Further bytes a pixel of one slice and thread where slices are transformed: noise, fields, the deformed slice."""

REFERENCE_BYTES_PER_PIXEL = 16
"""Bytes a pixel of a slice that a member keeps all along: a moved reference, its noise."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run is expected to cost.

    Attributes
    ----------
    seconds : float
        Wall time, from a few slices timed here.
    memory : int
        Bytes beside the interpreter and its libraries.
    """

    seconds: float
    memory: int


def correlate_volume(
    volume: Any,
    transforms: Sequence[Transform | Callable[[Any], Any]],
    *,
    reference: Any = 0,
    mask: Any = None,
    ci: str | None = "tiles",
    seed: int | None = None,
    backend: str | None = None,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> Battery:
    """Return the correlations of a reference with every slice under several transforms, in one pass over a volume.

    The volume is read in slabs and never held whole; a slice with NaN is flagged and its r is NaN.

    Parameters
    ----------
    volume : Volume or array_like of shape (n, Y, X)
        What ``stack_correlation`` takes.
    transforms, reference, mask, ci, seed, backend
        As in ``transform_battery``.
    threads : int, optional
        Slabs that are computed at once; by default as many as there are processors, or fewer where `memory` is short.
    memory : int
        Bytes that the run may use beside the interpreter and its libraries.
    progress : callable, optional
        Called as ``progress(slices done, slices in all)``.

    Returns
    -------
    Battery

    Raises
    ------
    ParameterError
        If a parameter is not allowed, or a single slice a thread does not fit `memory`.
    """
    stack, plan = _prepared(volume, transforms, reference, mask, ci, seed, backend)
    threads, slab_bytes = _threads_and_slab(stack, plan, threads, memory)
    done = 0

    def report(slices: int) -> None:
        nonlocal done
        done += slices
        if progress is not None:
            progress(done, len(stack))

    measured = measurement.run(plan, slabs(stack, plan.backend, slab_bytes), threads=threads, progress=report)
    return Battery(tuple(measurement.finish(plan, measured, spacing=stack.spacing)))


def estimate(
    volume: Any,
    transforms: Sequence[Transform | Callable[[Any], Any]],
    *,
    reference: Any = 0,
    ci: str | None = "tiles",
    backend: str | None = None,
    threads: int | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Cost:
    """Return what `correlate_volume` would cost, by timing one slice of each thread.

    Parameters
    ----------
    volume, transforms, reference, ci, backend, threads, memory
        As in `correlate_volume`.
    """
    stack, plan = _prepared(volume, transforms, reference, None, ci, 0, backend)
    threads, slab_bytes = _threads_and_slab(stack, plan, threads, memory)
    start = time.perf_counter()
    slab = stack.slab(0, 1)
    read = time.perf_counter() - start
    with use_threads(1):
        measurement.measure(plan, slab, 0)  # what is loaded and set up once
        start = time.perf_counter()
        measurement.measure(plan, slab, 0)
        computed = time.perf_counter() - start
    held = min(len(stack) * slab.nbytes, slab_bytes * (threads + 2))
    return Cost(len(stack) * max(read, computed / threads), held + _fixed_bytes(stack, plan, threads))


def _prepared(
    volume: Any, transforms: Any, reference: Any, mask: Any, ci: str | None, seed: int | None, backend: str | None
) -> tuple[Stack, battery.BatteryPlan]:
    """Return the stack of a volume and the plan of its battery."""
    stack = Stack(volume)
    chosen = find_reference(stack, reference, mask)
    engine = stack.backend(backend, reference)
    plan = battery.prepare([chosen], transforms, seed=seed, ci=ci, nan_policy="propagate", backend=engine)
    return stack, plan


def _threads_and_slab(stack: Stack, plan: battery.BatteryPlan, threads: int | None, memory: int) -> tuple[int, int]:
    """Return how many threads run, and the bytes of a slab, so that all that is in flight fits `memory`."""
    if threads is not None and (not isinstance(threads, (int, np.integer)) or threads < 1):
        raise ParameterError(f"threads = {threads!r}: allowed are integers of 1 or more")
    each = stack.slice_bytes
    most = allowed_threads() if plan.backend.in_threads else 1
    candidates = [threads] if threads is not None else range(most, 0, -1)
    for count in candidates:
        left = memory - _fixed_bytes(stack, plan, count)
        if left >= (count + 2) * each:
            return count, min(Backend.slab_bytes, left // (count + 2))
    smallest = _fixed_bytes(stack, plan, candidates[-1]) + (candidates[-1] + 2) * each
    raise ParameterError(
        f"memory = {memory}: allowed are {smallest} bytes or more "
        f"for slices of {each} bytes on {candidates[-1]} threads"
    )


def _fixed_bytes(stack: Stack, plan: battery.BatteryPlan, threads: int) -> int:
    """Return the bytes that a run needs beside its slabs."""
    pixels = stack.shape[1] * stack.shape[2]
    elastic = any(group.steps for group in plan.groups)
    work = WORK_BYTES + (STEPS_PER_PIXEL * pixels if elastic else 0)
    return threads * work + REFERENCE_BYTES_PER_PIXEL * pixels * len(plan.members)
