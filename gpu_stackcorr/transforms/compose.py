"""Several transforms, one after the other, and how they are computed in one read of a stack.

`plan` splits a transform into what must be done to the slice and what can be done to the reference instead:
corr(x, T y) = corr(T^-1 x, y) where T only moves pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu_stackcorr.errors import ParameterError

from .base import Function, Transform, with_labels
from .deformations import Joined, joined
from .noise import AddNoise
from .permutations import Permutation, identity


class Compose(Transform):
    """Several transforms, one after the other; noise is added after all of them.

    Neighbours that interpolate (`Elastic`, `Affine`), and flips between them, are put together into one displacement
    where they agree in order, mode and `cval` and move every axis, so that an image is interpolated once.

    Parameters
    ----------
    *transforms : Transform or callable
        At most one of them adds noise.

    Examples
    --------
    >>> from gpu_stackcorr.transforms import flip_right_left, rotate_90
    >>> Compose(flip_right_left, rotate_90).name
    'flip_right_left, rotate_90'
    """

    def __init__(self, *transforms: Transform | Callable[[Any], Any]) -> None:
        parts: list[Transform] = []
        for transform in map(as_transform, transforms):
            parts.extend(_parts(transform))
        noise = [part for part in parts if isinstance(part, AddNoise)]
        if len(noise) > 1:
            raise ParameterError(f"transforms add noise {len(noise)} times: allowed is once")
        others = [part for part in parts if not isinstance(part, AddNoise)]
        self.transforms: tuple[Transform, ...] = (*joined(others), *noise)

    @property
    def name(self) -> str:
        return ", ".join(part.name for part in self.transforms) or identity.name

    def seeds(self) -> tuple[int | None, ...]:
        return tuple(seed for part in self.transforms for seed in part.seeds())

    def seeded(self, seed: int | None) -> Compose:
        """Return the same with `seed` for each random deformation that has none of its own."""
        return Compose(*(part.seeded(seed) for part in self.transforms))

    def __call__(self, image: Any, *, index: int = 0, labels: Any = None) -> Any:
        """Return the image after every transform, or with `labels` both as a pair."""
        for part in self.transforms:
            if labels is None:
                image = part(image, index=index)
            else:
                image, labels = part(image, index=index, labels=labels)
        return with_labels(image, labels)


def _parts(transform: Transform) -> tuple[Transform, ...]:
    """Return what a transform is made of."""
    if isinstance(transform, Compose):
        return tuple(part for each in transform.transforms for part in _parts(each))
    return transform.parts if isinstance(transform, Joined) else (transform,)


def as_transform(transform: object) -> Transform:
    """Return a Transform: itself, one around a function, or the identity for None."""
    if transform is None:
        return identity
    if isinstance(transform, Transform):
        return transform
    if callable(transform):
        return Function(transform)
    shown = " ".join(repr(transform).split())
    raise ParameterError(f"transform = {shown}: allowed are Transform objects and functions of an image")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a transform is computed: `steps` on the slice, then `permutation` and `noise`, moved to the reference."""

    name: str
    steps: tuple[Transform, ...]
    permutation: Permutation
    noise: AddNoise | None

    @property
    def magnitude(self) -> float:
        """Of the noise; 0 where there is none, NaN where it was given as an array."""
        return 0.0 if self.noise is None else self.noise.scale

    def seeds(self) -> list[int | None]:
        """Return the seed of each random part; None stands for that of the battery."""
        seeds = [seed for step in self.steps for seed in step.seeds()]
        if self.noise is not None and self.noise.is_random and self.noise.factor != 0:
            seeds.append(self.noise.seed)
        return seeds

    def seed(self, shared: int | None) -> int | None:
        """Return the seed to record: `shared` where a part draws on it, else that of the first random part.

        Where a deformation and its noise have two seeds of their own, that of the noise is not recorded.
        """
        seeds = self.seeds()
        return shared if None in seeds else next(iter(seeds), None)


def plan(transform: Transform) -> Plan:
    """Split a transform; permutations that come last, and the noise after them, need not touch the slice."""
    steps = list(transform.transforms if isinstance(transform, Compose) else (transform,))
    noise = steps.pop() if steps and isinstance(steps[-1], AddNoise) else None
    name = Compose(*steps).name
    permutation = identity
    while steps and isinstance(last := steps[-1], Permutation):
        permutation = permutation.after(last)
        steps.pop()
    return Plan(name, tuple(steps), permutation, noise if isinstance(noise, AddNoise) else None)
