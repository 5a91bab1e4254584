"""Why a rival is ahead of us, where one is: a sentence a case, shown beside the rows where it happens.

Each stands for what was found when the kernels were written (bench/results, kernels' headers, CHANGELOG), not for a
guess: a case without one was never seen to lose.
"""

from __future__ import annotations

REMAP = (
    "OpenCV's remap is given float32 coordinates, made beforehand; ours takes a displacement and splits each into an "
    "integer and a fraction, so that precision does not fall with the size of the image: see the errors."
)
REMAP_FLOAT64 = (
    "OpenCV's remap rounds positions in float64 images to 1/32 pixel, and is off by that (see the errors); ours "
    "interpolates in float64."
)
FLOAT32_PRODUCTS = (
    "The float32 product rounds each pixel to 24 bits and adds up in float32 within blocks; ours adds up products of "
    "floats in float64, which halves the rate of the multiplications."
)
NEAREST = "Order 0 moves bytes and computes little: what is left is the split of the displacement."
COORDINATES = (
    "OpenCV, PyTorch and kornia read coordinates in float32, half of the bytes of SciPy's float64 coordinates that "
    "ours is given; these bytes are most of the traffic, and float32 coordinates cost precision (see the errors)."
)
