"""Images sampled at given coordinates in SciPy's mode reflect, by others.

Each is given what it takes, made beforehand: SciPy and CuPy coordinates, OpenCV and kornia maps, PyTorch a grid, MONAI
a displacement. Several images are sampled one after the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from .harness import Contestant, optional
from .paths import Path
from .tensors import fetch, places

Error = Callable[[Any], float]
Images = Sequence[Any]
"""Images (Y, X) or one volume (Z, Y, X); their coordinates are (2, Y, X) or (3, Z, Y, X), float64."""

OTHERWISE = {
    0: "; another pixel here and there, where float32 is nearest to two",
    3: "; cubic convolution, not a spline",
}
"""What they do otherwise, by order."""

MIRRORED = "mirrored about the last pixel; error away from the border"


def one_by_one(sample: Callable[..., Any], given: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return what a function makes of each image with what it is given beside it."""
    return [sample(*each) for each in given]


def on_host(images: Images, coordinates: Images, order: int, error: Error) -> Iterator[Contestant]:
    """Yield SciPy, and OpenCV for slices; `error` takes the results as a list."""

    pairs = list(zip(images, coordinates, strict=True))
    sample = partial(ndimage.map_coordinates, order=order, mode="reflect")
    yield Contestant("SciPy map_coordinates", partial(one_by_one, sample, pairs), error, note="coordinates made before")
    if images[0].ndim != 2 or order not in (0, 1, 3) or not (modules := optional("cv2")):
        return
    cv2 = modules[0]
    kind = {0: cv2.INTER_NEAREST, 1: cv2.INTER_LINEAR, 3: cv2.INTER_CUBIC}[order]
    given = [(image, *c.astype(np.float32)[::-1]) for image, c in pairs]
    remap = partial(cv2.remap, interpolation=kind, borderMode=cv2.BORDER_REFLECT)
    note = f"float32 maps made before{OTHERWISE.get(order, '')}"
    yield Contestant("OpenCV remap", partial(one_by_one, remap, given), error, note=note)


def grid(coordinates: Any, dtype: Any) -> Any:
    """Return coordinates as grid_sample takes them with align_corners=False: x first, in -1 to 1."""
    sizes = np.array(coordinates.shape[1:]).reshape(-1, *(1,) * (coordinates.ndim - 1))
    return np.moveaxis(((2 * coordinates + 1) / sizes - 1)[::-1], 0, -1).astype(dtype)


def with_tensors(images: Images, coordinates: Images, order: int, error: Error) -> Iterator[Contestant]:
    """Yield grid_sample, for floating-point images."""
    dtype, ndim = images[0].dtype, images[0].ndim
    kinds = {0: "nearest", 1: "bilinear", **({3: "bicubic"} if ndim == 2 else {})}
    if dtype.kind != "f" or order not in kinds:
        return
    note = f"grid made before{OTHERWISE.get(order, '')}"
    for place, *_ in places():
        given = [
            (place.put(image)[None, None], place.put(grid(c, dtype))[None])
            for image, c in zip(images, coordinates, strict=True)
        ]
        how = {"mode": kinds[order], "padding_mode": "reflection", "align_corners": False}
        sample = partial(place.torch.nn.functional.grid_sample, **how)
        yield Contestant(
            f"torch grid_sample{place.suffix}",
            partial(one_by_one, sample, given),
            lambda results: error([fetch(r)[0, 0] for r in results]),
            note=note,
            synchronise=place.synchronise,
        )


def kornia(images: Images, coordinates: Images, order: int, inside: Error) -> Iterator[Contestant]:
    """Yield kornia's remap, for float32 slices at orders 0 and 1."""
    if images[0].dtype != np.float32 or images[0].ndim != 2 or order not in (0, 1):
        return
    for place, transform in places("kornia.geometry.transform"):
        given = [
            (place.put(image)[None, None], *(place.put(axis, "float32")[None] for axis in c[::-1]))
            for image, c in zip(images, coordinates, strict=True)
        ]
        # With align_corners=False kornia scales coordinates as for True, and samples beside them.
        how = {"mode": ("nearest", "bilinear")[order], "padding_mode": "reflection", "align_corners": True}
        yield Contestant(
            f"kornia remap{place.suffix}",
            partial(one_by_one, partial(transform.remap, **how), given),
            lambda results: inside([fetch(r)[0, 0] for r in results]),
            note=f"float32 maps made before{OTHERWISE.get(order, '')}; {MIRRORED}",
            synchronise=place.synchronise,
        )


def monai(images: Images, fields: Images, order: int, inside: Error) -> Iterator[Contestant]:
    """Yield MONAI's Warp, for float32 images at order 1; it takes displacements, as ours does."""
    if images[0].dtype != np.float32 or order != 1:
        return
    for place, blocks in places("monai.networks.blocks"):
        given = [
            (place.put(image)[None, None], place.put(field, "float32")[None])
            for image, field in zip(images, fields, strict=True)
        ]
        with warnings.catch_warnings():  # it warns that it has no extension compiled
            warnings.simplefilter("ignore", UserWarning)
            warp = blocks.Warp(mode="bilinear", padding_mode="reflection")
        yield Contestant(
            f"MONAI Warp{place.suffix}",
            partial(one_by_one, warp, given),
            lambda results: inside([fetch(r)[0, 0] for r in results]),
            note=MIRRORED,
            synchronise=place.synchronise,
        )


def on_device(path: Path | None, images: Images, coordinates: Images, order: int, error: Error) -> Iterator[Contestant]:
    """Yield CuPy's, with images and coordinates on the device."""
    if path is None:
        return
    from cupyx.scipy import ndimage as cupyx

    placed = [(path.place(i), path.place(c.astype(np.float32))) for i, c in zip(images, coordinates, strict=True)]

    sample = partial(cupyx.map_coordinates, order=order, mode="reflect")
    yield Contestant(
        "cupyx map_coordinates",
        partial(one_by_one, sample, placed),
        error,
        note="float32 coordinates made before",
        synchronise=path.synchronise,
    )
