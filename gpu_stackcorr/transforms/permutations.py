"""The eight symmetries of the square, which move whole pixels: flips and quarter turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_stackcorr.arrays import plain
from gpu_stackcorr.backends.base import Edges

from .base import Transform, with_labels


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

    def __call__(self, image: Any, *, index: int = 0, labels: Any = None) -> Any:
        """Return a view of an image or stack, its two last axes moved, and of its labels."""
        return with_labels(self._moved(image), None if labels is None else self._moved(labels))

    def _moved(self, image: Any) -> Any:
        image = plain(image)
        return np.rot90(image[..., ::-1] if self.mirrored else image, self.turns, axes=(-2, -1))

    def matrix(self, ndim: int) -> NDArray[np.float64]:
        """Return the matrix by which content moves about the centre of an image of so many axes."""
        y, x = (1.0, 0.0), (0.0, -1.0 if self.mirrored else 1.0)
        for _ in range(self.turns % 4):  # what was at x goes to -y, what was at y to x
            y, x = (-x[0], -x[1]), y
        matrix = np.eye(ndim)
        matrix[-2:, -2:] = y, x
        return matrix

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
