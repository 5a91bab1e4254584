"""What kernels call SciPy's boundary modes: the ``Mode`` of ``kernels/boundary.cuh``."""

from __future__ import annotations

REFLECT, MIRROR, CONSTANT, WRAP, GRID_WRAP, NEAREST, GRID_CONSTANT = range(7)

INTERPOLATION = {
    "reflect": REFLECT,
    "grid-mirror": REFLECT,
    "mirror": MIRROR,
    "constant": CONSTANT,
    "wrap": WRAP,
    "grid-wrap": GRID_WRAP,
    "nearest": NEAREST,
    "grid-constant": GRID_CONSTANT,
}
"""Of positions and taps."""

FILTER = INTERPOLATION | {"constant": GRID_CONSTANT, "wrap": GRID_WRAP}
"""Of the taps of a filter, which knows no positions."""
