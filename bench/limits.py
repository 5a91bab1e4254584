"""What the machine can do at most: bandwidth of memory and the rate of products of matrices, on all threads.

Reading is measured with a compiled loop where Numba is there, else with NumPy's sums; copying and writing with NumPy's
copies, which are the C library's; products with the BLAS that NumPy stands on. A limit is the best of several rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from gpu_stackcorr import available_backends
from gpu_stackcorr.threads import allowed_threads

from .images import free_memory

BLOCKS = 64
"""Pieces that the threads share out."""

ARRAY_BYTES = 2**29
"""Read and written at once: more than caches hold."""

SIDE = 2048
"""Of the matrices that are multiplied."""

FEWEST_ROUNDS = 3


def read(array: Any) -> int:
    """Read an array once, on all threads; return the sum of its words of 64 bits, modulo 2^64."""
    words = array.reshape(-1).view(np.uint8)
    words = words[: words.size // 8 * 8].view(np.uint64)
    return sum(_in_threads(_summed(), np.array_split(words, BLOCKS))) % 2**64


def measure(seconds: float = 1.0, *, array_bytes: int = ARRAY_BYTES, side: int = SIDE) -> dict[str, float]:
    """Return the limits of the processor and its memory, each measured for a fifth of `seconds` or three rounds.

    Parameters
    ----------
    seconds : float
    array_bytes, side : int
        Sizes, smaller for a rehearsal.

    Returns
    -------
    dict
        read_, copy_ and write_bytes_per_second, where a copy's bytes are those read and those written; float32_flops
        and float64_flops, a multiply-add as two.
    """
    words = max(BLOCKS, min(array_bytes, free_memory() // 8) // 8)
    source, target = np.ones(words, np.uint64), np.ones(words, np.uint64)
    pairs = list(zip(np.array_split(target, BLOCKS), np.array_split(source, BLOCKS), strict=True))

    def copy() -> None:
        _in_threads(lambda pair: np.copyto(*pair), pairs)

    def write() -> None:
        _in_threads(lambda piece: piece.fill(0), np.array_split(target, BLOCKS))

    rates = {
        "read_bytes_per_second": source.nbytes / _best(lambda: read(source), seconds / 5),
        "copy_bytes_per_second": 2 * source.nbytes / _best(copy, seconds / 5),
        "write_bytes_per_second": source.nbytes / _best(write, seconds / 5),
    }
    for name in ("float32", "float64"):
        a = np.random.default_rng(0).random((side, side)).astype(name)
        result = np.empty_like(a)
        product = _best(lambda a=a, result=result: np.matmul(a, a, out=result), seconds / 5)
        rates[f"{name}_flops"] = 2 * side**3 / product
    return rates


def measure_device(seconds: float = 1.0, *, array_bytes: int = ARRAY_BYTES, side: int = 4 * SIDE) -> dict[str, float]:
    """Return the same limits of the CUDA device, with CuPy's copies, sums and products of matrices.

    float32 products run on the float32 units, not on the tensor cores in TF32: CuPy's default.
    """
    import cupy

    words = max(BLOCKS, min(array_bytes, cupy.cuda.Device().mem_info[0] // 8) // 8)
    source, target = cupy.ones(words, np.uint64), cupy.ones(words, np.uint64)

    def best(call: Callable[[], Any]) -> float:
        def waited() -> None:
            call()
            cupy.cuda.Device().synchronize()

        return _best(waited, seconds / 5)

    rates = {
        "read_bytes_per_second": source.nbytes / best(source.sum),
        "copy_bytes_per_second": 2 * source.nbytes / best(lambda: cupy.copyto(target, source)),
        "write_bytes_per_second": source.nbytes / best(lambda: target.fill(0)),
    }
    for name in ("float32", "float64"):
        a = cupy.ones((side, side), name)
        rates[f"{name}_flops"] = 2 * side**3 / best(lambda a=a: cupy.matmul(a, a))
    return rates


def _best(call: Callable[[], Any], seconds: float) -> float:
    """Return the shortest time of a call, of three rounds or more; a first one is not counted."""
    call()
    times: list[float] = []
    while len(times) < FEWEST_ROUNDS or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _in_threads(task: Callable[[Any], Any], pieces: list[Any]) -> list[Any]:
    """Return what a task that releases the interpreter makes of each piece."""
    return list(_pool(allowed_threads()).map(task, pieces))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "bench-limits")


def _plain_sum(words: Any) -> int:
    """Add up words as NumPy does."""
    return int(words.sum())


@cache
def _summed() -> Callable[[Any], int]:
    """Return what adds up words: the cheapest that can be done with every byte; compiled where Numba is there."""
    if not available_backends()["numba"].available:
        return _plain_sum
    import numba

    # Not kept on disk: what is compiled for one name of this package cannot be loaded under the other.
    @numba.njit(nogil=True)
    def total(words: Any) -> int:
        s = np.uint64(0)
        for k in range(words.size):
            s += words[k]
        return s

    return lambda words: int(total(words))
