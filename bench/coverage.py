"""How often nominal 95 % intervals of a correlation hold the truth: promised against kept.

    python -m bench.coverage [--simulations 1000] [--quick] [--stack PATH]...

Pairs of random images of known correlation rho are made (``bench.fields``), and the share of simulations is counted in
which the interval by each method of ``ci=`` holds rho. ``--stack`` adds crops of a real volume, held against the whole
volume's r at the same depth. Writes coverage.json, .csv, .md and .png into bench/results.

Simulation i of a case is seeded by (seed, case, i) alone: neither the number of processes nor the choice of cases
changes it. The rho of a case share their two fields, so that the cells of one row are not independent of each other.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpu_stackcorr
from gpu_stackcorr import intervals
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.records import correlation_interval

from . import fields
from .coverage_output import write

Floats = NDArray[np.float64]
Truths = tuple[float, ...]

LEVEL = 0.95
SEED = 5
METHODS = ("fisher", "effective", "tiles")
RHOS = (0.0, 0.3, 0.7, 0.95)
LENGTHS = (2, 5, 10, 20)
LENGTH, MEMBRANE_WIDTH, LOGNORMAL_SIGMA = 10, 0.3, 1.0
DEPTHS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80)
PAIRS_A_DEPTH = 10
"""Pairs of slices of a real stack that are cropped at each depth, spread evenly over it."""

CROPS = (256, 128, 64)
"""Sizes of crops of a real stack: the two largest of which four fit side by side."""

BATCH = 20
"""Simulations a process takes at once: a few seconds."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table: images (size, size) of one kind, at several true correlations.

    `pair` takes a generator, the size and the correlations, and returns u (size, size) and v (len(rhos), size, size).
    """

    name: str
    group: str
    size: int
    rhos: Truths
    pair: Callable[[np.random.Generator, int, Truths], tuple[Floats, Floats]]


def gaussian(kind: str, length: float, rng: np.random.Generator, size: int, rhos: Truths) -> tuple[Floats, Floats]:
    """Return Gaussian fields of like autocorrelation."""
    a, b = fields.gaussian_pair(rng, kind, length, size)
    return a, np.stack([fields.mix(a, b, rho) for rho in rhos])


def membranes(length: float, width: float, rng: np.random.Generator, size: int, rhos: Truths) -> tuple[Floats, Floats]:
    """Return bright lines along the zero levels of Gaussian fields."""
    u, v = gaussian("gaussian", length, rng, size, tuple(fields.membrane_underlying(rho, width) for rho in rhos))
    return fields.membrane(u, width), fields.membrane(v, width)


def lognormals(length: float, sigma: float, rng: np.random.Generator, size: int, rhos: Truths) -> tuple[Floats, Floats]:
    """Return exponentials of Gaussian fields."""
    u, v = gaussian("exponential", length, rng, size, tuple(fields.lognormal_underlying(rho, sigma) for rho in rhos))
    return fields.lognormal(u, sigma), fields.lognormal(v, sigma)


def unlike(
    length_1: float, length_2: float, rng: np.random.Generator, size: int, rhos: Truths
) -> tuple[Floats, Floats]:
    """Return u of one length, and v that mixes u with a field of another length."""
    a, _ = fields.gaussian_pair(rng, "exponential", length_1, size)
    _, b = fields.gaussian_pair(rng, "exponential", length_2, size)
    return a, np.stack([fields.mix(a, b, rho) for rho in rhos])


def cases() -> list[Case]:
    """Return the rows of the full study: those that the method must hold for, then harder ones."""
    rows = [
        Case(f"{kind} {length}", "stationary Gaussian fields", 512, RHOS, partial(gaussian, kind, length))
        for kind in fields.KINDS
        for length in LENGTHS
    ]
    return [
        *rows,
        Case("membrane-like", "harder", 256, (0.31, 0.69), partial(membranes, LENGTH, MEMBRANE_WIDTH)),
        Case("lengths 5 and 20", "harder", 256, (0.7, 0.95), partial(unlike, 5, 20)),
        Case("log-normal", "harder", 256, (0.3, 0.7), partial(lognormals, LENGTH, LOGNORMAL_SIGMA)),
    ]


@dataclass(frozen=True, slots=True)
class Counts:
    """What came out of some simulations, by method: arrays (simulations, rhos), NaN where it was not computed."""

    kept: dict[str, Floats]
    width: dict[str, Floats]
    saturated: Floats

    @classmethod
    def join(cls, parts: Sequence[Counts]) -> Counts:
        """Return the counts of further simulations below each other."""
        kept, width = (
            {method: np.concatenate([getattr(part, name)[method] for part in parts]) for method in METHODS}
            for name in ("kept", "width")
        )
        return cls(kept, width, np.concatenate([part.saturated for part in parts]))


def measure(u: Floats, v: Floats, truth: Floats, effective: bool) -> Counts:
    """Return whether the intervals of u (Y, X) with v (K, Y, X) hold the truth (K,), as one row."""
    moments = get_backend("numpy").moments([u], v, tiles=intervals.cell_edges(u.shape))[0]
    r = moments.correlation()
    found = {"fisher": intervals.fisher(moments.count), "tiles": intervals.tiles(r, moments)}
    if effective:
        each = [intervals.effective(np.asarray(u, np.float64), np.asarray(image, np.float64)) for image in v]
        found["effective"] = intervals.Uncertainty(*(np.array(values) for values in zip(*each, strict=True)))
    nothing = np.full((1, len(v)), np.nan)
    kept, width = dict.fromkeys(METHODS, nothing), dict.fromkeys(METHODS, nothing)
    for method, uncertainty in found.items():
        low, high = correlation_interval(r, uncertainty.standard_error, uncertainty.df, LEVEL)
        kept[method] = ((low <= truth) & (truth <= high)).astype(np.float64)[np.newaxis]
        width[method] = np.asarray(high - low)[np.newaxis]
    return Counts(kept, width, found["tiles"].saturated.astype(np.float64)[np.newaxis])


def simulate(case: Case, start: int, stop: int, *, seed: int = SEED, effective: int = 0) -> Counts:
    """Return the counts of simulations start to stop of a case; `effective` is computed for those below that number."""
    number = zlib.crc32(case.name.encode())
    rows = []
    for i in range(start, stop):
        u, v = case.pair(np.random.default_rng([seed, number, i]), case.size, case.rhos)
        rows.append(measure(u, v, np.array(case.rhos), i < effective))
    return Counts.join(rows)


def summary(name: str, group: str, size: int, truth: float | None, counts: Counts) -> list[dict[str, Any]]:
    """Return a row a method of one cell of the table: coverage and its binomial standard error in %, mean width."""
    rows = []
    for method in METHODS:
        kept = counts.kept[method][~np.isnan(counts.kept[method])]
        if not kept.size:
            continue
        share = float(kept.mean())
        rows.append(
            {
                "case": name,
                "group": group,
                "size": size,
                "rho": truth,
                "method": method,
                "simulations": kept.size,
                "coverage": round(100 * share, 2),
                "standard_error": round(100 * float(np.sqrt(share * (1 - share) / kept.size)), 2),
                "mean_width": float(f"{np.nanmean(counts.width[method]):.4g}"),
                "saturated": round(100 * float(counts.saturated.mean()), 2) if method == "tiles" else None,
            }
        )
    return rows


def by_rho(case: Case, counts: Counts) -> list[dict[str, Any]]:
    """Return the rows of a case."""
    rows = []
    for k, rho in enumerate(case.rhos):
        kept, width = ({method: a[:, k] for method, a in of.items()} for of in (counts.kept, counts.width))
        rows += summary(case.name, case.group, case.size, rho, Counts(kept, width, counts.saturated[:, k]))
    return rows


def pool_of(processes: int) -> ProcessPoolExecutor:
    """Return processes that start afresh: a fork of a process with threads may hang."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"))


def study(
    rows: Sequence[Case], simulations: int, *, effective: int, processes: int, seed: int = SEED
) -> Iterator[tuple[Case, Counts]]:
    """Yield each case with all its counts, computed in several processes; progress goes to standard error."""
    with pool_of(processes) as pool:
        started = time.monotonic()
        futures: list[list[Future[Counts]]] = [
            [
                pool.submit(
                    simulate,
                    case,
                    n,
                    min(n + BATCH, simulations),
                    seed=seed,
                    effective=effective * 512**2 // case.size**2,
                )
                for n in range(0, simulations, BATCH)
            ]
            for case in rows
        ]
        whole = sum(map(len, futures))
        for number, (case, parts) in enumerate(zip(rows, futures, strict=True)):
            pending = set(parts)
            while pending:
                pending = wait(pending, timeout=10).not_done
                finished = sum(future.done() for of_case in futures for future in of_case)
                seconds = time.monotonic() - started
                left = seconds * (whole - finished) / max(finished, 1)
                print(
                    f"\r{number + 1}/{len(rows)} {case.name}: {finished}/{whole} batches, {seconds:.0f} s, "
                    f"about {left:.0f} s left   ",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
            yield case, Counts.join([part.result() for part in parts])
        print(file=sys.stderr)


def crops_of(path: str, size: int, depth: int) -> Counts:
    """Return the counts of crops (size, size) of pairs `depth` slices apart, against the mean r of all whole pairs.

    Crops do not overlap.
    """
    stack = load(path)
    rows, columns = (n // size for n in stack.shape[1:])
    backend = get_backend("numpy")
    first = range(len(stack) - depth)
    truth = np.mean([backend.moments([stack[z]], stack[z + depth : z + depth + 1])[0].correlation()[0] for z in first])
    boxes = [np.s_[y * size : (y + 1) * size, x * size : (x + 1) * size] for y in range(rows) for x in range(columns)]
    starts = np.unique(np.linspace(0, len(first) - 1, PAIRS_A_DEPTH).round().astype(int))
    return Counts.join(
        [
            measure(stack[z][box], stack[z + depth][box][np.newaxis], np.array([truth]), effective=True)
            for z in starts
            for box in boxes
        ]
    )


def load(path: str) -> NDArray[Any]:
    """Return a volume as (n, Y, X)."""
    with gpu_stackcorr.open_volume(path) as volume:
        stack = np.asarray(volume[:])
    return stack.reshape(len(stack), *stack.shape[-2:])


def real(paths: Sequence[str], processes: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of every stack, crop size and depth, the depths up to half the stack."""
    with pool_of(processes) as pool:
        for path in paths:
            name = Path(path).stem
            length, *sides = load(path).shape
            depths = [depth for depth in DEPTHS if depth <= length // 2]
            for size in [size for size in CROPS if all(n >= 2 * size for n in sides)][:2]:
                found = pool.map(partial(crops_of, path, size), depths)
                for depth, counts in zip(depths, found, strict=True):
                    print(f"\r{name}, crops of {size}, depth {depth}   ", end="", file=sys.stderr, flush=True)
                    yield summary(f"{name}, crops of {size}, depth {depth}", "real", size, None, counts)
        print(file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000, help="of each case (default 1000)")
    parser.add_argument(
        "--effective",
        type=int,
        default=100,
        help="of each for the slow method, ci='effective'; four times as many at 256 x 256",
    )
    parser.add_argument("--quick", action="store_true", help="100 simulations, 50 for ci='effective'")
    parser.add_argument("--stack", action="append", default=[], metavar="PATH", help="a real volume; may be repeated")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    simulations, effective = (100, 50) if options.quick else (options.simulations, options.effective)
    settings = {
        "level": LEVEL,
        "seed": options.seed,
        "simulations": simulations,
        "gpu_stackcorr": gpu_stackcorr.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    table: list[dict[str, Any]] = []
    text = ""
    counted = study(cases(), simulations, effective=effective, processes=options.processes, seed=options.seed)
    for rows in chain((by_rho(*found) for found in counted), real(options.stack, options.processes)):
        table += rows
        text = write(options.output, settings, table)  # each time: a study that is broken off leaves what it has
    print(text)


if __name__ == "__main__":
    main()
