"""Warping by a given displacement, beside SciPy, OpenCV and torch, which are given coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from gpu_stackcorr import displacement_field, warp

from .harness import OURS, Case, Contestant, largest_difference, optional

CASES = (
    ("float32", (768, 1024), 1),
    ("uint8", (768, 1024), 1),
    ("float64", (768, 1024), 1),
    ("float32", (768, 1024), 3),
    ("float32", (768, 1024), 0),
    ("float32", (128, 128, 128), 1),
)
RANGE = 255.0


def with_opencv(cv2: Any, image: Any, coordinates: Any) -> Any:
    """Sample at order 1 in mode reflect, with coordinates as float32 maps made before."""
    return cv2.remap(image, coordinates[1], coordinates[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def with_torch(torch: Any, image: Any, grid: Any) -> Any:
    """Sample at order 1 in mode reflect, with a grid made before."""
    sampled = torch.nn.functional.grid_sample(
        image[None, None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return sampled[0, 0].numpy()


def torch_grid(torch: Any, coordinates: Any) -> Any:
    """Return coordinates as grid_sample takes them: x first, in -1 to 1."""
    sizes = np.array(coordinates.shape[1:]).reshape(-1, *(1,) * (coordinates.ndim - 1))
    scaled = (2 * coordinates + 1) / sizes - 1
    return torch.from_numpy(np.moveaxis(scaled[::-1], 0, -1).astype(np.float32))


def case(dtype: str, shape: tuple[int, ...], order: int) -> Case:
    """Return the race over one image and order; errors are on a range of 255."""
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    image = (RANGE * (image - image.min()) / np.ptp(image)).astype(dtype)
    kind = np.float64 if dtype == "float64" else np.float32
    field = displacement_field(shape, 250.0, 5.0, seed=1, dtype=kind)
    coordinates = np.indices(shape) + field.astype(np.float64)
    single = coordinates.astype(np.float32)
    exact = ndimage.map_coordinates(image.astype(np.float64), coordinates, order=order, mode="reflect")
    error = largest_difference(exact)
    tolerance = {"uint8": 0.5 + 1e-9, "float32": 1e-5 * RANGE, "float64": 1e-12 * RANGE}[dtype]
    contestants = [
        Contestant(OURS, lambda: warp(image, field, order=order, mode="reflect", backend="numba"), error, tolerance),
        Contestant(
            f"{OURS}, numpy backend",
            lambda: warp(image, field, order=order, mode="reflect", backend="numpy"),
            error,
            tolerance,
        ),
        Contestant(
            "SciPy map_coordinates",
            lambda: ndimage.map_coordinates(image, coordinates, order=order, mode="reflect"),
            error,
            note="coordinates made before",
        ),
    ]
    if (modules := optional("cv2")) and len(shape) == 2 and order == 1:
        cv2 = modules[0]
        contestants.append(
            Contestant("OpenCV remap", lambda: with_opencv(cv2, image, single), error, note="float32 maps made before")
        )
    if (modules := optional("torch")) and dtype == "float32" and order == 1:
        torch = modules[0]
        tensor, grid = torch.from_numpy(image), torch_grid(torch, coordinates)
        contestants.append(
            Contestant("torch grid_sample", lambda: with_torch(torch, tensor, grid), error, note="grid made before")
        )
    name = f"{dtype}, {' x '.join(map(str, shape))}, order {order}, reflect"
    return Case("warp", name, image.size, contestants)


def cases() -> Iterator[Case]:
    """Yield a case a dtype, shape and order."""
    for parameters in CASES:
        yield case(*parameters)
