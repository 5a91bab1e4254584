"""Which instantiations of the kernels NVRTC compiles: the common ones, the extremes of every template argument."""

from __future__ import annotations

from itertools import product

SMALL, WIDE = ("u8", "u16", "float"), ("u8", "u16", "short", "u32", "i64", "float", "double")
REAL = ("float", "double")
BOTH = ("false", "true")
SUMS_HELD = ("1, 1", "1, 2", "4, 2", "8, 1")
"""References and slices of which a thread holds sums."""

INSTANTIATIONS: dict[str, list[str]] = {
    "convert.cu": [f"convert<{a}, {b}>" for a, b in (("u8", "float"), ("u64", "double"), ("double", "u64"))],
    "cross_moments.cu": [
        *[f"integer_products<{n_bytes}>" for n_bytes in (1, 2)],
        *[f"centred_products<{real}>" for real in REAL],
        *[f"add_parts<{total}>" for total in ("long long", "double")],
    ],
    "displacement.cu": [f"scaled_box<{real}>" for real in REAL],
    "gaussian.cu": [f"gaussian_{kind}<{pixel}>" for kind, pixel in product(("rows", "columns"), WIDE)],
    "moments.cu": [
        *[f"sum_integers<{n}, {n}, {held}, {a}>" for n, held, a in product((1, 2), SUMS_HELD, BOTH)],
        *[f"split_bytes<{pixel}>" for pixel in ("u8", "u16")],
    ],
    "moments_floats.cu": [
        *[
            f"sum_centred<{pixel}, {held}, {unit}>"
            for pixel, held, unit in product(("u16", "float"), SUMS_HELD[1::2], (1, 4))
        ],
        *[f"sum_pairs<{pixel}, {pixel}>" for pixel in ("u8", "float", "double")],
    ],
    "moments_total.cu": [f"total_cells<{total}>" for total in ("long long", "double")],
    "random_field.cu": [f"random_field<{real}, {kind}>" for real, kind in product(REAL, (0, 1))],
    "spline.cu": [f"spline<{pixel}, {real}, {last}>" for pixel, real, last in product(SMALL, REAL, BOTH)],
}
"""By file of ``kernels/``: name expressions, as launch code asks for them."""

REGISTERS: dict[str, int] = {}
"""By file, where a thread may use more registers than 128, which leave room for two blocks of 256 threads."""

SPILL_BYTES: dict[str, int] = {"moments_floats.cu": 164}
"""By file, where a thread may spill more than 64 bytes, stored and loaded.

moments_floats: 160 on sm_120 alone, with eight references; at most 128 registers are allowed to hide latency there.
"""
