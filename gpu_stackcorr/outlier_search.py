"""The search for the faults of a stack in the band of its correlation matrix: see `outliers` for the idea.

Slices stand in slots. A fault that was found is undone by leaving slots empty, taking one out or exchanging two, and
the correlations are looked at again in the new order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR = 4
"""Largest distance of the pairs that a hypothesis is tried on: nearer pairs tell more, farther ones are many."""

NEARBY = 10
"""Slots to either side whose pairs make the expectation: stacks vary along z, and a median wants twenty pairs."""

FEWEST_PAIRS = 5
"""Below that there is no expectation."""

FLOOR = 0.2
"""The scatter counts as at least that share of the step to the next distance: sections are not equally thick."""

SMALLEST_SCATTER = 1e-3
"""Of atanh r, where all pairs agree."""

CAP = 5.0
"""Deviations count up to so many times the scatter, so that no single pair decides."""

GAIN = 1.0
"""A fault must bring its pairs nearer to what is expected by that much on average, in units of the scatter."""

QUALITY = 0.8
"""A damaged slice has r below that share of what is expected."""

TELLING = 0.1
"""Pairs expected to correlate by less say nothing about the quality of a slice."""

SAME = 0.01
"""Slices are copies where 1 - r is below that share of what it is for neighbours."""

FARTHEST = 0.1
"""A gap is not counted where all but that share of the way to the farthest distance is lost across it."""

RISE = 0.25
"""Other duplicates correlate more than neighbours, by that share of the drop to distance 2: thin sections do not."""

EMPTY = -1
"""A slot without a slice."""

DUPLICATES = ("inserted", "upper", "lower")
"""What a repeated slice may be: one too many, or one that stands in the place of another."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fault at slots c and c + 1, or at slot c.

    Attributes
    ----------
    fault : str
        ``"missing"``, ``"jump"``, ``"swapped"``, ``"damaged"``, ``"copy"`` (slot c repeats slot `of`), or
        ``"inserted"``, ``"upper"``, ``"lower"``: a duplicate between its neighbours, or one that stands in the place
        of a slice that is missing.
    slot, count : int
        c, and the slices missing.
    total, gain : float
        By how much its pairs come nearer to what is expected: the sum, and the mean.
    quality : float
        Of a damaged slice.
    of : int
    """

    fault: str
    slot: int
    count: int
    total: float
    gain: float
    quality: float = 1.0
    of: int = EMPTY


class View(NamedTuple):
    """The stack in its present order.

    Attributes
    ----------
    slots : list of int
        The slice in each slot, or EMPTY.
    z : (band + 1, n) array
        atanh r of slots i and i + k at [k, i]; NaN where it is not known.
    expected : (band + 1, n) array
        The median of z at distance k around slot i.
    scatter : (band + 1, n) array
        Of z about it.
    """

    slots: list[int]
    z: Floats
    expected: Floats
    scatter: Floats


def fisher_z(r: Floats) -> Floats:
    """Return atanh r, finite also for r of 1 and -1."""
    return np.asarray(np.arctanh(np.clip(r, 1e-12 - 1, 1 - 1e-12)))


def look(r: Floats, slots: Sequence[int], band: int) -> View:
    """Return the stack as it is with its slices in the given slots."""
    order, n = np.array(slots), len(slots)
    z = np.full((band + 1, n), np.nan)
    for k in range(1, min(band, n - 1) + 1):
        below, above = order[:-k], order[k:]
        z[k, : n - k] = np.where((below >= 0) & (above >= 0), fisher_z(r[below, above]), np.nan)
    expected = np.full_like(z, np.nan)
    for k, middle in enumerate(_at_middles(z)):
        windows = sliding_window_view(np.pad(middle, NEARBY, constant_values=np.nan), 2 * NEARBY + 1)
        lower = np.arange(-NEARBY, NEARBY + 1) - k // 2
        expected[k] = _median(np.where((lower >= -k) & (lower <= 1), np.nan, windows))
    return View(list(slots), z, expected, _scatter(z, expected))


def _at_middles(z: Floats) -> Floats:
    """Return z with each pair at the slot in its middle, of two the lower, in place of its lower end."""
    n = z.shape[1]
    middles = np.full_like(z, np.nan)
    for k in range(1, min(len(z), n)):
        middles[k, k // 2 : k // 2 + n - k] = z[k, : n - k]
    return middles


def _scatter(z: Floats, expected: Floats) -> Floats:
    """Return the scatter of all pairs at each distance about what is expected in their middle."""
    scatter = 1.4826 * _median(np.abs(_at_middles(z) - expected))[:, np.newaxis]
    step = np.abs(np.diff(expected, axis=0, append=np.nan))
    return np.fmax(np.maximum(scatter, SMALLEST_SCATTER), FLOOR * step)


def _median(values: Floats, fewest: int = FEWEST_PAIRS) -> Floats:
    """Return the median along the last axis of what is not NaN; NaN where that is too little."""
    ordered = np.sort(values, axis=-1)
    count = (~np.isnan(ordered)).sum(axis=-1)
    ends = np.stack([np.maximum(count - 1, 0) // 2, count // 2 * (count > 0)], axis=-1)
    ends = np.minimum(ends, values.shape[-1] - 1)
    median = np.take_along_axis(ordered, ends, axis=-1).mean(axis=-1)
    return np.where(count >= fewest, median, np.nan)


# The pairs of slots around a cut between c and c + 1: offsets from c.
_FROM, _TO = np.array([(a, b) for a in range(1 - NEAR, NEAR + 1) for b in range(a + 1, min(a + NEAR, NEAR) + 1)]).T
_APART = _TO - _FROM
_ACROSS = (_FROM <= 0) & (_TO > 0)
_BELOW, _ABOVE = _TO == 0, _FROM == 0
_CUT = int(np.flatnonzero((_FROM == 0) & (_TO == 1))[0])


def _places(band: int) -> list[tuple[str, int, NDArray[np.intp]]]:
    """Return every fault that is a change of places: its name, the slices missing, and where each slot belongs."""
    slots = np.arange(1 - NEAR, NEAR + 1)
    return [
        *(("missing", m, slots + m * (slots > 0)) for m in range(1, band - NEAR + 1)),
        ("swapped", 0, np.where(slots == 0, 1, np.where(slots == 1, 0, slots))),
        ("inserted", 0, slots - (slots > 0)),
        ("upper", 0, np.where(slots == 1, 0, slots)),
        ("lower", 0, np.where(slots == 0, 1, slots)),
    ]


def candidates(view: View, band: int) -> list[Candidate]:
    """Return all faults that explain something, the best first."""
    n = len(view.slots)
    pair = np.arange(n)[:, np.newaxis] + _FROM
    inside = (pair >= 0) & (pair + _APART < n)
    z = np.where(inside, view.z[_APART, np.clip(pair, 0, n - 1)], np.nan)
    views = {"missing": _at_rate(view, _rate(view, z))}
    moved = {(fault, count): _moved(views.get(fault, view), z, places) for fault, count, places in _places(band)}
    damaged, quality = _damaged(view, z)
    usual, beyond = np.tanh(view.expected), _beyond_counting(view, z)
    found = [*_exact_copies(view, moved, quality), *_jumps(view, z), *damaged]
    for (fault, count), (total, gain) in moved.items():
        possible = (gain >= GAIN) & ~np.isnan(z[:, _CUT])
        if fault in DUPLICATES:
            possible &= np.tanh(z[:, _CUT]) - usual[1] >= RISE * (usual[1] - usual[2])
        elif fault == "missing":
            possible &= _told_from_damage(z)
        for c in np.flatnonzero(possible).tolist():
            known = fault != "missing" or not beyond[c]
            name, missing = (fault, count) if known else ("jump", 0)
            found.append(Candidate(name, c, missing, float(total[c]), float(gain[c])))
    return sorted(found, key=lambda candidate: -candidate.total)


def _rate(view: View, z: Floats) -> Floats:
    """Return how fast slices decorrelate beside each cut, as a multiple of what is expected; 1 where that is unknown.

    It is the median of log r over its expectation, of the pairs that lie on one side of the cut: sections of one
    thickness follow one another, and where they are thin a gap is hardly wider than sections are elsewhere.
    """
    r, expected = np.tanh(z), np.tanh(view.expected[_APART].T)
    telling = ~_ACROSS & (r > 0) & (expected >= TELLING)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(telling, np.log(r) / np.log(expected), np.nan)
    return np.nan_to_num(_median(ratio), nan=1.0)


def _at_rate(view: View, rate: Floats) -> View:
    """Return what is expected, and the scatter about it, where slices decorrelate at the rate of each cut."""
    r = np.tanh(view.expected)
    expected = np.where(r > 0, fisher_z(np.maximum(r, 0.0) ** rate), view.expected)
    return view._replace(expected=expected, scatter=_scatter(view.z, expected))


def _gains(z: Floats, before: Floats, after: Floats, scatter: Floats) -> Floats:
    """Return by how much z is nearer to one expectation than to another, in units of the scatter."""
    return np.asarray(np.minimum(np.abs(z - before) / scatter, CAP) - np.minimum(np.abs(z - after) / scatter, CAP))


def _sums(gains: Floats, apart: NDArray[np.intp], fewest: int = 3) -> tuple[Floats, Floats]:
    """Return sum and mean of the gains of each row, weighted by 1 / distance; 0 where too few are known."""
    known = ~np.isnan(gains)
    weight = known / apart
    total = np.where(known.sum(axis=1) >= fewest, (np.where(known, gains, 0.0) * weight).sum(axis=1), 0.0)
    return total, total / np.maximum(weight.sum(axis=1), 1 / NEAR)


def _moved(view: View, z: Floats, places: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return the gains, sum and mean, of a change of places at every cut."""
    looks = np.abs(places[_TO + NEAR - 1] - places[_FROM + NEAR - 1])
    changed = (looks != _APART) & (looks > 0)
    was, looks = _APART[changed], looks[changed]
    scatter = np.maximum(view.scatter[was], view.scatter[looks]).T
    gains = _gains(z[:, changed], view.expected[was].T, view.expected[looks].T, scatter)
    return _sums(gains, was)


def _jumps(view: View, z: Floats) -> list[Candidate]:
    """Return cuts across which all pairs correlate like the farthest, or less."""
    across, was = z[:, _ACROSS], _APART[_ACROSS]
    after = np.minimum(_median(across, 1), _farthest(view))[:, np.newaxis]
    total, gain = _sums(_gains(across, view.expected[was].T, after, view.scatter[was].T), was)
    at = np.flatnonzero((gain >= GAIN) & _beyond_counting(view, z) & _told_from_damage(z))
    return [Candidate("jump", int(c), 0, float(total[c]), float(gain[c])) for c in at]


def _beyond_counting(view: View, z: Floats) -> NDArray[np.bool_]:
    """Return the cuts whose two slices correlate hardly more than those at the farthest distance."""
    farthest = _farthest(view)
    return np.asarray(z[:, _CUT] - farthest <= FARTHEST * (view.expected[1] - farthest))


def _told_from_damage(z: Floats) -> NDArray[np.bool_]:
    """Return the cuts with pairs across that spare the slices on either side: else a gap and damage look alike."""
    lower, upper = (~np.isnan(z[:, _ACROSS & side]) for side in (_FROM < 0, _TO > 1))
    return np.asarray(lower.any(axis=1) & upper.any(axis=1))


def _farthest(view: View) -> Floats:
    """Return the expectation at the farthest distance that has any, for every slot."""
    known = ~np.isnan(view.expected)
    last = len(known) - 1 - known[::-1].argmax(axis=0)
    return np.asarray(view.expected[last, np.arange(len(last))])


def _damaged(view: View, z: Floats) -> tuple[list[Candidate], Floats]:
    """Return slots whose pairs all correlate less than expected, by one factor; and the factor of every slot."""
    own = _BELOW | _ABOVE
    expected, scatter = view.expected[_APART].T, view.scatter[_APART].T
    r = np.tanh(expected)
    telling = (r >= TELLING) & own
    with np.errstate(invalid="ignore", divide="ignore"):
        quality = np.clip(_median(np.where(telling, np.tanh(z) / r, np.nan)[:, own], 2), 0, 1)
    gains = _gains(z, expected, fisher_z(quality[:, np.newaxis] * r), scatter)
    total, gain = _sums(gains[:, own], _APART[own])
    for side in (_BELOW, _ABOVE):  # a gap on one side is no fault of the slice
        known = ~np.isnan(gains[:, side]).all(axis=1)
        gain = np.where(known, np.minimum(gain, _sums(gains[:, side], _APART[side], 1)[1]), gain)
    at = np.flatnonzero((gain >= GAIN) & (quality <= QUALITY))
    return [Candidate("damaged", int(c), 0, float(total[c]), float(gain[c]), float(quality[c])) for c in at], quality


def _exact_copies(view: View, moved: dict[tuple[str, int], tuple[Floats, Floats]], quality: Floats) -> list[Candidate]:
    """Return pairs of slots that hold the same image, and which of the two does not belong where it is."""
    found = []
    usual = np.nan_to_num(np.tanh(view.expected[1]), nan=1.0)
    for k, z in enumerate(view.z):
        for c in np.flatnonzero(1 - np.tanh(z) <= np.maximum(SAME * (1 - usual), 1e-9)).tolist():
            if k == 1:
                kind = max(DUPLICATES, key=lambda fault: moved[fault, 0][0][c])
                found.append(Candidate(kind, c, 0, np.inf, np.inf))
            else:
                copy, of = (c, c + k) if quality[c] < quality[c + k] else (c + k, c)
                found.append(Candidate("copy", copy, 0, np.inf, np.inf, of=view.slots[of]))
    return found


def undo(slots: Sequence[int], fault: Candidate, band: int) -> list[int]:
    """Return the slots without a fault."""
    c, order = fault.slot, list(slots)
    match fault.fault:
        case "missing" | "jump":
            order[c + 1 : c + 1] = [EMPTY] * (fault.count or band)
        case "inserted":
            del order[c + 1]
        case "swapped":
            order[c : c + 2] = order[c + 1], order[c]
        case "upper":
            order[c + 1] = EMPTY
        case "lower" | "damaged" | "copy":
            order[c] = EMPTY
    return order


def search(r: Floats, band: int) -> list[tuple[View, Candidate]]:
    """Return the faults of a stack, each with the view in which it was seen; slices without any r are not among them.

    The best are taken first; what lies within reach of one of them is looked at again once that is undone.
    """
    n = len(r)
    near = [np.diagonal(r, k) for k in range(1, min(band, n - 1) + 1)]
    known = np.zeros(n, bool)
    for k, along in enumerate(near, start=1):
        known[:-k] |= ~np.isnan(along)
        known[k:] |= ~np.isnan(along)
    slots = np.where(known, np.arange(n), EMPTY).tolist()
    found: list[tuple[View, Candidate]] = []
    while True:
        view = look(r, slots, band)
        taken: list[Candidate] = []
        for candidate in candidates(view, band):
            if all(abs(candidate.slot - other.slot) > 2 * NEAR for other in taken):
                taken.append(candidate)
        if not taken or len(found) > n:
            return found
        found += [(view, fault) for fault in taken]
        for fault in sorted(taken, key=lambda fault: -fault.slot):
            slots = undo(slots, fault, band)
