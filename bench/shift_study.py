"""How far the search for a shift raises the correlation of unrelated images.

``python -m bench.shift_study`` prints the mean and the 95th percentile of the largest r over shifts, for pairs of
unrelated phantoms, of white noise, and of distant slices of a real stack where one is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr import phantom
from gpu_stackcorr.shift_search import best_shifts
from gpu_stackcorr.volumes import open_volume

SIDE = 256
SHIFTS = (0, 5, 10, 20)

Image = NDArray[Any]


def pairs(count: int, data: Path | None) -> Iterator[tuple[str, Image, Image]]:
    """Yield pairs of unrelated images, each with the name of its kind."""
    rng = np.random.default_rng(5)
    for n in range(count):
        first, second = (phantom((1, SIDE, SIDE), seed=2 * n + which)[0] for which in (0, 1))
        yield "phantom", first, second
        noise = rng.normal(size=(2, SIDE, SIDE))
        yield "white noise", noise[0], noise[1]
    if data is not None:
        stack = open_volume(data / "sstem")
        for n in range(count):
            z, (y, x) = n % 8, rng.integers(0, 1024 - SIDE, 2)
            box = np.s_[y : y + SIDE, x : x + SIDE]
            yield "sstem, 11 sections apart", np.asarray(stack[z])[box], np.asarray(stack[z + 11])[box]


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--data", type=Path, help="folder of real stacks: sstem/*.tif")
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {}
    for kind, first, second in pairs(options.pairs, options.data):
        row = [float(best_shifts(first, second[np.newaxis], shift).r[0]) for shift in SHIFTS]
        found.setdefault(kind, []).append(row)
    print("| largest r, mean (95th percentile) | " + " | ".join(f"up to {shift} px" for shift in SHIFTS) + " |")
    print("|---" * (len(SHIFTS) + 1) + "|")
    for kind, rows in found.items():
        mean, high = np.mean(rows, axis=0), np.percentile(rows, 95, axis=0)
        print(f"| {kind} | " + " | ".join(f"{m:.3f} ({h:.3f})" for m, h in zip(mean, high, strict=True)) + " |")


if __name__ == "__main__":
    main()
