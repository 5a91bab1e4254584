"""Elastic deformation from the seed to the image, and the notebook's last experiment, beside their rivals.

What a rival computes is not always the same: the note says so. Random numbers differ, so that a rival's result has no
reference; that of ours and of the SciPy recipe is held against SciPy in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from gpu_stackcorr import displacement_field, elastic_transform, stack_correlation
from gpu_stackcorr.transforms import Elastic

from .bench_moments import stack
from .harness import OURS, Case, Contestant, optional

ALPHA, SIGMA, SEED = 250.0, 5.0, 1
CUBE, CUBE_SIGMA = (128, 128, 128), 4.0
SLICES = (165, 768, 1024)


def recipe(image: Any, alpha: float, sigma: float, rng: Any) -> Any:
    """Deform as the notebook did: noise, smoothing and sampling by SciPy, in float64; any number of dimensions."""
    field = [
        ndimage.gaussian_filter(rng.rand(*image.shape) * 2 - 1, sigma, mode="constant", cval=0) * alpha
        for _ in image.shape
    ]
    grid = np.meshgrid(*map(np.arange, image.shape), indexing="ij")
    coordinates = [(position + d).reshape(-1) for position, d in zip(grid, reversed(field), strict=True)]
    return ndimage.map_coordinates(image, coordinates, order=1, mode="reflect").reshape(image.shape)


def with_opencv(cv2: Any, image: Any, grid: Any, rng: Any) -> Any:
    """Deform a slice by GaussianBlur and remap, in float32, with SciPy's radius."""
    size = 2 * int(4 * SIGMA + 0.5) + 1
    maps = []
    for position in grid:
        noise = rng.random(image.shape, np.float32) * 2 - 1
        smooth = cv2.GaussianBlur(noise, (size, size), SIGMA, borderType=cv2.BORDER_CONSTANT)
        maps.append(position + np.float32(ALPHA) * smooth)
    return cv2.remap(image, maps[1], maps[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def expected(image: Any, alpha: float, sigma: float) -> Any:
    """Deform by SciPy in float64 with our own displacement."""
    field = displacement_field(image.shape, alpha, sigma, seed=SEED, dtype=np.float64)
    return ndimage.map_coordinates(image.astype(np.float64), np.indices(image.shape) + field, order=1, mode="reflect")


def our_error(image: Any, alpha: float, sigma: float) -> Any:
    """Return what holds our result against SciPy in float64, as a part of the range."""
    exact = expected(image, alpha, sigma)
    span = 255.0 if image.dtype.kind == "u" else float(np.ptp(image))
    return lambda result: float(np.abs(result - exact).max()) / span


def slice_case(dtype: str, shape: tuple[int, int] = SLICES[1:]) -> Case:
    """Return the race over one slice."""
    image = stack((1, *shape), dtype)[0]
    old, new = np.random.RandomState(0), np.random.default_rng(0)
    # Whole numbers are rounded; a float32 displacement of 20 voxels is known to 1e-6.
    tolerance = 0.51 / 255 if image.dtype.kind == "u" else 1e-5
    contestants = [
        Contestant(
            OURS,
            lambda: elastic_transform(image, ALPHA, SIGMA, seed=SEED, backend="numba"),
            our_error(image, ALPHA, SIGMA),
            tolerance,
        ),
        Contestant(
            f"{OURS}, numpy backend",
            lambda: elastic_transform(image, ALPHA, SIGMA, seed=SEED, backend="numpy"),
            our_error(image, ALPHA, SIGMA),
            tolerance,
        ),
        Contestant("the notebook (SciPy)", lambda: recipe(image, ALPHA, SIGMA, old), note="float64"),
    ]
    if modules := optional("cv2"):
        cv2 = modules[0]
        grid = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
        contestants.append(
            Contestant("OpenCV chain", lambda: with_opencv(cv2, image, grid, new), note="float32 coordinates")
        )
    if modules := optional("cv2", "albumentations"):
        cv2, albumentations = modules
        transform = albumentations.ElasticTransform(
            alpha=ALPHA, sigma=SIGMA, interpolation=cv2.INTER_LINEAR, border_mode=cv2.BORDER_REFLECT, p=1
        )
        contestants.append(
            Contestant("albumentations", lambda: transform(image=image)["image"], note="float32 coordinates")
        )
    name = f"{dtype}, {' x '.join(map(str, image.shape))}, alpha {ALPHA:g}, sigma {SIGMA:g}"
    return Case("elastic_transform", name, image.size, contestants)


def cube_case(shape: tuple[int, int, int] = CUBE) -> Case:
    """Return the race over a float32 volume."""
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 2).astype(np.float32)
    old = np.random.RandomState(0)
    contestants = [
        Contestant(
            OURS,
            lambda: elastic_transform(image, ALPHA, CUBE_SIGMA, axes=(0, 1, 2), seed=SEED, backend="numba"),
            our_error(image, ALPHA, CUBE_SIGMA),
            1e-5,
        ),
        Contestant("SciPy recipe", lambda: recipe(image, ALPHA, CUBE_SIGMA, old), note="float64"),
        *_torch_rivals(image),
    ]
    if modules := optional("elasticdeform"):
        contestants.append(
            Contestant(
                "elasticdeform",
                lambda: modules[0].deform_random_grid(image, sigma=4, points=8, order=1, mode="mirror"),
                note="another field: 8 control points an axis",
            )
        )
    return Case(
        "elastic_transform",
        f"float32, {' x '.join(map(str, shape))}, alpha {ALPHA:g}, sigma {CUBE_SIGMA:g}",
        image.size,
        contestants,
    )


def _torch_rivals(image: Any) -> Iterator[Contestant]:
    """Yield the rivals that stand on torch."""
    if modules := optional("torch", "monai.transforms"):
        torch, transforms = modules
        tensor = torch.from_numpy(image)[None]
        deform = transforms.Rand3DElastic(
            (CUBE_SIGMA, CUBE_SIGMA), (ALPHA, ALPHA), prob=1.0, mode="bilinear", padding_mode="reflection"
        )
        yield Contestant("MONAI Rand3DElastic", lambda: deform(tensor), note="kernel cut at 3 sigma")
    if modules := optional("torch", "batchgeneratorsv2.transforms.spatial.spatial"):
        torch, spatial = modules
        tensor = torch.from_numpy(image)[None]
        warped = spatial.SpatialTransform(
            image.shape,
            0,
            False,
            p_elastic_deform=1.0,
            elastic_deform_scale=(CUBE_SIGMA / len(image),) * 2,
            elastic_deform_magnitude=(10.0, 10.0),
            padding_mode_image="reflection",
        )
        yield Contestant(
            "batchgeneratorsv2 SpatialTransform", lambda: warped(image=tensor), note="by Fourier transform"
        )
    if modules := optional("torch", "torchio"):
        torch, torchio = modules
        subject = torchio.ScalarImage(tensor=torch.from_numpy(image)[None])
        deformation = torchio.RandomElasticDeformation(num_control_points=8, max_displacement=6)
        yield Contestant(
            "TorchIO RandomElasticDeformation",
            lambda: deformation(subject),
            note="another field: 8 control points an axis",
        )


def experiment_case(shape: tuple[int, int, int] = SLICES) -> Case:
    """Return the race over the notebook's last experiment: every slice deformed, and correlated with slice 0."""
    slices = stack(shape, "float64")
    transform = Elastic(ALPHA, SIGMA, seed=SEED)
    few = min(8, len(slices))

    def notebook() -> Any:
        rng = np.random.RandomState(0)
        warped = (recipe(image, ALPHA, SIGMA, rng) for image in slices)
        return np.array([np.corrcoef(slices[0].ravel(), image.ravel())[0, 1] for image in warped])

    def ours(backend: str, count: int) -> Any:
        return stack_correlation(slices[:count], transform=transform, seed=SEED, backend=backend).statistic

    exact = ours("numpy", few)

    def error(r: Any) -> float:
        return float(np.abs(r[:few] - exact).max())

    contestants = [
        Contestant(OURS, lambda: ours("numba", len(slices)), error, 1e-9, note="with what the intervals need"),
        Contestant(f"{OURS}, numpy backend", lambda: ours("numpy", len(slices)), error, 1e-9),
        Contestant("the notebook (SciPy)", notebook),
    ]
    name = f"float64, {' x '.join(map(str, shape))}, alpha {ALPHA:g}, sigma {SIGMA:g}, every slice its own field"
    return Case("the notebook's last experiment", name, slices.size, contestants)


def cases() -> Iterator[Case]:
    """Yield the slices, the volume and the experiment."""
    yield slice_case("uint8")
    yield slice_case("float32")
    yield cube_case()
    yield experiment_case()
