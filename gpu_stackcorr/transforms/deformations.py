"""What pulls an image through a displacement: elastic deformation, affine maps, and several of them joined into one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, prod, radians, sin
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gpu_stackcorr.arrays import choose, plain
from gpu_stackcorr.backends.base import Array, Backend, field_dtype
from gpu_stackcorr.compositions import affine_displacement, check_matrix, followed_by, followed_by_affine
from gpu_stackcorr.deformation import elastic_transform, warp
from gpu_stackcorr.deformation_checks import check_interpolation, check_scale
from gpu_stackcorr.displacement_fields import RandomField
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.folds import warn_of_folds
from gpu_stackcorr.random_fields import check_seed, seed_or_fresh
from gpu_stackcorr.recipes import Recipe, make_recipe

from .base import Transform
from .permutations import Permutation


class Deformation(Transform):
    """A transform that is a displacement."""

    order: int
    mode: str
    cval: float
    channel_axis: int | None
    check_folds = False

    def seeded(self, seed: int | None) -> Deformation:
        """Return the same with `seed` for each random deformation that has none of its own."""
        return self

    @abstractmethod
    def followed_by(
        self, field: Array | None, engine: Backend, shape: tuple[int, ...], dtype: DTypeLike, index: int
    ) -> Array:
        """Return the displacement of this deformation of an image of `shape`, followed by that of `field`."""

    def joins(self, other: Deformation) -> bool:
        """Whether the two can be interpolated as one."""
        mine, its = ((d.order, d.mode, d.cval, d.channel_axis) for d in (self, other))
        return mine == its

    def __call__(self, image: Any, *, index: int = 0, labels: Any = None) -> Any:
        """Return the deformed image in its own dtype, or with `labels` both as a pair."""
        engine = choose(None, image=image, labels=labels)
        size = plain(image)
        shape = tuple(n for axis, n in enumerate(size.shape) if axis not in self._channels(size.ndim))
        field = self.followed_by(None, engine, shape, field_dtype(size.dtype), index)
        if self.check_folds:
            warn_of_folds(engine.count_folds(field, axes=range(len(shape))), prod(shape))
        return warp(
            image,
            field,
            labels=labels,
            channel_axis=self.channel_axis,
            order=self.order,
            mode=self.mode,
            cval=self.cval,
            backend=engine.name,
        )

    def _channels(self, ndim: int) -> tuple[int, ...]:
        return () if self.channel_axis is None else (self.channel_axis % max(1, ndim),)


@dataclass(frozen=True, slots=True)
class Elastic(Deformation):
    """Deforms a slice or volume elastically, by a field that belongs to (seed, index) (see ``elastic_transform``).

    Parameters
    ----------
    alpha : float or one an axis
        Scale of the displacement in pixels.
    sigma : float or one an axis
        Standard deviation of the Gaussian in pixels.
    seed : int, optional
        Without one the battery's seed; called alone, a fresh one each time.
    order, mode, cval, channel_axis
        As in ``warp``.
    axes, method, spacing, shared
        As in ``displacement_field``.
    check_folds : bool
        Whether to look for folds at every call, and to warn of them.
    """

    alpha: float | tuple[float, ...]
    sigma: float | tuple[float, ...]
    seed: int | None = None
    order: int = 1
    mode: str = "reflect"
    cval: float = 0.0
    channel_axis: int | None = None
    axes: tuple[int, ...] | None = None
    method: str = "gaussian"
    spacing: float | tuple[float, ...] = 1.0
    shared: bool = False
    check_folds: bool = False

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("sigma", self.sigma)):  # how many there must be, an image says
            check_scale(name, value, min(max(np.size(value), 1), 3))
        check_interpolation(self.order, self.mode)
        if self.seed is not None:
            check_seed(self.seed)

    @property
    def name(self) -> str:
        alpha, sigma = ("x".join(f"{v:g}" for v in np.atleast_1d(value)) for value in (self.alpha, self.sigma))
        return f"elastic({alpha}, {sigma})"

    @property
    def is_plain(self) -> bool:
        """Whether it is smoothed noise of every slice in its plane, unchecked: what ``warp_moments`` computes."""
        simple = (self.axes, self.channel_axis, self.spacing, self.check_folds) == (None, None, 1.0, False)
        return simple and self.method == "gaussian"

    def seeds(self) -> tuple[int | None, ...]:
        return (self.seed,)

    def seeded(self, seed: int | None) -> Elastic:
        """Return the same with `seed`, unless it has one of its own."""
        return self if self.seed is not None else replace(self, seed=seed_or_fresh(seed))

    def joins(self, other: Deformation) -> bool:
        """Whether the two can be interpolated as one: fields of some axes go alone."""
        return self.axes is None and Deformation.joins(self, other)

    def __call__(self, image: Any, *, index: int = 0, labels: Any = None) -> Any:
        """Return the deformed image in its own dtype, or with `labels` both as a pair."""
        return elastic_transform(
            image,
            self.alpha,
            self.sigma,
            labels=labels,
            axes=self.axes,
            channel_axis=self.channel_axis,
            order=self.order,
            mode=self.mode,
            cval=self.cval,
            method=self.method,
            spacing=self.spacing,
            shared=self.shared,
            seed=self.seed,
            index=index,
            check_folds=self.check_folds,
        )

    def recipe(self, shape: Sequence[int], *, index: int = 0) -> Recipe:
        """Return the recipe of the field of an image of `shape` (without channels); the seed must be known."""
        if self.seed is None:
            raise ParameterError("seed = None: allowed for a recipe are the integers 0 to 2^64 - 1")
        return make_recipe(
            shape,
            self.alpha,
            self.sigma,
            seed=self.seed,
            index=index,
            axes=self.axes,
            method=self.method,
            spacing=self.spacing,
            shared=self.shared,
        )

    def followed_by(
        self, field: Array | None, engine: Backend, shape: tuple[int, ...], dtype: DTypeLike, index: int
    ) -> Array:
        """Return the displacement of this deformation of an image of `shape`, followed by that of `field`."""
        own = RandomField.of(
            shape,
            self.alpha,
            self.sigma,
            seed=self.seed,
            index=index,
            axes=tuple(range(len(shape))),
            method=self.method,
            spacing=self.spacing,
        ).displacement(engine, dtype=dtype)
        return own if field is None else followed_by(engine, own, field)


@dataclass(frozen=True, slots=True)
class Affine(Deformation):
    """Moves the content of an image by an affine map about its centre: what is at c + v goes to c + matrix v + shift.

    Parameters
    ----------
    matrix : (ndim, ndim) array_like
        Axes in the order of the image's: (y, x) or (z, y, x). Not singular.
    shift : float or one an axis
        In voxels.
    order, mode, cval, channel_axis
        As in ``warp``.

    Examples
    --------
    >>> Affine.rotation(90)(np.arange(9).reshape(3, 3))  # counter-clockwise, as numpy.rot90
    array([[2, 5, 8],
           [1, 4, 7],
           [0, 3, 6]])
    """

    matrix: Any
    shift: Any = 0.0
    order: int = 1
    mode: str = "reflect"
    cval: float = 0.0
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        matrix, shift = check_matrix(self.matrix, self.shift, "shift")
        if abs(np.linalg.det(matrix)) < 1e-12:
            raise ParameterError(f"matrix = {matrix.tolist()}: allowed are matrices that are not singular")
        object.__setattr__(self, "matrix", tuple(map(tuple, matrix.tolist())))
        object.__setattr__(self, "shift", tuple(shift.tolist()))
        check_interpolation(self.order, self.mode)

    @classmethod
    def rotation(cls, degrees: float, *, plane: tuple[int, int] = (0, 1), ndim: int = 2, **how: Any) -> Affine:
        """Rotate in the plane of two axes, counter-clockwise where the first points down and the second right."""
        matrix, (first, second) = np.eye(ndim), plane
        turn = [[cos(radians(degrees)), -sin(radians(degrees))], [sin(radians(degrees)), cos(radians(degrees))]]
        matrix[np.ix_([first, second], [first, second])] = np.round(turn, 15)  # quarter turns are whole numbers
        return cls(matrix, **how)

    @classmethod
    def scaling(cls, factor: float | Sequence[float], *, ndim: int = 2, **how: Any) -> Affine:
        """Enlarge about the centre, by one factor or by one an axis; a negative one mirrors."""
        return cls(np.diag(np.broadcast_to(np.asarray(factor, np.float64), ndim)), **how)

    @classmethod
    def translation(cls, shift: ArrayLike, **how: Any) -> Affine:
        """Move content by so many voxels along each axis."""
        return cls(np.eye(len(np.atleast_1d(shift))), shift, **how)

    @property
    def name(self) -> str:
        rows = "; ".join(" ".join(f"{v:g}" for v in row) for row in self.matrix)
        return f"affine({rows} | {' '.join(f'{v:g}' for v in self.shift)})"

    def followed_by(
        self, field: Array | None, engine: Backend, shape: tuple[int, ...], dtype: DTypeLike, index: int
    ) -> Array:
        """Return the displacement of this map of an image of `shape`, followed by that of `field`."""
        if len(self.matrix) != len(shape):
            raise ParameterError(
                f"matrix has {len(self.matrix)} rows: allowed are {len(shape)}, one an axis of the image"
            )
        pull = np.linalg.inv(self.matrix)
        centre = (np.array(shape) - 1) / 2
        offset = centre - pull @ (centre + self.shift)
        if field is None:
            return affine_displacement(shape, pull, offset, dtype=dtype)
        return followed_by_affine(engine, field, pull, offset)


class Joined(Deformation):
    """Several deformations as one displacement, so that an image is interpolated once."""

    def __init__(self, parts: Sequence[Deformation | Permutation]) -> None:
        self.parts = tuple(parts)
        leader = next(part for part in parts if isinstance(part, Deformation))
        self.order, self.mode, self.cval = leader.order, leader.mode, leader.cval
        self.channel_axis = leader.channel_axis
        self.check_folds = any(part.check_folds for part in parts if isinstance(part, Deformation))

    @property
    def name(self) -> str:
        return ", ".join(part.name for part in self.parts)

    def seeds(self) -> tuple[int | None, ...]:
        return tuple(seed for part in self.parts for seed in part.seeds())

    def seeded(self, seed: int | None) -> Joined:
        """Return the same with `seed` for each part that has none of its own."""
        return Joined([part if isinstance(part, Permutation) else part.seeded(seed) for part in self.parts])

    def followed_by(
        self, field: Array | None, engine: Backend, shape: tuple[int, ...], dtype: DTypeLike, index: int
    ) -> Array:
        """Return the displacement of all parts, the last of which is followed by that of `field`."""
        for part in reversed(self.parts):
            moves = Affine(part.matrix(len(shape))) if isinstance(part, Permutation) else part
            field = moves.followed_by(field, engine, shape, dtype, index)
        assert field is not None
        return field


def joined(transforms: Sequence[Transform]) -> list[Transform]:
    """Return transforms with each run of deformations that can be interpolated as one joined.

    A run begins and ends with a deformation, and holds two or more; flips in between go with it. Quarter turns, which
    may change an image's shape, do not.
    """
    result: list[Transform] = []
    run: list[Deformation | Permutation] = []
    leader: Deformation | None = None

    def close() -> None:
        tail: list[Transform] = []
        while run and isinstance(run[-1], Permutation):
            tail.insert(0, run.pop())
        result.extend([Joined(run.copy())] if len(run) > 1 else run)
        result.extend(tail)
        run.clear()

    for transform in transforms:
        if isinstance(transform, Deformation):
            if leader and not (leader.joins(transform) and transform.joins(leader)):
                close()
            leader = leader if run else transform
            run.append(transform)
        elif isinstance(transform, Permutation) and transform.turns % 2 == 0 and leader and leader.channel_axis is None:
            run.append(transform)
        else:
            close()
            leader = None
            result.append(transform)
    close()
    return result
