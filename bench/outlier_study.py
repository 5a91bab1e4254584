"""How many planted faults `find_outlier_slices` finds, and how often it raises a false alarm.

``python -m bench.outlier_study`` plants every kind of fault, one at a time and at random places, in phantoms of several
correlation lengths and, where their folder is given, in real stacks, where slices are left out at every place; it
writes ``bench/results/outliers.json`` and ``.md``. A hit is the right fault at the right place. A false alarm is
anything reported more than a slice away from the planted place, and anything at all in a stack as it came.
"""

# ruff: noqa: ARG001, ARG005 - the plants share a signature
from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr import phantom
from gpu_stackcorr.arrays import Stack as Slices
from gpu_stackcorr.outliers import OutlierSlices, faint_as_blank, find_outlier_slices
from gpu_stackcorr.volumes import open_volume

RESULTS = Path(__file__).parent / "results"
PHANTOMS = ((3, 256), (3, 512), (6, 256), (12, 256), (30, 256))
"""Correlation lengths in slices, and sides of the images in pixels."""

SLICES = 100
REAL = ("fibsem", "sstem")
EDGE = 5
"""Faults are planted at least so many slices from either end."""

Stack = NDArray[Any]
Plant = Callable[[Stack, int, np.random.Generator], tuple[Stack, int]]
"""Takes a stack and a place; returns the stack with the fault, and the slice that should be named."""


def missing(count: int) -> Plant:
    """Leave out slices."""
    return lambda stack, z, rng: (np.delete(stack, np.arange(z, z + count), axis=0), z - 1)


def duplicate(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Insert a copy of a slice above it."""
    return np.insert(stack, z + 1, stack[z], axis=0), z + 1


def replaced(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Put a copy of the slice below in the place of a slice."""
    return _with(stack, z, stack[z - 1]), z


def imaged_twice(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Insert a slice again, with noise of a tenth of its standard deviation, a little darker."""
    again = 0.95 * stack[z] + rng.normal(0, 0.1 * stack[z].std(), stack[z].shape)
    return np.insert(stack, z + 1, _as(stack, again), axis=0), z + 1


def swapped(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Exchange two neighbours."""
    order = np.arange(len(stack))
    order[[z, z + 1]] = z + 1, z
    return stack[order], z


def displaced(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Move everything above a cut sideways by a third of the image."""
    upper = np.roll(stack[z + 1 :], (stack.shape[1] // 3, stack.shape[2] // 3), axis=(1, 2))
    return np.concatenate([stack[: z + 1], upper]), z


def blank(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Make a slice constant."""
    return _with(stack, z, np.full(stack.shape[1:], 128)), z


def faint(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Leave a slice with nothing but noise of one grey value."""
    return _with(stack, z, 128 + rng.normal(0, 1, stack.shape[1:])), z


def noisy(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Add noise of one and a half standard deviations to a slice."""
    return _with(stack, z, stack[z] + rng.normal(0, 1.5 * stack[z].std(), stack[z].shape)), z


def half_covered(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Cover half of a slice with its mean, as dirt or a fold does."""
    image = stack[z].copy()
    image[: len(image) // 2] = image.mean()
    return _with(stack, z, image), z


def moved(stack: Stack, z: int, rng: np.random.Generator) -> tuple[Stack, int]:
    """Move one slice sideways by 20 pixels."""
    return _with(stack, z, np.roll(stack[z], (20, 20), axis=(0, 1))), z


FAULTS: dict[str, tuple[str, Plant]] = {
    "1 missing": ("missing", missing(1)),
    "2 missing": ("missing", missing(2)),
    "4 missing": ("missing", missing(4)),
    "duplicate": ("duplicate", duplicate),
    "copy in the place of a slice": ("duplicate", replaced),
    "imaged twice": ("duplicate", imaged_twice),
    "swapped": ("swapped", swapped),
    "jump (displaced above)": ("jump", displaced),
    "blank": ("blank", blank),
    "faint (noise of 1 grey value)": ("blank", faint),
    "noisy (1.5 sd)": ("damaged", noisy),
    "half covered": ("damaged", half_covered),
    "one slice moved by 20 px": ("damaged", moved),
}


def _as(stack: Stack, image: NDArray[Any]) -> Stack:
    """Return an image in the dtype of a stack."""
    return np.clip(np.rint(image), 0, 255).astype(stack.dtype)


def _with(stack: Stack, z: int, image: NDArray[Any]) -> Stack:
    """Return a copy of a stack with another slice."""
    changed = stack.copy()
    changed[z] = _as(stack, image)
    return changed


@dataclass
class Tally:
    """What was found of one fault in one kind of stack.

    `hits` counts the right fault at the right place, `noticed` anything within a slice of it, `alarms` all else.
    """

    stack: str
    fault: str
    planted: int = 0
    hits: int = 0
    noticed: int = 0
    alarms: int = 0
    slices: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, found: OutlierSlices, fault: str | None, z: int, also: tuple[str, ...] = ()) -> None:
        """Count what was found in a stack with one fault, or none."""
        near = [outlier for outlier in found if fault is not None and abs(outlier.slice - z) <= 1]
        far = [outlier for outlier in found if outlier not in near]
        self.planted += fault is not None
        self.noticed += bool(near)
        self.hits += any(outlier.fault in (fault, *also) for outlier in near)
        self.alarms += len(far)
        self.slices += found.slices
        self.examples += [outlier.text for outlier in far]


def stacks(seeds: int, data: Path | None) -> Iterator[tuple[str, Stack]]:
    """Yield the stacks as they came, each with the name of its kind."""
    for length, side in PHANTOMS:
        for seed in range(seeds):
            yield f"phantom {length}, {side} px", phantom((SLICES, side, side), correlation_length=length, seed=seed)
    if data is not None:
        yield "fibsem", np.asarray(open_volume(data / "fibsem" / "fibsem_250.tif")[:])
        yield "sstem", np.asarray(open_volume(data / "sstem")[:])


def run(seeds: int, places: int, data: Path | None, faults: Sequence[str]) -> list[Tally]:
    """Plant every fault at several places of every stack, one at a time; the same places and noise each time."""
    rng = np.random.default_rng(5)
    tallies: dict[tuple[str, str], Tally] = {}
    for kind, stack in stacks(seeds, data):
        tallies.setdefault((kind, "none"), Tally(kind, "none")).add(_find(stack), None, 0)
        for name in faults:
            fault, plant = FAULTS[name]
            tally = tallies.setdefault((kind, name), Tally(kind, name))
            possible = np.arange(EDGE, len(stack) - EDGE - 4)
            at_random = rng.choice(possible, places * (seeds if kind in REAL else 1))
            everywhere = kind in REAL and fault == "missing"  # there is one stack of a kind, and no two gaps are alike
            for z in (possible if everywhere else at_random).tolist():
                planted, at = plant(stack, z, rng)
                tally.add(_find(planted), fault, at, ("jump",) if name == "4 missing" else ())
    return list(tallies.values())


def _find(stack: Stack) -> OutlierSlices:
    """Return the faults of a stack, from its correlation matrix by one product, which is far quicker here."""
    flat = stack.reshape(len(stack), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        flat /= np.sqrt(np.einsum("ij,ij->i", flat, flat))[:, np.newaxis]
    found = find_outlier_slices(np.clip((flat @ flat.T).astype(np.float64), -1, 1))
    return replace(found, outliers=tuple(faint_as_blank(Slices(stack), outlier) for outlier in found))


def table(tallies: list[Tally]) -> str:
    """Return the tallies as a table in Markdown: a row a fault, a column a kind of stack."""
    kinds = list(dict.fromkeys(tally.stack for tally in tallies))
    by = {(tally.stack, tally.fault): tally for tally in tallies}
    lines = ["| hits / planted | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for name in dict.fromkeys(tally.fault for tally in tallies if tally.fault != "none"):
        cells = [f"{by[kind, name].hits} / {by[kind, name].planted}" for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    alarms = []
    for kind in kinds:
        own = [tally for tally in tallies if tally.stack == kind]
        count, slices = sum(t.alarms for t in own), sum(t.slices for t in own)
        alarms.append(f"{count} in {slices} slices")
    lines.append("| false alarms, all of these | " + " | ".join(alarms) + " |")
    plain = [f"{by[kind, 'none'].alarms} in {by[kind, 'none'].slices} slices" for kind in kinds]
    lines.append("| alarms, nothing planted | " + " | ".join(plain) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="phantoms of each correlation length")
    parser.add_argument("--places", type=int, default=4, help="places of each fault in each phantom")
    parser.add_argument("--data", type=Path, help="folder of real stacks: fibsem/fibsem_250.tif, sstem/*.tif")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS), help="which to plant")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    tallies = run(options.seeds, options.places, options.data, options.faults)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [vars(tally) | {"examples": sorted(set(tally.examples))} for tally in tallies]
    settings = {"seeds": options.seeds, "places": options.places, "slices": SLICES}
    (options.output / "outliers.json").write_text(json.dumps({"settings": settings, "tallies": rows}, indent=1) + "\n")
    (options.output / "outliers.md").write_text(table(tallies) + "\n")
    print(table(tallies))


if __name__ == "__main__":
    main()
