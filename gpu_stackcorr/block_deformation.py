"""Elastic deformation of volumes larger than memory, block by block, as if it were done at once.

A block of the field is that block of the whole field. The image is read where the block's displacement leads, and
beside it, so that at orders 0 and 1 the result is that of `elastic_transform`, to the bit; above, where the prefilter
sees less of the image, to 1e-12 of its range.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, floor, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import check_dtype, get_backend
from .backends.base import Backend, field_dtype
from .deformation_checks import check_interpolation
from .displacement_fields import TRUNCATE
from .errors import ParameterError
from .random_fields import Box, seed_or_fresh
from .recipes import Recipe, make_recipe

logger = logging.getLogger(__name__)

DEFAULT_MEMORY = 512 * 2**20
"""Bytes that a block may use beside the interpreter and its libraries."""

MARGINS = (1, 1, 22, 30, 38, 46)
"""Voxels by which an image is read beyond where a displacement leads, by order: the taps, and above order 1 what the
prefilter carries over (the largest poles of its filters, 0.17 to 0.43, to 1e-16)."""


def deform_volume(
    source: Any,
    target: Any,
    alpha: float | Sequence[float],
    sigma: float | Sequence[float],
    *,
    labels: Any = None,
    labels_target: Any = None,
    axes: Sequence[int] | None = None,
    method: str = "gaussian",
    spacing: float | Sequence[float] = 1.0,
    shared: bool = False,
    order: int = 1,
    mode: str = "reflect",
    cval: float = 0.0,
    seed: int | None = None,
    index: int = 0,
    memory: int = DEFAULT_MEMORY,
    part: tuple[int, int] = (1, 1),
    skip: int = 0,
    progress: Callable[[int, int], None] | None = None,
    backend: str | None = None,
) -> Recipe:
    """Deform a volume elastically into another one, block by block within a memory budget.

    Parameters
    ----------
    source : array_like of 2 or 3 dimensions
        Anything with `shape`, `dtype` and slicing: an opened volume, a memory map, a Zarr or HDF5 array.
    target : array_like
        Of the shape and dtype of `source`, and not `source` itself; its boxes are assigned to. Where it has `chunks`,
        no chunk is written by two blocks.
    alpha, sigma, axes, method, spacing, shared, order, mode, cval, index
        As in `elastic_transform`.
    labels, labels_target : array_like, optional
        Integers of the shape of `source`, deformed by the same field at order 0, to the bit.
    seed : int, optional
        Drawn, logged and part of the recipe that is returned, where it is missing.
    memory : int
        Bytes that the work may use at a time beside the interpreter and its libraries. A displacement that leads far
        (`alpha` large for its `sigma`) reads more of the image than a block holds, and may take more.
    part : (int, int)
        ``(3, 20)`` is the third of twenty jobs that share the blocks out; they need the same `seed` and `memory`.
    skip : int
        Blocks of this part that are already written: what `progress` and the log said last, to go on with a job that
        died.
    progress : callable, optional
        Called as ``progress(blocks written, blocks of this part)`` after each block.
    backend : str, optional
        Where to compute.

    Returns
    -------
    Recipe
        Of the field.

    Raises
    ------
    ParameterError
        If shapes, dtypes or a parameter are not allowed, or `memory` is too small for a block of one voxel.

    Examples
    --------
    >>> from gpu_stackcorr import elastic_transform
    >>> image = np.arange(4096, dtype=np.float32).reshape(16, 16, 16)
    >>> deformed = np.empty_like(image)
    >>> recipe = deform_volume(image, deformed, 20.0, 3.0, seed=1, memory=2**20)
    >>> bool((deformed == elastic_transform(image, 20.0, 3.0, seed=1, check_folds=False)).all())
    True
    """
    check_interpolation(order, mode)
    pair = [_Volume("source", source, "target", target)]
    if (labels is None) != (labels_target is None):
        raise ParameterError("labels and labels_target: allowed are both or neither")
    if labels is not None:
        pair.append(_Volume("labels", labels, "labels_target", labels_target, integers_of=pair[0].shape))
    shape = pair[0].shape
    if len(shape) not in (2, 3):
        raise ParameterError(f"source has {len(shape)} dimensions: allowed are 2 and 3")
    engine = get_backend(backend)
    recipe = make_recipe(
        shape,
        alpha,
        sigma,
        seed=seed_or_fresh(seed),
        index=index,
        axes=axes,
        method=method,
        spacing=spacing,
        shared=shared,
        backend=engine.name,
    )
    work = _Work(engine, recipe, order, mode, cval, field_dtype(pair[0].dtype))
    size = work.block_shape(pair, memory)
    blocks = _of_part(list(_boxes(shape, size)), part)
    for number in range(_checked_count("skip", skip, len(blocks)), len(blocks)):
        work.deform(pair, blocks[number])
        logger.info("block %d of %d is written (part %d of %d)", number + 1, len(blocks), *part)
        if progress is not None:
            progress(number + 1, len(blocks))
    return recipe


class _Volume:
    """What is deformed and where it goes: two things with `shape`, `dtype` and slicing."""

    def __init__(
        self, name: str, source: Any, target_name: str, target: Any, integers_of: tuple[int, ...] | None = None
    ) -> None:
        for given, array in ((name, source), (target_name, target)):
            if not all(hasattr(array, needed) for needed in ("shape", "dtype", "__getitem__")):
                raise ParameterError(f"{given} is {type(array).__name__}: allowed is what has shape, dtype and slicing")
        if not hasattr(target, "__setitem__") or target is source:
            raise ParameterError(f"{target_name}: allowed is what can be assigned to, and is not {name}")
        self.source, self.target = source, target
        self.shape = tuple(int(n) for n in source.shape)
        self.dtype: np.dtype[Any] = np.dtype(source.dtype).newbyteorder("=")
        check_dtype(name, self.dtype)
        wanted = tuple(int(n) for n in target.shape), np.dtype(target.dtype).newbyteorder("=")
        if wanted != (self.shape, self.dtype):
            raise ParameterError(
                f"{target_name} has shape {wanted[0]} and dtype {wanted[1]}: "
                f"allowed are those of {name}, {self.shape} and {self.dtype}"
            )
        if integers_of is not None and (self.shape != integers_of or self.dtype.kind not in "biu"):
            raise ParameterError(
                f"{name} has shape {self.shape} and dtype {self.dtype}: allowed are integers of shape {integers_of}"
            )

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Of the target, where it is stored in boxes of one shape."""
        match getattr(self.target, "chunks", None):
            case tuple() as chunks if len(chunks) == len(self.shape) and all(isinstance(n, int) for n in chunks):
                return chunks
        return None

    def read(self, box: Box) -> NDArray[Any]:
        """Return a box of the source."""
        return np.asarray(self.source[tuple(slice(*ends) for ends in box)])

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Write a box of the target."""
        self.target[tuple(slice(*ends) for ends in box)] = values


@dataclass(frozen=True, slots=True)
class _Work:
    """How a block is deformed."""

    engine: Backend
    recipe: Recipe
    order: int
    mode: str
    cval: float
    dtype: type[np.float32 | np.float64]

    def deform(self, volumes: Sequence[_Volume], box: Box) -> None:
        """Deform one block of the volumes, the first of which is the image."""
        recipe, axes = self.recipe, self.recipe.axes
        field = recipe.displacement(box=box, dtype=self.dtype, backend=self.engine.name)
        region = self._region(field, box)
        inner = tuple(slice(start - r, stop - r) for (start, stop), (r, _) in zip(box, region, strict=True))
        whole = np.zeros((len(axes), *(stop - start for start, stop in region)), self.dtype)
        whole[(slice(None), *inner)] = field  # one field for all slices broadcasts
        for number, volume in enumerate(volumes):
            order = 0 if number else self.order
            image = volume.read(region)
            moved = self.engine.warp(image, whole, axes=axes, order=order, mode=self.mode, cval=self.cval)
            volume.write(box, self.engine.to_host(moved)[inner])

    def _region(self, field: NDArray[Any], box: Box) -> Box:
        """Return the box of the image that a block is read from."""
        region = list(box)
        for component, axis in zip(field, self.recipe.axes, strict=True):
            (start, stop), n = box[axis], self.recipe.shape[axis]
            low = start + floor(component.min()) - MARGINS[self.order]
            high = stop + ceil(component.max()) + MARGINS[self.order]
            if (low < 0 or high > n) and "wrap" in self.mode:
                low, high = 0, n
            # What lies beyond a border is, in the modes that reflect, as far on this side of it.
            low, high = min(low, 2 * n - high), max(high, -low)
            region[axis] = max(0, min(low, start)), min(n, max(high, stop))
        return tuple(region)

    def block_shape(self, volumes: Sequence[_Volume], memory: int) -> list[int]:
        """Return the largest blocks, halved along their longest axis in turn and of whole chunks, that fit a budget."""
        shape = volumes[0].shape
        chunks = [volume.chunks or (1,) * len(shape) for volume in volumes]
        unit = [min(n, int(np.lcm.reduce(sizes))) for n, sizes in zip(shape, zip(*chunks, strict=True), strict=True)]
        size = [-(-n // u) for n, u in zip(shape, unit, strict=True)]  # in units

        def voxels() -> list[int]:
            return [min(k * u, n) for k, u, n in zip(size, unit, shape, strict=True)]

        while (needed := self._bytes(volumes, voxels())) > memory:
            longest = max(range(len(size)), key=lambda axis: (size[axis] > 1) * voxels()[axis])
            if size[longest] == 1:
                raise ParameterError(f"memory = {memory}: allowed are {needed} bytes or more for blocks of {voxels()}")
            size[longest] = -(-size[longest] // 2)
        return voxels()

    def _bytes(self, volumes: Sequence[_Volume], size: Sequence[int]) -> int:
        """Return what a block takes: its field with the margin of the smoothing, twice, and the image round it."""
        recipe = self.recipe
        smoothed = recipe.sigma if recipe.method == "gaussian" else (0.0,) * len(recipe.sigma)
        spacing = recipe.spacing[len(recipe.shape) - len(smoothed) :]
        radius = [0] * (len(size) - len(smoothed))
        radius += [int(TRUNCATE * s / unit + 0.5) for s, unit in zip(smoothed, spacing, strict=True)]
        grown = prod(min(k + 2 * r, n) for k, r, n in zip(size, radius, recipe.shape, strict=True))
        margin = [MARGINS[self.order] + 8 if axis in recipe.axes else 0 for axis in range(len(size))]
        region = prod(min(k + 2 * m, n) for k, m, n in zip(size, margin, recipe.shape, strict=True))
        drawn = len(recipe.axes) * np.dtype(self.dtype).itemsize
        image = 2 * max(volume.dtype.itemsize for volume in volumes) + (8 if self.order > 1 else 0)
        return 2 * drawn * grown + (drawn + image) * region


def _boxes(shape: Sequence[int], size: Sequence[int]) -> product[Any]:
    """Return boxes of a size that cover a shape, in C order."""
    return product(
        *([(start, min(start + k, n)) for start in range(0, n, max(1, k))] for n, k in zip(shape, size, strict=True))
    )


def _of_part(blocks: list[Box], part: tuple[int, int]) -> list[Box]:
    """Return the k-th of n parts of the blocks, or raise ParameterError."""
    try:
        number, count = (int(n) for n in part)
    except (TypeError, ValueError):
        number, count = 0, 0
    if not 1 <= number <= count:
        raise ParameterError(f"part = {part!r}: allowed are (k, n) with k from 1 to n")
    return blocks[len(blocks) * (number - 1) // count : len(blocks) * number // count]


def _checked_count(name: str, value: int, most: int) -> int:
    """Return a count, or raise ParameterError where it is not 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= most:
        raise ParameterError(f"{name} = {value!r}: allowed are the integers 0 to {most}")
    return int(value)
