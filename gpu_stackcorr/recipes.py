"""Recipes: all that a random displacement field depends on, with samples by which another machine proves it.

The uniform noise is the same to the bit on every backend, so that hashes of it are compared; the field itself is the
same to rounding, so that its values are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import __version__
from .arrays import get_backend
from .deformation_checks import check_shape, moving_axes
from .displacement_fields import displacement_field, entries, scales_in_voxels
from .errors import RecipeError
from .random_fields import Box, Purpose, check_seed, indices, stream

FORMAT = 1
"""Of the JSON; another one is not read."""

BLOCK = 8
"""Voxels a side of a sample block."""

PARAMETERS = ("shape", "alpha", "sigma", "seed", "index", "axes", "method", "spacing", "shared")
"""What a field depends on."""

TOLERANCE = 1e-9
"""By how much values of a field may differ, in parts of alpha; float64 fields of two backends differ by 1e-12."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a field is at one of its blocks.

    Attributes
    ----------
    box : tuple of (start, stop) pairs
        Where the block lies.
    noise : str
        SHA-256 of the float32 uniform numbers of the field's streams there, one moving axis after the other; of the
        first slice of the block, where each slice has a field of its own.
    displacement : tuple of floats
        Of the first voxel of the block, along each moving axis, in voxels.
    """

    box: Box
    noise: str
    displacement: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A random displacement field, so that it can be computed again and proved to be the same.

    Attributes
    ----------
    shape, alpha, sigma, seed, index, axes, method, spacing, shared
        As in ``displacement_field``.
    samples : tuple of Sample
        At the corners and in the middle.
    version : str
        Of the package that wrote it.

    Examples
    --------
    >>> recipe = make_recipe((64, 64), 30.0, 4.0, seed=1)
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    >>> recipe.verify(backend="numpy")
    """

    shape: tuple[int, ...]
    alpha: tuple[float, ...]
    sigma: tuple[float, ...]
    seed: int
    index: int
    axes: tuple[int, ...]
    method: str
    spacing: tuple[float, ...]
    shared: bool
    samples: tuple[Sample, ...]
    version: str = __version__

    def displacement(
        self, *, box: Box | None = None, dtype: DTypeLike = np.float32, backend: str | None = None
    ) -> NDArray[Any]:
        """Return the field, or a box of it (see ``displacement_field``)."""
        return displacement_field(
            self.shape,
            self.alpha,
            self.sigma,
            seed=self.seed,
            index=self.index,
            box=box,
            axes=self.axes,
            method=self.method,
            spacing=self.spacing,
            shared=self.shared,
            dtype=dtype,
            backend=backend,
        )

    def verify(self, *, backend: str | None = None) -> None:
        """Compute the samples again.

        Raises
        ------
        RecipeError
            Where noise or displacement is another one; the message names the block.
        """
        for sample in self.samples:
            again = self._sample(sample.box, backend)
            if again.noise != sample.noise:
                raise RecipeError(
                    f"the noise of the block {sample.box} is another one than when the recipe was written"
                )
            difference = np.abs(np.subtract(again.displacement, sample.displacement))
            if not (difference <= TOLERANCE * np.maximum(1.0, self.alpha)).all():
                raise RecipeError(
                    f"the displacement of the block {sample.box} is {again.displacement}, "
                    f"and was {sample.displacement} when the recipe was written"
                )

    def _sample(self, box: Box, backend: str | None) -> Sample:
        """Return what the field is at a block."""
        engine = get_backend(backend)
        fixed = len(self.shape) - len(self.sigma)
        number = self.index
        if fixed and not self.shared:
            number += int(np.ravel_multi_index([start for start, _ in box[:fixed]], self.shape[:fixed]))
        streams = np.array([stream(Purpose.DISPLACEMENT, len(self.shape) - 1 - axis, number) for axis in self.axes])
        noise = engine.to_host(engine.random_field(self.seed, streams, self.shape[fixed:], box=box[fixed:]))
        first = tuple((start, min(start + 1, stop)) for start, stop in box)
        field = self.displacement(box=first, dtype=np.float64, backend=backend)
        values = tuple(float(component.flat[0]) for component in field)
        return Sample(box, hashlib.sha256(noise.astype("<f4").tobytes()).hexdigest(), values)

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Return the recipe as JSON; write it to `path` where given."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that a JSON text holds.

        Raises
        ------
        RecipeError
            If the text is no recipe, or one of another format.
        """
        try:
            record = json.loads(text)
            if record.pop("format") != FORMAT:
                raise RecipeError(f"the recipe has another format: allowed is {FORMAT}")
            samples = [Sample(**{key: _tuples(value) for key, value in each.items()}) for each in record.pop("samples")]
            recipe = cls(samples=tuple(samples), **{key: _tuples(value) for key, value in record.items()})
            # Reading it as what it says it is finds what is not allowed.
            make_recipe(**{name: getattr(recipe, name) for name in PARAMETERS}, blocks=())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecipeError(f"the text is no recipe: {error!r}") from error
        return recipe


def make_recipe(
    shape: Sequence[int],
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    *,
    seed: int,
    index: int = 0,
    axes: Sequence[int] | None = None,
    method: str = "gaussian",
    spacing: float | Sequence[float] = 1.0,
    shared: bool = False,
    blocks: Sequence[Box] | None = None,
    backend: str | None = None,
) -> Recipe:
    """Return the recipe of a random displacement field.

    Parameters
    ----------
    shape, alpha, sigma, seed, index, axes, method, spacing, shared
        As in ``displacement_field``; the seed must be given.
    blocks : sequence of boxes, optional
        To take samples of; by default 8 voxels a side at the corners and in the middle.
    backend : str, optional
        Where to compute the samples.

    Examples
    --------
    >>> len(make_recipe((100, 100), 250.0, 10.0, seed=1).samples)
    5
    """
    shape, seed = check_shape(shape), check_seed(seed)
    indices(index, 1)
    moving = moving_axes(axes, len(shape), trailing=entries(sigma) < len(shape))
    scales_in_voxels(alpha, sigma, len(shape), moving, method=method, spacing=spacing, shared=shared)
    recipe = Recipe(
        shape=shape,
        alpha=tuple(map(float, np.broadcast_to(alpha, len(moving)))),
        sigma=tuple(map(float, np.broadcast_to(sigma, entries(sigma) or len(moving)))),
        seed=seed,
        index=int(index),
        axes=moving,
        method=method,
        spacing=tuple(map(float, np.broadcast_to(spacing, len(shape)))),
        shared=bool(shared),
        samples=(),
    )
    blocks = sample_blocks(shape) if blocks is None else blocks
    return replace(recipe, samples=tuple(recipe._sample(box, backend) for box in blocks))


def sample_blocks(shape: Sequence[int]) -> list[Box]:
    """Return blocks at the corners and in the middle of a volume, each once; none of an empty one."""
    if 0 in shape:
        return []
    sizes = [min(n, BLOCK) for n in shape]
    ends = [((0, size), (n - size, n)) for n, size in zip(shape, sizes, strict=True)]
    middle = tuple((n // 2 - size // 2, n // 2 - size // 2 + size) for n, size in zip(shape, sizes, strict=True))
    return list(dict.fromkeys([*product(*ends), middle]))


def _tuples(value: Any) -> Any:
    """Return what JSON has as lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
