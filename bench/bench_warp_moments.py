"""Every slice deformed by a field of its own and correlated with the first: what no other library has in one call.

Rivals deform a slice and correlate it; their noise is their own, so that they are held against nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from gpu_stackcorr import displacement_field
from gpu_stackcorr.displacement_fields import displacement_streams
from gpu_stackcorr.intervals import cell_edges

from . import counts, recipe, rivals_elastic, rivals_fields, tensors
from .harness import Case, Contestant, optional
from .images import SLICE, SMALL_SLICE, STACK, shown, stack
from .paths import Path, device, difference, ours

ALPHA, SIGMA, SEED = 250.0, 5.0, 1
QUICK = (("uint8", (2, *SMALL_SLICE)),)
FULL = (("uint8", (40, *SLICE)), ("float32", (40, *SLICE)), ("float64", (40, *SLICE)))
ON_DEVICE = (("uint8", STACK), ("float32", STACK), ("float32", (683, *SLICE)))
"""On a GPU alone; the last is 2.1 GB."""

PART = 3
"""Slices on which results are verified."""

OTHER = "its own noise"


def expected(slices: Any) -> Any:
    """Return r of the first slices by SciPy and np.corrcoef in float64, with our displacements."""
    r = []
    for n, image in enumerate(slices[:PART]):
        kind = np.float64 if slices.dtype == np.float64 else np.float32
        field = displacement_field(image.shape, ALPHA, SIGMA, seed=SEED, index=n, dtype=kind, backend="numpy")
        where = np.indices(image.shape) + field.astype(np.float64)
        warped = ndimage.map_coordinates(image, where, order=1, mode="reflect")  # whole numbers are rounded
        r.append(np.corrcoef(slices[0].ravel(), warped.ravel())[0, 1])
    return np.array(r)


def tolerance(dtype: str, pixels: int) -> float:
    """Return what errors of r may be.

    Displacements in float32 differ in their last bit: each pixel of these images by up to 1e-5 of its size, at random.
    With it a whole number is rounded otherwise here and there: each of these moves r by up to 1 / (pixels times the
    standard deviation), which is an eighth of the range.
    """
    if dtype.startswith("float"):
        return 1e-9 if dtype == "float64" else 1e-7 + 1e-5 / np.sqrt(pixels)
    return 1e-6 + 4 / (pixels * np.iinfo(dtype).max / 8)


def case(dtype: str, shape: tuple[int, int, int], *, host: bool = True) -> Case:
    """Return the race over a stack; without `host` on a GPU alone."""
    slices = stack(shape, dtype)
    error = difference(expected(slices), slice(PART))
    streams = displacement_streams(2, np.arange(len(slices)))
    how: dict[str, Any] = {"seed": SEED, "stream": streams, "alpha": np.full(2, ALPHA), "sigma": [SIGMA] * 2}

    def moments(path: Path, **more: Any) -> Callable[[], Any]:
        placed, engine = path.place(slices), path.engine
        return lambda: engine.warp_moments([placed[0]], placed, **how, **more)[0].correlation()

    tiled = partial(moments, tiles=cell_edges(shape[1:]))
    where = () if host else ("cuda",)
    allowed = tolerance(dtype, slices[0].size)
    contestants = [
        *ours(moments, error, allowed, backends=where),
        *ours(tiled, error, allowed, also="with tiles", note="what the intervals need", backends=where),
        *(_on_host(slices) if host else ()),
        *_with_tensors(slices, host=host),
        *_on_device(device(), slices),
    ]
    pixels = slices[0].size
    each = counts.elastic(pixels, [SIGMA] * 2) + counts.pair(pixels, integer=dtype.startswith("u"))
    return Case(
        "warp_moments",
        f"{shown(dtype, shape)}, alpha {ALPHA:g}, sigma {SIGMA:g}, a field a slice",
        slices.size,
        contestants,
        bytes=slices.nbytes + slices[0].nbytes,  # neither fields nor deformed slices need be in memory
        operations=len(slices) * each,
        arithmetic="float64" if dtype == "float64" else "float32",
    )


def _on_host(slices: Any) -> Iterator[Contestant]:
    """Yield the notebook's way, and OpenCV's chain with a product a slice."""
    yield Contestant("the notebook (SciPy)", partial(recipe.deformed, slices, ALPHA, SIGMA), note=f"float64, {OTHER}")
    if modules := optional("cv2"):
        cv2, grid = modules[0], np.indices(slices.shape[1:]).astype(np.float32)

        def chain() -> Any:
            x = recipe.standardised(slices[0].astype(np.float32)).ravel()
            given = (recipe.Given(image, ALPHA, SIGMA) for image in slices)
            warped = (rivals_elastic.opencv_chain(cv2, each, grid).astype(np.float32) for each in given)
            return np.array([x @ recipe.standardised(image).ravel() / x.size for image in warped])

        yield Contestant("OpenCV chain and products", chain, note=f"float32, {OTHER}")


def _with_tensors(slices: Any, *, host: bool) -> Iterator[Contestant]:
    """Yield PyTorch's chain with a product a slice, in float32."""
    for place, *_ in tensors.places(host=host):
        tensor = place.put(slices)
        base = rivals_elastic.torch_base(place, slices.shape[1:])
        weights = rivals_fields.torch_weights(place, SIGMA)

        def chain(place: Any = place, tensor: Any = tensor, base: Any = base, weights: Any = weights) -> Any:
            x = recipe.standardised(tensor[0].to(place.torch.float32)).reshape(-1)
            r = []
            for n, image in enumerate(tensor):
                given = recipe.Given(slices[n], ALPHA, SIGMA)
                single = image[None, None].to(place.torch.float32)
                y = rivals_elastic.torch_chain(place, given, single, weights, base)
                r.append((x @ recipe.standardised(y).reshape(-1)) / x.numel())
            return place.torch.stack(r)

        name = f"torch: rand, convolution, grid_sample, product{place.suffix}"
        yield Contestant(name, chain, note=f"float32, {OTHER}", synchronise=place.synchronise)


def _on_device(path: Path | None, slices: Any) -> Iterator[Contestant]:
    """Yield CuPy's chain with a product a slice, in float32."""
    if path is None:
        return
    import cupy
    from cupyx.scipy import ndimage as cupyx

    placed, grid = path.place(slices), cupy.asarray(np.indices(slices.shape[1:], np.float32))

    def chain() -> Any:
        x = recipe.standardised(placed[0].astype(np.float32)).ravel()
        r = []
        for image in placed:
            where = cupy.stack(rivals_fields.cupy_field(image.shape, ALPHA, SIGMA)) + grid
            warped = cupyx.map_coordinates(image, where, order=1, mode="reflect").astype(np.float32)
            r.append((x * recipe.standardised(warped).ravel()).mean())
        return cupy.stack(r)

    yield Contestant("cupyx chain and products", chain, note=f"float32, {OTHER}", synchronise=path.synchronise)


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield a case a dtype and shape."""
    for parameters in QUICK if quick else FULL:
        yield case(*parameters)
    for parameters in ON_DEVICE if not quick and device() is not None else ():
        yield case(*parameters, host=False)
