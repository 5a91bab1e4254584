"""What is done to a slice before it is compared: flips, rotations, noise, elastic deformation, compositions.

A transform is called with an image (Y, X) and returns one. `plan` splits it into what must be done to the slice and
what can be done to the reference instead: corr(x, T y) = corr(T^-1 x, y) where T only moves pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import choose, get_backend, on_host, plain
from .backends.base import Edges
from .deformation import elastic_transform
from .deformation_checks import check_alpha_sigma, check_interpolation
from .errors import ParameterError
from .random_fields import Axis, Purpose, check_seed, seed_or_fresh, stream


class Transform(ABC):
    """Something done to an image (Y, X)."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables and figures call it."""

    @abstractmethod
    def __call__(self, image: Any, *, index: int = 0) -> Any:
        """Return the transformed image; `index` is the slice's, for transforms that differ by slice."""


@dataclass(frozen=True, slots=True)
class Permutation(Transform):
    """A mirror image, then a number of quarter turns: one of the eight symmetries of the square.

    Attributes
    ----------
    label : str
    turns : int
        Quarter turns counter-clockwise, as ``numpy.rot90``.
    mirrored : bool
        Whether left and right are exchanged first.
    """

    label: str
    turns: int = 0
    mirrored: bool = False

    @property
    def name(self) -> str:
        return self.label

    def __call__(self, image: Any, *, index: int = 0) -> Any:
        """Return a view of an image or stack, its two last axes moved."""
        image = plain(image)
        return np.rot90(image[..., ::-1] if self.mirrored else image, self.turns, axes=(-2, -1))

    def edges(self, edges: Edges) -> Edges:
        """Return the edges of cells along y and x after the permutation of an image that they divide."""
        y, x = edges
        if self.mirrored:
            x = x[-1] - x[::-1]
        for _ in range(self.turns % 4):
            y, x = x[-1] - x[::-1], y
        return y, x

    def after(self, first: Permutation) -> Permutation:
        """Return the permutation that does `first` and then this one."""
        # A mirror turns a rotation round: mirror after turns is -turns after mirror.
        turns = self.turns + (-first.turns if self.mirrored else first.turns)
        return Permutation(f"{first.label}, {self.label}", turns % 4, self.mirrored != first.mirrored)

    def inverse(self) -> Permutation:
        """Return the permutation that undoes this one."""
        return self if self.mirrored else Permutation(f"inverse {self.label}", -self.turns % 4)


identity = Permutation("identity")
"""Leaves an image as it is."""

flip_right_left = Permutation("flip_right_left", mirrored=True)
"""Exchanges right and left (x runs backwards)."""

flip_up_down = Permutation("flip_up_down", turns=2, mirrored=True)
"""Exchanges up and down (y runs backwards)."""

rotate_90 = Permutation("rotate_90", turns=1)
"""Rotates by 90 degrees counter-clockwise, as ``numpy.rot90``."""


@dataclass(frozen=True, slots=True, eq=False)
class AddNoise(Transform):
    """Standardises a slice (mean 0, standard deviation 1) and adds noise, after every other transform.

    Parameters
    ----------
    magnitude : float or (Y, X) array
        Standard deviation of normal noise, in standard deviations of the slice, 0 or more; or the noise itself.
    seed : int, optional
        Of the noise field. Without one a battery's members share the field of the battery's seed.
    """

    magnitude: Any
    seed: int | None = None

    def __post_init__(self) -> None:
        values = on_host(self.magnitude)
        if values.dtype.kind not in "biuf" or values.ndim not in (0, 2):
            raise ParameterError(
                f"noise has dtype {values.dtype} and {values.ndim} dimensions: allowed are a number and an array (Y, X)"
            )
        if not np.isfinite(values).all() or (values.ndim == 0 and values < 0):
            shown = f"= {self.magnitude!r}" if values.ndim == 0 else "has values that are not finite"
            raise ParameterError(f"noise {shown}: allowed are numbers of 0 or more, and arrays of finite numbers")
        if self.seed is not None:
            check_seed(self.seed)

    @property
    def scale(self) -> float:
        """The magnitude as a number: NaN where the noise itself was given."""
        return float(self.magnitude) if np.ndim(self.magnitude) == 0 else float("nan")

    @property
    def name(self) -> str:
        return "noise" if np.ndim(self.magnitude) else f"noise {self.scale:g}"

    def field(self, shape: Sequence[int], seed: int | None, backend: str | None = None) -> NDArray[np.float64]:
        """Return what is multiplied by `factor` and added: a standard normal field, or the array given."""
        if np.ndim(self.magnitude) == 0:
            return noise_field(shape, seed_or_fresh(seed) if self.seed is None else self.seed, backend)
        field = np.asarray(on_host(self.magnitude), np.float64)
        if field.shape != tuple(shape):
            raise ParameterError(f"noise has shape {field.shape}: allowed is that of a slice, {tuple(shape)}")
        return field

    @property
    def is_random(self) -> bool:
        """Whether the field is drawn, and not given."""
        return np.ndim(self.magnitude) == 0

    @property
    def factor(self) -> float:
        """What `field` is multiplied by."""
        return 1.0 if np.ndim(self.magnitude) else self.scale

    def __call__(self, image: Any, *, index: int = 0) -> Any:
        """Return the standardised image with noise added, float64."""
        engine, image = choose(None, image=image), plain(image).astype(np.float64)
        field = self.field(image.shape, None, engine.name)
        return (image - image.mean()) / image.std() + engine.beside(image, self.factor * field)


def noise_field(shape: Sequence[int], seed: int, backend: str | None = None) -> NDArray[np.float64]:
    """Return the standard normal field (Y, X) that belongs to a seed."""
    number = int(stream(Purpose.NOISE, Axis.X, 0))
    engine = get_backend(backend)
    return engine.to_host(engine.random_field(seed, number, shape, distribution="normal", dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Elastic(Transform):
    """Deforms every slice elastically, each by a field of its own (see ``elastic_transform``).

    Parameters
    ----------
    alpha : float or (y, x)
        Scale of the displacement in pixels.
    sigma : float or (y, x)
        Standard deviation of the Gaussian in pixels.
    seed : int, optional
        Without one the battery's seed.
    order, mode, cval
        As in ``warp``.
    """

    alpha: float | tuple[float, float]
    sigma: float | tuple[float, float]
    seed: int | None = None
    order: int = 1
    mode: str = "reflect"
    cval: float = 0.0

    def __post_init__(self) -> None:
        check_alpha_sigma(self.alpha, self.sigma, 2)
        check_interpolation(self.order, self.mode)
        if self.seed is not None:
            check_seed(self.seed)

    @property
    def name(self) -> str:
        alpha, sigma = ("x".join(f"{v:g}" for v in np.atleast_1d(value)) for value in (self.alpha, self.sigma))
        return f"elastic({alpha}, {sigma})"

    def seeded(self, seed: int | None) -> Elastic:
        """Return the same with `seed`, unless it has one of its own."""
        return self if self.seed is not None else replace(self, seed=seed_or_fresh(seed))

    def __call__(self, image: Any, *, index: int = 0) -> Any:
        """Return the deformed image, in its own dtype."""
        return elastic_transform(
            image,
            self.alpha,
            self.sigma,
            seed=self.seed,
            index=index,
            order=self.order,
            mode=self.mode,
            cval=self.cval,
        )


@dataclass(frozen=True, slots=True)
class Function(Transform):
    """A transform from any function of an image."""

    function: Callable[[Any], Any]

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", self.function))

    def __call__(self, image: Any, *, index: int = 0) -> Any:
        """Return what the function returns; it gets a copy, and may draw into that."""
        return self.function(plain(image).copy())


class Compose(Transform):
    """Several transforms, one after the other; noise is added after all of them.

    Parameters
    ----------
    *transforms : Transform or callable
        At most one of them adds noise.

    Examples
    --------
    >>> Compose(flip_right_left, rotate_90).name
    'flip_right_left, rotate_90'
    """

    def __init__(self, *transforms: Transform | Callable[[Any], Any]) -> None:
        parts: list[Transform] = []
        for transform in map(as_transform, transforms):
            parts.extend(transform.transforms if isinstance(transform, Compose) else [transform])
        noise = [part for part in parts if isinstance(part, AddNoise)]
        if len(noise) > 1:
            raise ParameterError(f"transforms add noise {len(noise)} times: allowed is once")
        others = [part for part in parts if not isinstance(part, AddNoise)]
        self.transforms: tuple[Transform, ...] = (*others, *noise)

    @property
    def name(self) -> str:
        return ", ".join(part.name for part in self.transforms) or identity.name

    def __call__(self, image: Any, *, index: int = 0) -> Any:
        """Return the image after every transform."""
        for part in self.transforms:
            image = part(image, index=index)
        return image


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
        seeds = [step.seed for step in self.steps if isinstance(step, Elastic)]
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
