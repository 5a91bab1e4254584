"""The benchmarks: each operation beside what CuPy has for it, with the speed that it should reach.

Each case gives its contestants and the targets to be read off their rows. Data are made on the device, and sized to fit
it. What is compared on the device is drawn from our own random fields, the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cupy
import numpy as np
from scipy import ndimage

from gpu_stackcorr import intervals, stack_correlation
from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.base import Array, Edges
from gpu_stackcorr.backends.cuda_.cell_totals import Found
from gpu_stackcorr.backends.cuda_.integer_sums import IntegerSums
from gpu_stackcorr.displacement_fields import displacement_streams
from gpu_stackcorr.moments import IntegerSums as ExactSums
from gpu_stackcorr.transforms import Elastic

from .timing import Contestant, Row, free_bytes

OURS = "gpu_stackcorr"
SLICES = (165, 768, 1024)
ALPHA, SIGMA, SEED = 250.0, 5.0, 1
PART = 2
"""Slices on which results are verified."""


class Target(NamedTuple):
    """A figure to reach: what it is, from the rows of a case, and its limit."""

    text: str
    figure: Callable[[dict[str, Row]], float]
    limit: float
    at_least: bool = True


class Case(NamedTuple):
    """Some work, who does it, and how fast it should be."""

    name: str
    contestants: list[Contestant]
    targets: list[Target]


def ratio(slow: str, fast: str) -> Callable[[dict[str, Row]], float]:
    """Return what gives how many times as long one contestant takes as another."""
    return lambda rows: _median(rows[slow]) / _median(rows[fast])


def of_copy(name: str) -> Callable[[dict[str, Row]], float]:
    """Return what gives the share of the bandwidth of a copy."""
    return lambda rows: float("nan") if rows[name].of_copy is None else float(rows[name].of_copy or 0)


def _median(row: Row) -> float:
    return float("nan") if row.median is None else row.median


def uniform(shape: tuple[int, ...], dtype: str) -> Array:
    """Return slices of uniform noise on the device."""
    engine, kind = get_backend("cuda"), np.dtype(dtype)
    stack = cupy.empty(shape, kind)
    for n in range(shape[0]):
        noise = engine.random_field(SEED, n, shape[1:])
        stack[n] = (noise * 256).astype(kind) if kind.kind == "u" else noise
    return stack


def fitting(count: int, bytes_of_each: int, *, share: float = 0.8) -> int:
    """Return how many of `count` things fit into so much of the device's memory."""
    return max(PART, min(count, int(share * free_bytes()) // bytes_of_each))


def moments_case(name: str, shape: tuple[int, int, int]) -> Case:
    """Return moments of uint8 slices with tiles, beside products of matrices and corrcoef."""
    engine = get_backend("cuda")
    slices = uniform((fitting(shape[0], shape[1] * shape[2], share=0.4), *shape[1:]), "uint8")
    tiles, whole = intervals.cell_edges(shape[1:]), (np.array([0, shape[1]]), np.array([0, shape[2]]))
    part = cupy.asnumpy(slices[:PART])
    exact = get_backend("numpy").moments([part[0]], part)[0].correlation()

    def first(count: int) -> list[Array]:
        return [slices[n % len(slices)] for n in range(count)]

    def ours(count: int, **how: Any) -> Any:
        references = first(count)
        return lambda: engine.moments(references, slices, **how)[0].correlation()

    def left(count: int, edges: Edges = tiles) -> Any:
        """Return what leaves the moments of cells, and of the whole, on the device."""
        references = first(count)
        return lambda: IntegerSums(engine.device, references, slices.shape, slices.dtype, edges, [], None).of_slab(
            0, slices
        )

    def error_of_left(found: Found) -> float:
        (n, x, xx), (y, yy), (xy,) = (
            cupy.asnumpy(sums[:, 0, :PART, 0]) for sums in found.layout.totals(found.memory)[-1][:3]
        )
        return error(ExactSums(*np.broadcast_arrays(n, x, y, xx, yy, xy)).correlation())

    def error(r: Any) -> float:
        return float(np.abs(cupy.asnumpy(r)[:PART] - exact).max())

    some = min(len(slices), fitting(128, 8 * slices[0].nbytes, share=0.5))
    rival = {"scale": len(slices) / some, "note": f"{some} slices at once, scaled to all"}
    x = slices[0].ravel().astype(np.float32)
    x = (x - x.mean()) / x.std() / np.float32(x.size)

    def product() -> Any:
        y = slices[:some].reshape(some, -1).astype(np.float32)
        y -= y.mean(axis=1)[:, None]
        return (y @ x) / y.std(axis=1)

    def corrcoef() -> Any:
        pairs = (cupy.stack([slices[0].ravel(), image.ravel()]) for image in slices[:PART])
        return cupy.stack([cupy.corrcoef(pair)[0, 1] for pair in pairs])

    n_bytes = slices.nbytes
    contestants = [
        Contestant(f"{OURS}, tiles, left on the device", left(1), error_of_left, 0.0, n_bytes),
        Contestant(f"{OURS}, 4 references, tiles, left there", left(4), error_of_left, 0.0, n_bytes),
        Contestant(f"{OURS}, left there", left(1, whole), error_of_left, 0.0, n_bytes),
        Contestant(f"{OURS}, tiles", ours(1, tiles=tiles), error, 0.0, n_bytes),
        Contestant(f"{OURS}, 4 references, tiles", ours(4, tiles=tiles), error, 0.0, n_bytes),
        Contestant(f"{OURS}", ours(1), error, 0.0, n_bytes),
        Contestant("cuBLAS, float32", product, error, 5e-3, n_bytes, **rival),
        Contestant(
            "cupy.corrcoef", corrcoef, error, 1e-9, n_bytes, len(slices) / PART, f"{PART} slices, scaled to all"
        ),
    ]
    targets = [
        Target("tiles: share of a copy's bandwidth", of_copy(f"{OURS}, tiles, left on the device"), 0.85),
        Target(
            "4 references: times one",
            ratio(f"{OURS}, 4 references, tiles, left there", f"{OURS}, tiles, left on the device"),
            1.2,
            False,
        ),
        Target(
            "tiles: times without, left there",
            ratio(f"{OURS}, tiles, left on the device", f"{OURS}, left there"),
            1.2,
            False,
        ),
    ]
    return Case(f"moments, uint8, {name}: {n_bytes / 1e9:.3g} GB, {slices.shape}", contestants, targets)


def gaussian_case(name: str, shape: tuple[int, int, int], axes: tuple[int, ...]) -> Case:
    """Return Gaussian smoothing of float32, beside cupyx."""
    from cupyx.scipy import ndimage as rival

    engine = get_backend("cuda")
    image = uniform((fitting(shape[0], 20 * shape[1] * shape[2]), *shape[1:]), "float32")
    sigma = [SIGMA if axis in axes else 0.0 for axis in range(3)]
    reach = int(4 * SIGMA + 0.5) if 0 in axes else 0
    part = cupy.asnumpy(image[: PART + reach]).astype(np.float64)
    exact = ndimage.gaussian_filter(part, sigma)[:PART]

    def ours() -> Any:
        return engine.gaussian_filter(image, [SIGMA] * len(axes), axes=axes, mode=["reflect"] * len(axes))

    def error(result: Any) -> float:
        return float(np.abs(cupy.asnumpy(result[:PART]) - exact).max())

    n_bytes = 2 * image.nbytes
    contestants = [
        Contestant(OURS, ours, error, 1e-5, n_bytes),
        Contestant("cupyx", lambda: rival.gaussian_filter(image, sigma), error, 1e-4, n_bytes),
    ]
    title = f"gaussian_filter, sigma {SIGMA:g}, float32, {name}, {image.shape}"
    return Case(title, contestants, [Target("cupyx: times ours", ratio("cupyx", OURS), 5.0)])


def warp_case(dtype: str, shape: tuple[int, int, int]) -> Case:
    """Return bilinear pulls, a field a slice, beside cupyx from the displacement and from coordinates made before."""
    from cupyx.scipy import ndimage as rival

    engine = get_backend("cuda")
    each = shape[1] * shape[2] * (2 * np.dtype(dtype).itemsize + 16 + 8)
    image = uniform((fitting(shape[0], each, share=0.7), *shape[1:]), dtype)
    count = len(image)
    field = engine.displacement(
        SEED, displacement_streams(2, np.arange(count)), shape[1:], alpha=ALPHA, sigma=[SIGMA] * 2
    )
    grid = cupy.asarray(np.indices(shape[1:], np.float32))
    part = cupy.asnumpy(image[:PART]), cupy.asnumpy(field[:, :PART])
    where = np.indices(shape[1:])
    exact = [
        ndimage.map_coordinates(slice_, where + part[1][:, n], order=1, mode="reflect", output=np.float64)
        for n, slice_ in enumerate(part[0])
    ]

    def error(result: Any) -> float:
        return float(max(np.abs(cupy.asnumpy(result[n]) - exact[n]).max() for n in range(PART)))

    some = min(count, 16)
    coordinates = [grid + field[:, n] for n in range(some)]

    def theirs() -> Any:
        return [rival.map_coordinates(image[n], grid + field[:, n], order=1, mode="reflect") for n in range(some)]

    def theirs_of_coordinates() -> Any:
        return [rival.map_coordinates(image[n], coordinates[n], order=1, mode="reflect") for n in range(some)]

    n_bytes = 2 * image.nbytes + field.nbytes
    span = 1.0 if image.dtype.kind == "f" else 256.0
    contestants = [
        Contestant(
            OURS,
            lambda: engine.warp(image, field, axes=(1, 2), order=1, mode="reflect"),
            error,
            0.51 if span > 1 else 1e-5,
            n_bytes,
            note="an integer is rounded" if span > 1 else "",
        ),
        Contestant("cupyx", theirs, error, 0.01 * span, n_bytes, count / some, f"{some} slices, scaled"),
        Contestant(
            "cupyx, coordinates made beforehand",
            theirs_of_coordinates,
            error,
            0.01 * span,
            n_bytes,
            count / some,
            f"{some} slices, scaled",
        ),
    ]
    targets = [
        Target("share of a copy's bandwidth", of_copy(OURS), 0.70),
        Target("cupyx: times ours", ratio("cupyx", OURS), 3.0),
    ]
    return Case(f"warp, order 1, {dtype}, {image.shape}", contestants, targets)


def experiment_case(dtype: str, shape: tuple[int, int, int]) -> Case:
    """Return the notebook's last experiment: every slice deformed by its own field and correlated with slice 0."""
    engine = get_backend("cuda")
    slices = uniform((fitting(shape[0], 40 * shape[1] * shape[2]), *shape[1:]), dtype)
    host, count = cupy.asnumpy(slices[:PART]), len(slices)
    transform = Elastic(ALPHA, SIGMA)
    exact = stack_correlation(host, transform=transform, seed=SEED, backend="numpy").statistic
    streams, tiles = displacement_streams(2, np.arange(count)), intervals.cell_edges(shape[1:])

    def operation(tiles: Edges | None) -> Any:
        return engine.warp_moments(
            [slices[0]], slices, seed=SEED, stream=streams, alpha=np.array([ALPHA] * 2), sigma=[SIGMA] * 2, tiles=tiles
        )[0].correlation()

    def public() -> Any:
        return stack_correlation(slices, transform=transform, seed=SEED).statistic

    def error(r: Any) -> float:
        return float(np.abs(np.asarray(r)[:PART] - exact).max())

    some, theirs = _composed(slices)
    contestants = [
        Contestant(f"{OURS}, warp_moments", lambda: operation(None), error, 1e-3, note="r alone, as the notebook"),
        Contestant(f"{OURS}, warp_moments, tiles", lambda: operation(tiles), error, 1e-3),
        Contestant(f"{OURS}, stack_correlation", public, error, 1e-3, note="with what the intervals need"),
        Contestant(
            "cupyx and cupy.random", theirs, None, scale=count / some, note=f"{some} slices, scaled; its own noise"
        ),
        Contestant(
            "the notebook's own code, SciPy",
            lambda: notebook(host[:1]),
            None,
            scale=count,
            note="on the host, one slice, scaled",
        ),
    ]
    best = f"{OURS}, warp_moments"
    targets = [
        Target("milliseconds (an H200 should take under 3)", lambda rows: _median(rows[best]), 3.0, False),
        Target("cupyx and cupy.random: times ours", ratio("cupyx and cupy.random", best), 30.0),
        Target("the notebook's own code: times ours", ratio("the notebook's own code, SciPy", best), 1000.0),
    ]
    return Case(f"the notebook's last experiment, {dtype}, {slices.shape}", contestants, targets)


def _composed(slices: Array) -> tuple[int, Callable[[], Any]]:
    """Return how many slices are taken, and the experiment from what CuPy has."""
    from cupyx.scipy import ndimage as rival

    some = min(len(slices), 16)
    grid = cupy.asarray(np.indices(slices.shape[1:], np.float32))
    x = slices[0].ravel().astype(np.float32)
    x = (x - x.mean()) / x.std()

    def one(image: Array) -> Any:
        coordinates = [
            grid[axis]
            + np.float32(ALPHA)
            * rival.gaussian_filter(
                cupy.random.random(image.shape, np.float32) * 2 - 1, SIGMA, mode="constant", cval=0.0
            )
            for axis in range(2)
        ]
        y = rival.map_coordinates(image, cupy.stack(coordinates), order=1, mode="reflect").ravel().astype(np.float32)
        return (x * (y - y.mean())).mean() / y.std()

    return some, lambda: [one(image) for image in slices[:some]]


def notebook(slices: Any) -> Any:
    """Deform and correlate as the notebook did, on the host."""
    rng, r = np.random.RandomState(0), []
    for image in slices:
        field = [
            ndimage.gaussian_filter(rng.rand(*image.shape) * 2 - 1, SIGMA, mode="constant", cval=0) * ALPHA
            for _ in range(2)
        ]
        grid = np.meshgrid(*map(np.arange, image.shape), indexing="ij")
        where = [(position + d).reshape(-1) for position, d in zip(grid, reversed(field), strict=True)]
        warped = ndimage.map_coordinates(image, where, order=1, mode="reflect").reshape(image.shape)
        r.append(np.corrcoef(slices[0].ravel(), warped.ravel())[0, 1])
    return np.array(r)


def small_case(side: int) -> Case:
    """Return what a small image of the host costs on the device and on the CPU: the threshold `arrays.SMALL_BYTES`."""
    image = np.random.default_rng(SEED).integers(0, 256, (1, side, side), np.uint8)
    streams = displacement_streams(2, np.arange(1))
    on_cpu = "numba" if _has("numba") else "numpy"
    contestants = []
    for name in ("cuda", on_cpu):
        engine = get_backend(name)

        def moments(engine: Any = engine) -> Any:
            return engine.moments([image[0]], image)[0].correlation()

        def elastic(engine: Any = engine) -> Any:
            return engine.warp_moments(
                [image[0]], image, seed=SEED, stream=streams, alpha=np.array([20.0, 20.0]), sigma=[5.0, 5.0]
            )[0].correlation()

        contestants += [
            Contestant(f"moments on {name}", moments, note="from the host; see wall"),
            Contestant(f"elastic moments on {name}", elastic, note="from the host; see wall"),
        ]
    return Case(f"small inputs, {image.nbytes / 1024:g} KiB", contestants, [])


def _has(name: str) -> bool:
    from gpu_stackcorr import available_backends

    return available_backends()[name].available


def cases(*, tiny: bool) -> Iterator[Callable[[], Case]]:
    """Yield what makes each case; one is made when the last one's memory is free."""
    many, few = ((5, 48, 64), (2, 64, 80)) if tiny else ((2600, 768, 1024), (4, 16384, 16384))
    slices = (4, 48, 64) if tiny else SLICES
    yield lambda: moments_case("many slices", many)
    yield lambda: moments_case("few slices", few)
    yield lambda: gaussian_case("in each slice", slices, (1, 2))
    yield lambda: warp_case("float32", slices)
    yield lambda: experiment_case("uint8", slices)
    yield lambda: warp_case("uint8", slices)
    yield lambda: experiment_case("float32", slices)
    yield lambda: gaussian_case("along all axes", slices, (0, 1, 2))
    for side in (32,) if tiny else (64, 128, 256, 512, 1024):
        yield lambda side=side: small_case(side)
