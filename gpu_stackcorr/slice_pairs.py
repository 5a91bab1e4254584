"""The pairs of slices of a stack at most so far apart, as blocks of slices against blocks, however large the stack.

A stack that fits is read once. A larger one is read in blocks, of which three at most are held: where the band is no
wider than a block every slice is still read once, otherwise once for every block that it has pairs with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Stack, check_mask
from .backends.base import Array
from .errors import ParameterError, check_word

WHOLE_BYTES = 512 * 2**20
"""Bytes of a stack on disk up to which all of it is read at once."""

BLOCK_BYTES = 128 * 2**20
"""Bytes of a block of a larger stack."""

LONGEST_BLOCK = 512
"""Slices of a block: the products of two blocks stay at 2 MiB."""

SHORTEST_BLOCK = 96
"""Slices of a block however narrow the band is: products of matrices need some height to be fast, and those of every
cell take a call each. `lag_correlation` of 165 x 768 x 1024 pixels of uint8 up to distance 20 took 317, 189, 143 and
149 ms with 32, 64, 96 and 128 slices on Numba, of float32 642, 476, 411 and 443 ms (two cores of a Zen 5)."""

NAN_POLICIES = ("raise", "propagate")
"""NaN in slices: an error, or r = NaN. Leaving them out would give every pair its own pixels."""


class Block(NamedTuple):
    """Some slices of a stack, and the index of the first."""

    start: int
    slices: Array

    @property
    def stop(self) -> int:
        """The index after the last slice."""
        return self.start + len(self.slices)

    def part(self, start: int, stop: int) -> Block:
        """Return those of its slices that have indices from `start` to `stop` of the stack."""
        start, stop = max(start, self.start), min(stop, self.stop)
        return Block(start, self.slices[start - self.start : stop - self.start])


class SlicePairs:
    """All pairs of slices (i, j) with ``0 <= j - i <= band``, block by block.

    Parameters
    ----------
    stack : Stack
        Two slices or more.
    band : int
    mask : (Y, X) bool array or None
        Pixels that count.
    nan_policy : {"raise", "propagate"}
    """

    def __init__(self, stack: Stack, band: int, mask: Any, nan_policy: str) -> None:
        if len(stack) < 2:
            raise ParameterError("stack has 1 slice: allowed are two or more")
        check_word("nan_policy", nan_policy, NAN_POLICIES)
        self.stack = stack
        self.band = band
        self.mask = check_mask(mask, stack.shape[1:])
        self.raise_nan = nan_policy == "raise" and stack.dtype.kind == "f"
        slice_bytes = int(np.prod(stack.shape[1:])) * stack.dtype.itemsize
        # Where the band holds most pairs, one block makes for fewer and larger products.
        wide = len(stack) if len(stack) <= 2 * band + 1 else band
        length = min(max(wide, SHORTEST_BLOCK), LONGEST_BLOCK)
        self.fits = stack.in_memory or slice_bytes * len(stack) <= WHOLE_BYTES
        self.length = length if self.fits else max(1, min(length, BLOCK_BYTES // slice_bytes))

    @property
    def held_bytes(self) -> int:
        """Bytes of slices that are held at once: the stack, or three blocks of it."""
        slice_bytes = int(np.prod(self.stack.shape[1:])) * self.stack.dtype.itemsize
        return slice_bytes * (len(self.stack) if self.fits else min(3 * self.length, len(self.stack)))

    def __iter__(self) -> Iterator[tuple[Block, Block]]:
        """Yield blocks a and b with the pairs (i of a, j of b); a block with itself first, then with those above.

        Of two blocks only those slices are left that have a partner in the other.
        """
        whole = self._read(0, len(self.stack)) if self.fits else None
        ahead: Block | None = None
        for start in range(0, len(self.stack), self.length):
            a = ahead or self._block(whole, start)
            ahead = None
            yield a, a
            for other in range(a.stop, min(len(self.stack), a.stop + self.band), self.length):
                b = self._block(whole, other)
                ahead = ahead or b
                yield a.part(other - self.band, a.stop), b.part(other, a.stop + self.band)

    def _block(self, whole: Block | None, start: int) -> Block:
        """Return the block from `start` on."""
        stop = min(start + self.length, len(self.stack))
        return self._read(start, stop) if whole is None else Block(start, whole.slices[start:stop])

    def _read(self, start: int, stop: int) -> Block:
        """Read some slices; raise where they have NaN that are not allowed."""
        slices = self.stack.slab(start, stop)
        if self.raise_nan:
            for index, image in enumerate(slices, start):
                nan = np.isnan(image) if self.mask is None else np.isnan(image[self.mask])
                if nan.any():
                    raise ParameterError(
                        f"slice {index} of the stack has {nan.sum()} NaN pixels: "
                        "nan_policy='propagate' makes its correlations NaN"
                    )
        return Block(start, slices)

    def wanted(self, a: Block, b: Block) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the pairs inside the band as indices into the slices of `a` and of `b`."""
        distance = (b.start + np.arange(len(b.slices))) - (a.start + np.arange(len(a.slices)))[:, np.newaxis]
        rows, columns = np.nonzero((distance >= 0) & (distance <= self.band))
        return rows, columns
