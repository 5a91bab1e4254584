"""Times on the device: events around a call, the L2 cache emptied before, the launches queued while it is.

A call's milliseconds are those between two events on the current stream. What empties the cache keeps the device busy
for a while in which the host launches ahead, so that a call that does not wait for its own result costs what the device
needs. `wall` is what a caller waits for, from the call to the end of its work, launches and all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cupy
import numpy as np

from ..machine import commit  # noqa: TID252 (another name once installed)

BUSY_SECONDS = 1.5e-3
"""For which the device is kept busy before a call: some dozens of launches."""

FEWEST_ROUNDS, MOST_ROUNDS = 5, 60


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of a case.

    Attributes
    ----------
    name : str
    call : callable
        Without arguments; returns the result, on the device or the host.
    error : callable, optional
        From the result to its largest error against NumPy or SciPy, on a part of it.
    tolerance : float
        What the error may be.
    n_bytes : int
        That it must read and write at least; 0 where that is no measure.
    scale : float
        How many times its work the case's is, where it is slow.
    note : str
    """

    name: str
    call: Callable[[], Any]
    error: Callable[[Any], float] | None = None
    tolerance: float = np.inf
    n_bytes: int = 0
    scale: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class Row:
    """What was measured of a contestant: milliseconds, or why there are none."""

    case: str
    contestant: str
    median: float | None = None
    lower_quartile: float | None = None
    upper_quartile: float | None = None
    wall: float | None = None
    first: float | None = None
    rounds: int = 0
    gigabytes_per_second: float | None = None
    of_copy: float | None = None
    error: float | None = None
    note: str = ""
    failure: str = ""


class Clock:
    """Measures calls on the current device."""

    def __init__(self, *, seconds: float, tiny: bool) -> None:
        self.seconds, self.tiny = seconds, tiny
        self.fewest = 1 if tiny else FEWEST_ROUNDS
        level_2 = int(cupy.cuda.Device().attributes["L2CacheSize"])
        self.dirt = cupy.empty(4 * level_2 if tiny else max(4 * level_2, 2**28), np.uint8)
        self.sweeps = 1
        if not tiny:
            once = np.median([self.device_ms(self._sweep, empty=False) for _ in range(5)])
            self.sweeps = max(1, int(np.ceil(1e3 * BUSY_SECONDS / once)))
        self.copy_gigabytes_per_second = self._copy()

    def _sweep(self) -> None:
        self.dirt.data.memset_async(0, self.dirt.nbytes)

    def device_ms(self, call: Callable[[], Any], *, empty: bool = True) -> float:
        """Return the milliseconds of a call on the device."""
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        for _ in range(self.sweeps if empty else 0):
            self._sweep()
        start.record()
        kept = call()
        end.record()
        end.synchronize()
        del kept
        return float(cupy.cuda.get_elapsed_time(start, end))

    def wall_ms(self, call: Callable[[], Any]) -> float:
        """Return the milliseconds that a caller waits for."""
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        kept = call()
        cupy.cuda.Device().synchronize()
        elapsed = time.perf_counter() - start
        del kept
        return 1e3 * elapsed

    def _copy(self) -> float:
        """Return the rate of a copy from device to device, bytes read and bytes written."""
        size = 2**20 if self.tiny else min(2**30, free_bytes() // 8)
        source, target = cupy.empty(size, np.uint8), cupy.empty(size, np.uint8)
        times = [self.device_ms(lambda: target.data.copy_from_device_async(source.data, size)) for _ in range(9)]
        return float(2 * size / np.median(times) / 1e6)

    def row(self, case: str, contestant: Contestant) -> Row:
        """Verify a contestant, then time it; what goes wrong stands in the row."""
        error = None
        try:
            first = self.wall_ms(contestant.call) / 1e3
            if contestant.error is not None:
                error = contestant.error(contestant.call())
                if not error <= contestant.tolerance:
                    message = f"error {error:.2g}, allowed {contestant.tolerance:.2g}"
                    return Row(case, contestant.name, error=error, note=contestant.note, failure=message)
            times: list[float] = []
            start = time.perf_counter()
            while len(times) < self.fewest or (len(times) < MOST_ROUNDS and time.perf_counter() - start < self.seconds):
                times.append(contestant.scale * self.device_ms(contestant.call))
            wall = contestant.scale * float(np.median([self.wall_ms(contestant.call) for _ in range(self.fewest)]))
        except Exception as reason:
            message = f"{type(reason).__name__}: {reason}".splitlines()[0]
            return Row(case, contestant.name, error=error, note=contestant.note, failure=message)
        lower, median, upper = (float(q) for q in np.quantile(times, [0.25, 0.5, 0.75]))
        rate = contestant.n_bytes / median / 1e6 if contestant.n_bytes else None
        of_copy = None if rate is None else rate / self.copy_gigabytes_per_second
        return Row(
            case, contestant.name, median, lower, upper, wall, first, len(times), rate, of_copy, error, contestant.note
        )


def free_bytes() -> int:
    """Return the device memory that is free, what CuPy's pool holds in reserve given back."""
    cupy.get_default_memory_pool().free_all_blocks()
    return int(cupy.cuda.runtime.memGetInfo()[0])


def write(path: Path, record: dict[str, Any], rows: list[Row]) -> None:
    """Write what is known so far, so that a part that is cut off loses nothing."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({**record, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    unfinished.replace(path)


def about() -> dict[str, Any]:
    """Return what the figures depend on."""
    from gpu_stackcorr import available_backends

    info = available_backends()["cuda"]
    if not info.available:
        raise SystemExit(f"no GPU: {info.reason}")
    runtime = cupy.cuda.runtime
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "device": info.device,
        "multiprocessors": int(cupy.cuda.Device().attributes["MultiProcessorCount"]),
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "nvrtc": list(cupy.cuda.nvrtc.getVersion()),
    }
