"""What a transform is: something done to an image, and to its labels where it moves pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu_stackcorr.arrays import plain


class Transform(ABC):
    """Something done to an image, and to its labels with it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables and figures call it."""

    @abstractmethod
    def __call__(self, image: Any, *, index: int = 0, labels: Any = None) -> Any:
        """Return the transformed image, or with `labels` both as a pair.

        `index` is that of the slice or sample, for transforms that differ by it. Labels go where their pixels go, and
        keep every bit.
        """

    def seeds(self) -> tuple[int | None, ...]:
        """Return the seed of each random deformation in it; None stands for that of the battery."""
        return ()

    def seeded(self, seed: int | None) -> Transform:
        """Return the same with `seed` for each random deformation that has none of its own."""
        return self


def with_labels(image: Any, labels: Any) -> Any:
    """Return an image, or with labels both as a pair."""
    return image if labels is None else (image, labels)


@dataclass(frozen=True, slots=True)
class Function(Transform):
    """A transform from any function of an image."""

    function: Callable[[Any], Any]

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", self.function))

    def __call__(self, image: Any, *, index: int = 0, labels: Any = None) -> Any:
        """Return what the function returns; it gets a copy, and may draw into that. Labels stay as they are."""
        return with_labels(self.function(plain(image).copy()), labels)
