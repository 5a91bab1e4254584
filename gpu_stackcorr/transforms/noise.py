"""Noise, in standard deviations of the slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.arrays import choose, get_backend, on_host, plain
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.random_fields import Axis, Purpose, check_seed, seed_or_fresh, stream

from .base import Transform, with_labels


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

    def __call__(self, image: Any, *, index: int = 0, labels: Any = None) -> Any:
        """Return the standardised image with noise added, float64; labels stay as they are."""
        engine, image = choose(None, image=image), plain(image).astype(np.float64)
        field = self.field(image.shape, None, engine.name)
        noisy = (image - image.mean()) / image.std() + engine.beside(image, self.factor * field)
        return with_labels(noisy, labels)


def noise_field(shape: Sequence[int], seed: int, backend: str | None = None) -> NDArray[np.float64]:
    """Return the standard normal field (Y, X) that belongs to a seed."""
    number = int(stream(Purpose.NOISE, Axis.X, 0))
    engine = get_backend(backend)
    return engine.to_host(engine.random_field(seed, number, shape, distribution="normal", dtype=np.float64))
