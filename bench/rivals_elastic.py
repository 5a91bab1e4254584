"""Whole elastic deformations by others, from the seed to the image.

Where a library makes its field in another way, its note says so, and its result has no reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .harness import Contestant, optional
from .images import is_large
from .paths import Path
from .recipe import SEED, Given, against, recipe, recipe_noise
from .rivals_fields import cupy_field, float32_noise, opencv_field, torch_field, torch_noise, torch_weights
from .rivals_smoothing import taps
from .tensors import Place, fetch, places

SPACING = 20
"""Pixels between the control points of those who know no other field: structures as wide as those of sigma 5."""

OFFSET = 7.5
"""Pixels by which control points move at most: near what alpha 250 and sigma 5 give, and free of folds."""

COARSE = f"another field: a control point every {SPACING} pixels"


def opencv_chain(cv2: Any, given: Given, grid: Any) -> Any:
    """Deform a slice by GaussianBlur and remap; `grid` is the positions (y, x) in float32."""
    y, x = opencv_field(cv2, given.image.shape, given.alpha, given.sigma)
    return cv2.remap(given.image, grid[1] + x, grid[0] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def torch_chain(place: Place, given: Given, tensor: Any, weights: Any, base: Any) -> Any:
    """Deform by convolutions and grid_sample; `base` is the grid of no displacement."""
    shape = given.image.shape
    field = torch_field(place, shape, given.alpha, weights)
    moved = base + place.torch.stack([field[-1 - k] * (2 / size) for k, size in enumerate(reversed(shape))], -1)
    how = {"mode": "bilinear", "padding_mode": "reflection", "align_corners": False}
    return place.torch.nn.functional.grid_sample(tensor, moved[None], **how)


def torch_base(place: Place, shape: tuple[int, ...]) -> Any:
    """Return the grid of no displacement: (..., axes), the last axis first."""
    identity = place.torch.eye(len(shape), len(shape) + 1, device=place.device)[None]
    return place.torch.nn.functional.affine_grid(identity, [1, 1, *shape], align_corners=False)[0]


def _error(noise: Callable[[], Any], given: Given) -> Callable[[Any], float] | None:
    """Return what holds a result against SciPy's with the noise that was drawn; None where that would take too long."""
    return None if is_large(given.image.shape) else against(noise(), given)


def on_host(given: Given) -> Iterator[Contestant]:
    """Yield the notebook's recipe, OpenCV's chain, albumentations and elasticdeform."""
    image, shape = given.image, given.image.shape

    def notebook() -> Any:
        return recipe(image, given.alpha, given.sigma, np.random.RandomState(SEED))

    name = "the notebook (SciPy)" if image.ndim == 2 else "SciPy recipe"
    yield Contestant(name, notebook, _error(partial(recipe_noise, shape), given), note="float64")
    if image.ndim == 2 and (modules := optional("cv2")):
        grid = np.indices(shape).astype(np.float32)
        chain, error = partial(opencv_chain, modules[0], given, grid), _error(partial(float32_noise, shape), given)
        yield Contestant("OpenCV chain", chain, error, note="float32 coordinates")
    if image.ndim == 2 and image.dtype != np.float64 and (modules := optional("cv2", "albumentations")):
        yield _albumentations(modules[0], modules[1], given)
    if not is_large(shape) and (modules := optional("elasticdeform")):
        points = [max(4, size // SPACING) for size in shape]
        deform = partial(modules[0].deform_random_grid, image, sigma=OFFSET / 2, points=points, order=1, mode="reflect")
        yield Contestant("elasticdeform", deform, note=COARSE)


def _albumentations(cv2: Any, albumentations: Any, given: Given) -> Contestant:
    """Return ElasticTransform, as its documentation has it."""
    transform = albumentations.ElasticTransform(
        alpha=given.alpha,
        sigma=given.sigma,
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_REFLECT,
        noise_distribution="uniform",
        p=1,
    )
    return Contestant(
        "albumentations ElasticTransform",
        lambda: transform(image=given.image)["image"],
        note="noise repeated beyond the border, radius by OpenCV; float32 coordinates",
    )


def with_tensors(given: Given) -> Iterator[Contestant]:
    """Yield what stands on PyTorch, for float32 images."""
    if given.image.dtype != np.float32:
        return
    for place, *_ in places(host=not is_large(given.image.shape)):  # see rivals_fields.with_tensors
        tensor, base = place.put(given.image)[None, None], torch_base(place, given.image.shape)
        chain = partial(torch_chain, place, given, tensor, torch_weights(place, given.sigma), base)
        yield _held(place, "torch: rand, convolution, grid_sample", chain, given)
    yield from _kornia(given) if given.image.ndim == 2 else ()
    yield from _monai(given)
    if not is_large(given.image.shape):
        yield from _batchgenerators(given)
        yield from _torchio(given)


def _held(place: Place, name: str, call: Callable[[], Any], given: Given) -> Contestant:
    """Return a contestant that draws its noise by `torch_noise`."""
    check = _error(lambda: fetch(torch_noise(place, given.image.shape))[0], given)
    error = None if check is None else lambda result: check(fetch(result)[0, 0])
    return Contestant(f"{name}{place.suffix}", call, error, synchronise=place.synchronise)


def _kornia(given: Given) -> Iterator[Contestant]:
    """Yield elastic_transform2d, whose noise is given to it, x first, and whose alpha is in half widths."""
    height, width = given.image.shape
    for place, transform in places("kornia.geometry.transform"):
        tensor = place.put(given.image)[None, None]
        deform = partial(
            transform.elastic_transform2d,
            tensor,
            kernel_size=(taps(given.sigma),) * 2,
            sigma=(float(given.sigma),) * 2,
            alpha=(2 * given.alpha / width, 2 * given.alpha / height),
            align_corners=False,
            padding_mode="reflection",
        )

        def call(place: Place = place, deform: Any = deform) -> Any:
            return deform(torch_noise(place, (height, width)).flip(1))

        yield _held(place, "kornia elastic_transform2d", call, given)


def _monai(given: Given) -> Iterator[Contestant]:
    """Yield Rand2DElastic and Rand3DElastic."""
    for place, transforms in places("monai.transforms"):
        tensor = place.put(given.image)[None]
        how = {
            "prob": 1.0,
            "mode": "bilinear",
            "padding_mode": "reflection",
            "device": place.torch.device(place.device),
        }
        if given.image.ndim == 2:
            spacing, offset = (SPACING, SPACING), (OFFSET, OFFSET)
            deform = transforms.Rand2DElastic(spacing=spacing, magnitude_range=offset, **how)
            name, note = "MONAI Rand2DElastic", COARSE
        else:
            deform = transforms.Rand3DElastic((given.sigma,) * 2, (given.alpha,) * 2, **how)
            name, note = "MONAI Rand3DElastic", "kernel cut at 3 sigma, mirrored about the last pixel"
        call = partial(_seeded, deform, tensor)
        error = _offset_error(deform, call, given) if given.image.ndim == 3 else None
        yield Contestant(f"{name}{place.suffix}", call, error, note=note, synchronise=place.synchronise)


def _offset_error(deform: Any, call: Callable[[], Any], given: Given) -> Callable[[Any], float] | None:
    """Return what holds the result of Rand3DElastic against SciPy's with the noise that a call leaves in it."""
    if is_large(given.image.shape):
        return None
    call()
    check = against(deform.rand_offset, given)
    return lambda result: check(fetch(result)[0])


def _seeded(deform: Any, tensor: Any) -> Any:
    """Deform with the same random numbers each time."""
    return deform.set_random_state(SEED)(tensor)


def _batchgenerators(given: Given) -> Iterator[Contestant]:
    """Yield nnU-Net's SpatialTransform."""
    shape = given.image.shape
    for place, spatial in places("batchgeneratorsv2.transforms.spatial.spatial"):
        if place.device != "cpu":  # it is made for workers of a data loader
            continue
        tensor = place.put(given.image)[None]
        transform = spatial.SpatialTransform(
            shape,
            0,
            False,
            p_elastic_deform=1.0,
            elastic_deform_scale=(given.sigma / max(shape),) * 2,
            elastic_deform_magnitude=(OFFSET, OFFSET),
            padding_mode_image="reflection",
        )
        note = "noise smoothed by Fourier transform"
        yield Contestant("batchgeneratorsv2 SpatialTransform", partial(transform, image=tensor), note=note)


def _torchio(given: Given) -> Iterator[Contestant]:
    """Yield RandomElasticDeformation; a slice is a volume of one plane."""
    for place, torchio in places("torchio"):
        if place.device != "cpu":  # SimpleITK computes
            continue
        volume = given.image if given.image.ndim == 3 else given.image[..., np.newaxis]
        subject = torchio.ScalarImage(tensor=place.put(volume)[None])
        points = tuple(max(5, size // SPACING) for size in volume.shape)
        # Beyond half the distance of control points an image may fold, of which TorchIO warns.
        offset = tuple(min(OFFSET, 0.49 * (size - 1) / (n - 2)) for size, n in zip(volume.shape, points, strict=True))
        deform = torchio.RandomElasticDeformation(num_control_points=points, max_displacement=offset)
        yield Contestant("TorchIO RandomElasticDeformation", partial(deform, subject), note=COARSE)


def on_device(path: Path | None, given: Given) -> Iterator[Contestant]:
    """Yield CuPy's chain, on the device."""
    if path is None:
        return
    import cupy
    from cupyx.scipy import ndimage as cupyx

    image, grid = path.place(given.image), cupy.asarray(np.indices(given.image.shape, np.float32))

    def chain() -> Any:
        field = cupy_field(given.image.shape, given.alpha, given.sigma)
        return cupyx.map_coordinates(image, cupy.stack(field) + grid, order=1, mode="reflect")

    yield Contestant(
        "cupyx chain: cupy.random, gaussian_filter, map_coordinates",
        chain,
        note="float32 coordinates",
        synchronise=path.synchronise,
    )
