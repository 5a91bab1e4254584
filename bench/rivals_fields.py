"""Displacement fields by others: noise on [-1, 1), smoothed with zeros beyond the border, times alpha."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .harness import Contestant, optional
from .images import is_large
from .paths import Path, difference
from .recipe import SEED, Given, recipe_field, recipe_noise, smoothed
from .rivals_smoothing import taps
from .tensors import Place, fetch, places

Error = Callable[[Any], float] | None


def float32_noise(shape: tuple[int, ...]) -> Any:
    """Draw noise in float32 by NumPy's generator: (y, x)."""
    return np.random.default_rng(SEED).random((len(shape), *shape), np.float32) * 2 - 1


def opencv_field(cv2: Any, shape: tuple[int, int], alpha: float, sigma: float) -> list[Any]:
    """Smooth noise by GaussianBlur, in float32, with SciPy's radius and zeros beyond the border."""
    size = (taps(sigma), taps(sigma))
    return [
        np.float32(alpha) * cv2.GaussianBlur(noise, size, sigma, borderType=cv2.BORDER_CONSTANT)
        for noise in float32_noise(shape)
    ]


def torch_noise(place: Place, shape: tuple[int, ...]) -> Any:
    """Draw noise in float32: (1, axes, ...), the first axis first."""
    return 2 * place.torch.rand((1, len(shape), *shape), generator=place.generator(SEED), device=place.device) - 1


def torch_field(place: Place, shape: tuple[int, ...], alpha: float, weights: Any) -> Any:
    """Smooth noise along each axis by PyTorch's convolutions, with zeros beyond the border."""
    field = torch_noise(place, shape).transpose(0, 1)
    convolve = getattr(place.torch.nn.functional, f"conv{len(shape)}d")
    for axis in range(len(shape)):
        kernel = weights.reshape([1, 1] + [-1 if k == axis else 1 for k in range(len(shape))])
        field = convolve(field, kernel, padding="same")
    return alpha * field[:, 0]


def torch_weights(place: Place, sigma: float) -> Any:
    """Return SciPy's weights of a Gaussian."""
    radius = taps(sigma) // 2
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return place.put((weights / weights.sum()).astype(np.float32))


def _error(noise: Callable[[], Any], shape: tuple[int, ...], alpha: float, sigma: float) -> Error:
    """Return what holds components of a displacement against SciPy in float64 with the noise that was drawn."""
    if is_large(shape):
        return None
    check = difference(smoothed(noise(), Given(np.empty(shape, np.float32), alpha, sigma)))
    return lambda field: check(field if isinstance(field, np.ndarray) else np.stack([*field]))


def on_host(shape: tuple[int, ...], alpha: float, sigma: float) -> Iterator[Contestant]:
    """Yield the notebook's recipe, and OpenCV's for a slice."""
    how = (shape, alpha, sigma)

    def recipe() -> Any:
        return recipe_field(*how, np.random.RandomState(SEED))

    error = _error(partial(recipe_noise, shape), *how)
    yield Contestant("SciPy: RandomState and gaussian_filter", recipe, error, note="float64")
    if len(shape) == 2 and (modules := optional("cv2")):
        error = _error(partial(float32_noise, shape), *how)
        yield Contestant("OpenCV: PCG64 and GaussianBlur", partial(opencv_field, modules[0], *how), error)


def with_tensors(shape: tuple[int, ...], alpha: float, sigma: float) -> Iterator[Contestant]:
    """Yield PyTorch's own convolutions, kornia's in 2-D and MONAI's in 3-D."""

    def contestant(place: Place, name: str, call: Callable[[], Any], note: str = "") -> Contestant:
        check = _error(lambda: fetch(torch_noise(place, shape))[0], shape, alpha, sigma)
        error = None if check is None else lambda field: check(fetch(field))
        return Contestant(f"{name}{place.suffix}", call, error, note=note, synchronise=place.synchronise)

    for place, *_ in places(host=not is_large(shape)):  # on the CPU the convolution of 512^3 asks for 26 GB
        field = partial(torch_field, place, shape, alpha, torch_weights(place, sigma))
        yield contestant(place, "torch: rand and convolution", field)
    for place, filters in places("kornia.filters") if len(shape) == 2 else ():
        blur = partial(
            filters.gaussian_blur2d,
            kernel_size=(taps(sigma),) * 2,
            sigma=(float(sigma),) * 2,
            border_type="constant",
        )
        smooth = partial(_scaled, place, shape, alpha, blur)
        yield contestant(place, "kornia: rand and gaussian_blur2d", smooth)
    for place, layers in places("monai.networks.layers") if len(shape) == 3 else ():
        layer = layers.GaussianFilter(3, float(sigma), truncated=4.0).to(place.device)
        smooth = partial(_scaled, place, shape, alpha, layer)
        yield contestant(place, "MONAI: rand and GaussianFilter", smooth, "weights by the error function")


def _scaled(place: Place, shape: tuple[int, ...], alpha: float, smooth: Callable[[Any], Any]) -> Any:
    """Draw noise, smooth all components at once, and scale."""
    return alpha * smooth(torch_noise(place, shape))[0]


def on_device(path: Path | None, shape: tuple[int, ...], alpha: float, sigma: float) -> Iterator[Contestant]:
    """Yield CuPy's, on the device."""
    if path is not None:
        field = partial(cupy_field, shape, alpha, sigma)
        yield Contestant("cupyx: cupy.random and gaussian_filter", field, note="float32", synchronise=path.synchronise)


def cupy_field(shape: tuple[int, ...], alpha: float, sigma: float) -> list[Any]:
    """Draw and smooth noise on the device, in float32."""
    import cupy
    from cupyx.scipy import ndimage as cupyx

    field = []
    for _ in shape:
        noise = cupy.random.random(shape, np.float32) * 2 - 1
        field.append(cupyx.gaussian_filter(noise, sigma, mode="constant", cval=0.0) * np.float32(alpha))
    return field
