"""How often the intervals of the decorrelation depth hold, and how often the advised separation is too short.

    python -m bench.lag_coverage [--simulations 300] [--seed 1] [--output bench/results/lag_coverage.json]

Simulates stacks whose correlation at every distance is known. For each kind of field and method of intervals the JSON
file has the share of stacks whose 95 % interval of the depth of 1/e covers the true depth, that of the intervals of the
mean correlation at each distance, and the share in which the separation advised for r < 0.1 is too short; the same for
the separation that the mean correlation alone would give.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from gpu_stackcorr import __version__
from gpu_stackcorr.decorrelation import decorrelation_depth, split_advice
from gpu_stackcorr.lags import lag_correlation

MAX_R = 0.1


@dataclass(frozen=True)
class Kind:
    """A kind of Gaussian field: how r falls with distance, over which length, and its smoothness in the slices."""

    name: str
    length: float
    sigma: float

    def r(self, distance: Any) -> Any:
        """Return the true correlation: 1/e at ``length`` for both kinds."""
        power = 1 if self.name == "exponential" else 2
        return np.exp(-((np.asarray(distance, np.float64) / self.length) ** power))

    def separation(self, max_lag: int) -> int | None:
        """Return the first distance at which the true correlation is below MAX_R."""
        below = np.flatnonzero(self.r(np.arange(max_lag + 1)) < MAX_R)
        return int(below[0]) if below.size else None

    def stack(self, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
        """Return a float32 stack of the field."""
        margin = math.ceil(4 * self.sigma)
        along_z: Callable[[np.ndarray], np.ndarray]
        if self.name == "exponential":
            before, along_z = 0, self._autoregression
        else:
            before = math.ceil(2 * self.length)
            along_z = self._smoothed
        z, y, x = shape
        field = rng.standard_normal((z + 2 * before, y + 2 * margin, x + 2 * margin), np.float32)
        for axis in (1, 2):
            field = gaussian_filter1d(field, self.sigma, axis=axis, mode="wrap")
        return along_z(field[:, margin : margin + y, margin : margin + x])[before : before + z]

    def _autoregression(self, field: np.ndarray) -> np.ndarray:
        """Make independent slices correlate as exp(-d / length)."""
        a = math.exp(-1 / self.length)
        field = field.copy()
        for n in range(1, len(field)):
            field[n] = a * field[n - 1] + math.sqrt(1 - a * a) * field[n]
        return field

    def _smoothed(self, field: np.ndarray) -> np.ndarray:
        """Make independent slices correlate as exp(-(d / length)^2): a Gaussian of half the length."""
        return gaussian_filter1d(field, self.length / 2, axis=0, mode="wrap")


KINDS = (Kind("exponential", 6, 2), Kind("exponential", 4, 4), Kind("gaussian", 6, 3))
SHAPE = (64, 128, 128)
MAX_LAG = 32
METHODS = ("tiles", "effective")


def simulate(
    kind: Kind,
    simulations: int,
    seed: int,
    shape: tuple[int, int, int] = SHAPE,
    max_lag: int = MAX_LAG,
    ci: str = "tiles",
) -> dict[str, Any]:
    """Return how often the intervals of one kind of field hold."""
    truth = kind.r(np.arange(max_lag + 1))
    true_separation = kind.separation(max_lag)
    covered = bands = too_short = point_too_short = unreached = 0.0
    for number in range(simulations):
        result = lag_correlation(kind.stack(shape, np.random.default_rng([seed, number])), max_lag, ci=ci)
        low, high = decorrelation_depth(result).confidence_interval()
        covered += low <= kind.length <= high
        of_r = result.confidence_interval()
        bands = bands + ((of_r.low <= truth) & (truth <= of_r.high))
        separation = split_advice(result, max_r=MAX_R).separation
        unreached += separation is None
        too_short += separation is not None and kind.r(separation) >= MAX_R
        by_point = np.flatnonzero(result.statistic < MAX_R)
        point_too_short += by_point.size > 0 and kind.r(by_point[0]) >= MAX_R
    shares = np.asarray(bands)[1:] / simulations
    return {
        **asdict(kind),
        "ci": ci,
        "shape": list(shape),
        "max_lag": max_lag,
        "simulations": simulations,
        "true_separation": true_separation,
        "depth_covered": covered / simulations,
        "r_covered_mean": float(shares.mean()),
        "r_covered_lowest": float(shares.min()),
        "separation_too_short": too_short / simulations,
        "separation_unreached": unreached / simulations,
        "point_separation_too_short": point_too_short / simulations,
    }


def tables(simulations: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the result of each kind of field and method."""
    for kind, ci in product(KINDS, METHODS):
        start = time.perf_counter()
        row = simulate(kind, simulations, seed, ci=ci)
        yield {**row, "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Run the simulations and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("bench/results/lag_coverage.json"))
    arguments = parser.parse_args()
    rows = []
    for row in tables(arguments.simulations, arguments.seed):
        print(json.dumps(row), flush=True)
        rows.append(row)
    about = {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "seed": arguments.seed,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"about": about, "fields": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
