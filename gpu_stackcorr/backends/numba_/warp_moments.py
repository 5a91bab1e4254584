"""Moments with elastically deformed slices: each slice is deformed and correlated in one thread.

A thread holds a few deformed slices, and where ``elastic`` keeps one the displacement of a slice, no more; what it has
written is still in the cache when it is read. The steps are the operations themselves: every order, mode and dtype has
their digits. Slices that would leave threads idle, and those too large to be held once a thread, have all threads
inside each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.moments import Moments, concatenate
from gpu_stackcorr.threads import allowed_threads, use_threads

from .elastic import Deformation
from .memory import Memory
from .moments import Prepared, moments
from .parallel import cut, run

LARGEST_GROUP = 8
"""Deformed slices that a thread correlates together: a call takes 0.4 ms a reference, however small the slices."""

GROUP_BYTES = 1 << 23
"""Bytes of deformed slices that a thread keeps, where there is more than one."""

LARGEST_SLICE = 1 << 25
"""Pixels of a slice up to which each thread has one of its own: with its displacement, 0.4 GB a thread in float32."""


def warp_moments(
    references: Sequence[Array],
    slices: Array,
    *,
    seed: int,
    stream: NDArray[np.uint64],
    alpha: float | NDArray[np.float64],
    sigma: Sequence[float],
    truncate: float = 4.0,
    order: int = 1,
    mode: str = "reflect",
    cval: float = 0.0,
    reference_mask: Array | None = None,
    tiles: Edges | Sequence[Edges] | None = None,
) -> list[Moments]:
    """See ``Backend.warp_moments``."""
    if not slices.size:
        return moments(references, slices, reference_mask=reference_mask, tiles=tiles)
    shape = slices.shape[1:]
    deformation = Deformation(seed, alpha, tuple(sigma), truncate, order, mode, cval)
    alone = _slices_alone(len(slices), shape[0] * shape[1])
    groups = [*_groups(alone, slices[0].nbytes), *(slice(n, n + 1) for n in range(alone, len(slices)))]
    prepared = Prepared(references, slices, reference_mask=reference_mask, tiles=tiles)
    parts: list[list[Moments]] = [[]] * len(groups)
    spare: list[_Workspace] = []

    def measure(number: int) -> None:
        numbers = range(*groups[number].indices(len(slices)))
        space = _taken(spare)
        warped = space.warped.array((len(numbers), *shape), slices.dtype.newbyteorder("="))
        for target, n in zip(warped, numbers, strict=True):
            deformation.deform(slices[n], stream[:, n], target, space.margins, space.field)
        parts[number] = prepared.moments(warped)
        spare.append(space)

    def measure_in_one_thread(number: int) -> None:
        with use_threads(1):
            measure(number)

    together = len(slices) - alone
    run(measure_in_one_thread, len(groups) - together)
    for number in range(len(groups) - together, len(groups)):
        measure(number)
    return [concatenate(pairs) for pairs in zip(*parts, strict=True)]


class _Workspace(NamedTuple):
    """What a thread holds, of one group of slices after the other."""

    field: Memory
    warped: Memory
    margins: Memory


def _taken(spare: list[_Workspace]) -> _Workspace:
    """Return a workspace that no thread uses."""
    try:
        return spare.pop()
    except IndexError:
        return _Workspace(Memory(), Memory(), Memory())


def _slices_alone(count: int, pixels: int) -> int:
    """Return how many slices are taken each by one thread; the others leave threads idle, or are too large."""
    threads = allowed_threads()
    if pixels > LARGEST_SLICE:
        return 0
    return count if count >= 8 * threads else count - count % threads


def _groups(count: int, slice_bytes: int) -> list[slice]:
    """Cut slices into groups whose moments are taken together, enough of them to keep the threads busy."""
    if not count:
        return []
    together = max(1, min(LARGEST_GROUP, GROUP_BYTES // max(1, slice_bytes)))
    return cut(count, max(-(-count // together), 4 * allowed_threads()))
