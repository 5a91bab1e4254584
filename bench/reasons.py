"""Why a rival is ahead of us, where one is: a sentence or two a case, shown beside the rows where it happens.

They say what the code does otherwise, and what that buys or costs; where it shows in numbers, that is in the errors. A
case without one was not seen to lose when this was written.
"""

from __future__ import annotations

REMAP = (
    "OpenCV's remap and PyTorch's grid_sample are given float32 coordinates, made beforehand, and compute in float32; "
    "ours takes a displacement and splits each into an integer and a fraction, so that precision does not fall with "
    "the size of the image: see the errors."
)
REMAP_FLOAT64 = (
    "OpenCV's remap rounds positions in float64 images to 1/32 pixel, and is off by that (see the errors); ours "
    "interpolates in float64."
)
NEW_MEMORY = (
    "The result is one new array, whose pages the system finds and clears as they are first written; results of a "
    "slice each lie in memory that the process had freed. Where a hypervisor takes freed memory back, that is most of "
    "the time: 0.7 s for 519 MB on the machine of the records, where the same call right after itself takes 0.17 s."
)
NEAREST = (
    "Order 0 moves bytes and computes little: what is left is to split the displacement, in place of given positions."
)
CONVOLUTION = (
    "OpenCV and PyTorch interpolate by cubic convolution: four taps an axis of the image as it is. A spline of order 3 "
    "filters the image first, recursively along each axis, and differs from it (see the errors)."
)
COORDINATES = (
    "OpenCV, PyTorch and kornia are given float32 coordinates, half of the bytes of SciPy's float64 coordinates that "
    "ours reads, and compute in float32; ours splits each coordinate into an integer and a fraction (see the errors)."
)
FLOAT32_PRODUCTS = (
    "The float32 product rounds each pixel to 24 bits and adds up in float32 within blocks; ours adds up products of "
    "floats in float64, which halves the rate of the multiplications."
)
PHILOX = (
    "Philox4x64-10 takes ten rounds of two 128-bit products for four words, PCG64 one product a word. It gives any box "
    "of any stream alone, and the same numbers on every backend and number of threads; PCG64 is drawn in order."
)
SMALL_STACKS = (
    "A call checks its arguments, plans, hands slabs to threads and returns records: most of a millisecond, whatever "
    "the size of the stack."
)
