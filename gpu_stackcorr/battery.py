"""The plan of a battery: many transforms of a stack, compared with references in one read of its slices.

A plan holds what does not change from slab to slab: the references, moved where a transform of the slice can be undone
on them instead; the noise; the groups of transforms that see the same slices. ``measurement`` carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import check_dtype
from .backends.base import Array, Backend, Edges
from .errors import ParameterError, check_word
from .intervals import GRID, cell_edges, check_method
from .random_fields import seed_or_fresh
from .records import curve_label
from .transforms import Permutation, Plan, Transform, as_transform, plan

Floats = NDArray[np.float64]

NAN_POLICIES = ("raise", "omit", "propagate")
"""NaN in slices: an error, left out of every pair, or a flag with r = NaN."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """An image that slices are compared with.

    Attributes
    ----------
    image : (Y, X) array
    mask : (Y, X) bool array or None
        Pixels that count.
    index : int or None
        Which slice of the stack it is.
    """

    image: Array
    mask: Array | None
    index: int | None

    def moved(self, image: Array, permutation: Permutation) -> tuple[Array, Array | None]:
        """Return an image of the reference's frame, and the mask, moved back against a permutation of the slice."""
        back = permutation.inverse()
        return back(image), None if self.mask is None else back(self.mask)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One reference under one transform.

    Attributes
    ----------
    reference : Reference
    plan : Plan
    noise : (Y, X) float64 array or None
        The field that is added to the standardised slice, in the reference's frame.
    column : int
        Which of its group's images the reference is; the noise follows it.
    """

    reference: Reference
    plan: Plan
    noise: Floats | None
    column: int

    @property
    def factor(self) -> float:
        """What the noise is multiplied by."""
        return 0.0 if self.plan.noise is None else self.plan.noise.factor


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The members that see the same slices, and the images that those slices are compared with."""

    steps: tuple[Transform, ...]
    members: list[Member] = field(default_factory=list)
    images: list[Array] = field(default_factory=list)
    masks: list[Array | None] = field(default_factory=list)
    edges: list[Edges] = field(default_factory=list)

    def add(self, reference: Reference, what: Plan, noise: Floats | None) -> Member:
        """Add a member with its images, or with those of a member that has the same."""
        for twin in self.members:
            same = twin.reference is reference and twin.plan.permutation == what.permutation
            if same and (noise is None or noise is twin.noise):
                column = twin.column
                break
        else:
            column = len(self.images)
            for image in [reference.image] if noise is None else [reference.image, noise]:
                moved, mask = reference.moved(image, what.permutation)
                self.images.append(moved)
                self.masks.append(mask)
                self.edges.append(what.permutation.inverse().edges(cell_edges(image.shape)))
        self.members.append(Member(reference, what, noise, column))
        return self.members[-1]

    def own_tiles(self, column: int, ci: str | None) -> Edges | None:
        """Return the cells of one image, moved as it was; None where the method needs none or it is too small."""
        return self.edges[column] if ci == "tiles" and min(self.images[column].shape) >= GRID else None

    def tiles(self, ci: str | None) -> Edges | list[Edges] | None:
        """Return the cells of the images: one pair of edges where all have the same."""
        each = [tiles for tiles in (self.own_tiles(k, ci) for k in range(len(self.images))) if tiles is not None]
        if not each:
            return None
        first = each[0]
        same = all(all(map(np.array_equal, first, tiles)) for tiles in each)
        return first if same else each

    def mask(self) -> Array | None:
        """Return the masks of the images as one array (K, Y, X), or None where there is none."""
        if all(mask is None for mask in self.masks):
            return None
        whole = np.ones(self.images[0].shape, bool)
        return np.stack([whole if mask is None else mask for mask in self.masks])


@dataclass(frozen=True, slots=True, eq=False)
class BatteryPlan:
    """What is compared with every slice. Made by `prepare`."""

    backend: Backend
    groups: list[Group]
    members: list[Member]
    seed: int | None
    ci: str | None
    nan_policy: str

    def only_reads(self) -> bool:
        """Whether slices are compared as they are: no group makes others of them."""
        return not any(group.steps for group in self.groups)

    def witness(self) -> int | None:
        """Return the number of a member whose r is NaN for every slice with NaN, or None where there is none.

        It sees every pixel of the slices as they are.
        """
        for group in self.groups:
            if not group.steps and group.mask() is None:
                return self.members.index(group.members[0])
        return None


def prepare(
    references: Sequence[Reference],
    transforms: Sequence[Transform | Callable[[Any], Any] | None],
    *,
    seed: int | None,
    ci: str | None,
    nan_policy: str,
    backend: Backend,
) -> BatteryPlan:
    """Return the plan of a battery: every reference under every transform, in that order."""
    check_word("nan_policy", nan_policy, NAN_POLICIES)
    references = [_checked_reference(reference, nan_policy, backend) for reference in references]
    plans = [plan(as_transform(transform)) for transform in transforms]
    labels = [curve_label(p.name, p.magnitude) for p in plans]
    if not labels or len(set(labels)) < len(labels):
        raise ParameterError(f"transforms = {labels}: allowed is one or more, with names that differ")
    if seed is not None or any(None in p.seeds() for p in plans):
        seed = seed_or_fresh(seed)
    noises = _noise_fields(plans, references[0].image.shape, seed, backend)
    groups: dict[Any, Group] = {}
    members = []
    for reference in references:
        for what, noise in zip(plans, noises, strict=True):
            shape = reference.image.shape
            if what.permutation.turns % 2 and shape[0] != shape[1]:
                raise ParameterError(f"transform = {what.name!r}: slices of shape {shape} are not square")
            group = groups.setdefault(tuple(map(_key, what.steps)), Group(what.steps))
            members.append(group.add(reference, what, noise))
    return BatteryPlan(backend, list(groups.values()), members, seed, check_method(ci), nan_policy)


def _key(step: Transform) -> Any:
    """Return what tells steps apart: the step itself, its identity where it cannot be hashed."""
    try:
        hash(step)
    except TypeError:
        return id(step)
    return step


def _noise_fields(
    plans: Sequence[Plan], shape: tuple[int, ...], seed: int | None, backend: Backend
) -> list[Floats | None]:
    """Return the noise field of each plan, None where it adds none; plans of one seed share one array."""
    fields: dict[Any, Floats] = {}
    noises: list[Floats | None] = []
    for noise in (p.noise for p in plans):
        if noise is None or noise.factor == 0:
            noises.append(None)
            continue
        key = ("seed", noise.seed) if noise.is_random else ("array", id(noise.magnitude))
        if key not in fields:
            fields[key] = noise.field(shape, seed, backend.name)
        noises.append(fields[key])
    return noises


def _checked_reference(reference: Reference, nan_policy: str, backend: Backend) -> Reference:
    """Return a reference whose NaN are masked; raise where it is constant or its NaN are not allowed."""
    image, mask = reference.image, reference.mask
    check_dtype("reference", image.dtype)
    nan = backend.to_host(np.isnan(image)) if image.dtype.kind == "f" else np.zeros(image.shape, bool)
    if mask is not None:
        nan &= mask
    if nan.any():
        if nan_policy != "omit":
            raise ParameterError(f"reference has {nan.sum()} NaN pixels: nan_policy='omit' leaves them out")
        mask = ~nan if mask is None else mask & ~nan
    own = backend.moments([image], image[np.newaxis], reference_mask=mask)[0]
    if own.constant_x[0]:
        which = "the reference image" if reference.index is None else f"the reference, slice {reference.index},"
        raise ParameterError(f"{which} is constant (value {own.mean_x[0]:g}): it correlates with nothing")
    return Reference(image, mask, reference.index)
