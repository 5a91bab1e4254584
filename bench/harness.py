"""How contestants are raced: each is verified first, then all are timed in turns, in one run.

A contestant is a call that does a case's work, with what its result is held against. Turns are short and interleaved,
so that a processor that slows down slows all contestants. A time is the wall time of a call, with the wait for its
device where it has one; medians and quartiles are kept. Peak memory is that of one more call, which is not timed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .memory import peak_memory
from .roofline import Limits, least_seconds

OURS = "gpu_stackcorr"
"""What the names of our own contestants begin with."""

FEWEST_ROUNDS = 3

TURN = 0.05
"""Seconds of a turn."""

SHORT = 0.3
"""Seconds below which a turn begins with a call that is not timed. The threads of the contestant before may still wait
busily for more work (those of OpenMP and OpenBLAS do, for milliseconds), and caches hold what it worked on: on two
cores of a Zen 5 a warp of 1.0 ms took 2.0 where every call came right after one of PyTorch, and on a Zen 4 all pairs of
float32 305 ms in place of 241."""

LONG_ENOUGH = 20.0
"""Seconds after which a contestant is timed no more, though its rounds be fewer."""


def path_name(backend: str) -> str:
    """Return the name of our contestant that does exactly the case's work on a backend."""
    return f"{OURS}, {backend} backend"


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of a case.

    Attributes
    ----------
    name : str
        ``path_name(backend)`` for ours that does exactly the case's work; another name that begins with `OURS` for what
        ours does beside that (with tiles, with labels); any other name for a rival.
    call : callable
        Without arguments; returns the result.
    error : callable
        From the result to its largest error against the float64 reference; None where there is none to hold it against.
    tolerance : float
        What the error may be. Above it a contestant of ours is an error of ours; a rival's row says so.
    note : str
        What it does otherwise than the others.
    work : float
        How many times the case's pixels and operations it does (K = 4 references: 4). Its bytes are the case's.
    backend : str
        Ours: ``numpy``, ``numba`` or ``cuda``. None for rivals.
    synchronise : callable
        Waits until the device has done what it was given; None for what runs on the CPU. It marks, for rivals as well,
        whose limits the contestant has: those of the device.
    """

    name: str
    call: Callable[[], Any]
    error: Callable[[Any], float] | None = None
    tolerance: float = np.inf
    note: str = ""
    work: float = 1.0
    backend: str | None = None
    synchronise: Callable[[], Any] | None = None

    def waited(self) -> Any:
        """Do the work, wait for it, and return the result."""
        result = self.call()
        if self.synchronise is not None:
            self.synchronise()
        return result


@dataclass(frozen=True)
class Case:
    """Some work, who does it, and how much it is.

    Attributes
    ----------
    operation, name : str
        Together they name the case.
    pixels : int
        What the rate is counted in.
    contestants : sequence of Contestant
    bytes : int, optional
        The least that must be read and written, by count.
    operations : int, optional
        Arithmetic by count; a multiply-add is two.
    group : str
        ``operation``; ``experiment``, one of the notebook's from end to end; ``scaling``, one of a series that grows.
    parameters : mapping
        Plain values; in ``scaling`` the one that varies in the series stands first.
    written : int
        How many of `bytes` are written.
    arithmetic : str
        ``float32`` or ``float64``: whose matrix-product rate is the limit of `operations`.
    reason : str
        Why we lose, where we do.
    """

    operation: str
    name: str
    pixels: int
    contestants: Sequence[Contestant]
    bytes: int | None = None
    operations: int | None = None
    group: str = "operation"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    written: int = 0
    arithmetic: str = "float32"
    reason: str = ""


@dataclass(frozen=True)
class Skip:
    """A case that this machine cannot do, and why; `cases()` of a module may yield it in a case's place."""

    operation: str
    name: str
    reason: str


@dataclass(frozen=True)
class Row:
    """What was measured of one contestant: seconds a call, rates, bytes, and its largest error.

    `least` is the time that the limits of the machine allow, by the case's count of bytes and operations, `of_limit`
    its share of the median, and `bound` what it comes from: see `bench.roofline`. `first_call` is the first call, with
    compiling and importing. Peaks are what a call holds beyond what there was before it.
    """

    operation: str
    case: str
    contestant: str
    median: float
    lower_quartile: float
    upper_quartile: float
    rounds: int
    gigapixels_per_second: float
    error: float | None
    note: str
    backend: str | None = None
    on_device: bool = False
    fastest: float | None = None
    slowest: float | None = None
    first_call: float | None = None
    gigabytes_per_second: float | None = None
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None
    least: float | None = None
    of_limit: float | None = None
    bound: str = ""


@dataclass(frozen=True)
class Times:
    """Seconds a call, over the rounds of one pass."""

    median: float
    lower_quartile: float
    upper_quartile: float
    fastest: float
    slowest: float
    rounds: int

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Times:
        """Return the times of some rounds."""
        lower, median, upper = (float(q) for q in np.quantile(rounds, [0.25, 0.5, 0.75]))
        return cls(median, lower, upper, min(rounds), max(rounds), len(rounds))


Failed = Callable[[Contestant, Exception], None]


def race(
    case: Case, *, seconds: float = 2.0, limits: Mapping[str, Limits] | None = None, failed: Failed | None = None
) -> list[Row]:
    """Verify the contestants of a case, then time them in turn, each for about `seconds` and at least three times.

    One that has taken twenty seconds is timed no more.

    `limits` are those of the CPU and of the device, under ``cpu`` and ``cuda``. A contestant that raises, and one of
    ours that is wrong, has no row: it is given to `failed` with its exception, which goes through where that is None.
    """
    raced = _raced(case, lambda racer: racer.verify(case), seconds, FEWEST_ROUNDS, failed)
    return [racer.row(case, limits or {}) for racer in raced]


def race_again(case: Case, *, seconds: float = 2.0, failed: Failed | None = None) -> list[tuple[Contestant, Times]]:
    """Time contestants that `race` has verified, in turn, each for about `seconds` and at least once.

    Each is called once before, untimed. One that raises has no times, and is given to `failed` as by `race`.
    """
    raced = _raced(case, _Racer.timed, seconds, 1, failed)
    return [(racer.contestant, Times.of(racer.times)) for racer in raced]


def _raced(
    case: Case, prepare: Callable[[_Racer], Any], seconds: float, fewest: int, failed: Failed | None
) -> list[_Racer]:
    """Prepare the contestants of a case one after the other, then time them in turn; return those that did not fail."""

    def can(racer: _Racer, step: Callable[[_Racer], Any]) -> bool:
        try:
            step(racer)
        except Exception as error:
            if failed is None:
                raise
            failed(racer.contestant, error)
            return False
        return True

    racers = [racer for racer in map(_Racer, case.contestants) if can(racer, prepare)]
    while waiting := [racer for racer in racers if racer.waits(seconds, fewest)]:
        for racer in waiting:
            if not can(racer, lambda racer: racer.take_turn(seconds, fewest)):
                racers.remove(racer)
    return racers


class _Racer:
    """A contestant in a race, and the times of its rounds."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.times: list[float] = []
        self.usual = 0.0
        """Seconds of the last call."""

    def verify(self, case: Case) -> None:
        """Hold the result of its first call against the reference, and find its peak memory."""
        self.first_call, result = self.timed()
        self.error = verified(case, self.contestant, result)
        del result
        self.peak = peak_memory(lambda: self.timed()[1], on_device=self.contestant.synchronise is not None)

    def waits(self, seconds: float, fewest: int) -> bool:
        """Whether it is to be timed once more."""
        taken = sum(self.times)
        return taken < seconds or (len(self.times) < fewest and taken < LONG_ENOUGH)

    def timed(self) -> tuple[float, Any]:
        """Return the seconds of a call, and its result."""
        start = time.perf_counter()
        result = self.contestant.waited()
        self.usual = time.perf_counter() - start
        return self.usual, result

    def take_turn(self, seconds: float, fewest: int) -> None:
        """Time calls for the length of a turn, or one where that takes longer."""
        if self.usual < SHORT:
            self.timed()
        ends = time.perf_counter() + TURN
        while True:
            self.times.append(self.timed()[0])
            if time.perf_counter() >= ends or not self.waits(seconds, fewest):
                return

    def row(self, case: Case, limits: Mapping[str, Limits]) -> Row:
        """Return what is kept of a contestant that was verified."""
        contestant, times = self.contestant, Times.of(self.times)
        return Row(
            operation=case.operation,
            case=case.name,
            contestant=contestant.name,
            **asdict(times),
            **rates(case, contestant, times.median, limits),
            error=self.error,
            note=contestant.note,
            backend=contestant.backend,
            on_device=contestant.synchronise is not None,
            first_call=self.first_call,
            peak_host_bytes=self.peak.host,
            peak_device_bytes=self.peak.device,
        )


def rates(case: Case, contestant: Contestant, seconds: float, limits: Mapping[str, Limits]) -> dict[str, Any]:
    """Return the fields of a row that follow from its median, the counts of its case and the limits."""
    least, bound = least_seconds(
        limits.get("cuda" if contestant.synchronise is not None else "cpu", {}),
        n_bytes=case.bytes,
        written=case.written,
        operations=None if case.operations is None else contestant.work * case.operations,
        arithmetic=case.arithmetic,
        seconds=seconds,
    )
    return {
        "gigapixels_per_second": contestant.work * case.pixels / seconds / 1e9,
        "gigabytes_per_second": None if case.bytes is None else case.bytes / seconds / 1e9,
        "least": least,
        "of_limit": None if least is None else least / seconds,
        "bound": bound,
    }


def verified(case: Case, contestant: Contestant, result: Any) -> float | None:
    """Return the error of a result, None where there is nothing to hold it against; raise where ours is too large."""
    if contestant.error is None:
        return None
    error = float(contestant.error(result))
    if contestant.name.startswith(OURS) and not error <= contestant.tolerance:
        raise AssertionError(
            f"{case.operation}, {case.name}, {contestant.name}: error {error:.2g}, allowed {contestant.tolerance:.2g}"
        )
    return error


def largest_difference(reference: Any) -> Callable[[Any], float]:
    """Return what gives the largest absolute difference of a result from `reference`."""
    expected = np.asarray(reference, np.float64)
    return lambda result: float(np.abs(np.asarray(result, np.float64) - expected).max())


_missing: dict[str, str] = {}


def optional(*names: str) -> list[Any] | None:
    """Return modules of rivals, or None where one of them cannot be imported; `missing` then says why."""
    modules = []
    for name in names:
        if name in _missing:
            return None
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # NumPy prints a page of advice where one was built for 1.x
                modules.append(importlib.import_module(name))
        except Exception as error:  # whatever a half-installed library raises
            _missing[name] = " ".join(f"{type(error).__name__}: {error}".split())
            return None
    return modules


def missing() -> dict[str, str]:
    """Return the modules of rivals that could not be imported so far, each with the reason."""
    return dict(_missing)
