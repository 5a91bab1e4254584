"""A battery carried out: slabs of slices turned into correlations, in threads, and put together.

`measure` depends on nothing but the plan, the slab and its place: slabs can be measured anywhere, in any order.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import intervals, records
from .arrays import plain, use_backend
from .backends.base import Array
from .battery import BatteryPlan, Group, Member
from .deformation_checks import check_alpha_sigma
from .displacement_fields import TRUNCATE, displacement_streams
from .errors import ConstantSliceWarning, ParameterError, warn
from .moments import Moments, concatenate
from .random_fields import seed_or_fresh
from .threads import allowed_threads, use_threads
from .transforms import Deformation, Elastic, Permutation, Transform

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """The correlations of one member with the slices of one slab."""

    statistic: Floats
    n: NDArray[np.int64]
    uncertainty: intervals.Uncertainty
    flags: NDArray[np.str_]


class Seen(NamedTuple):
    """What a group sees of a slab: its slices after the steps, which of their pixels count, and their moments.

    `own` keeps the moments of a reference with its noise, by column: noise levels share them.
    """

    slices: Array
    mask: Array | None
    moments: list[Moments]
    own: dict[int, Moments]


def measure(battery: BatteryPlan, slab: Array, start: int) -> list[Measured]:
    """Return what each member of a battery has to do with the slices of a slab, the first of which is `start`."""
    results: dict[int, Measured] = {}
    with use_backend(battery.backend.name):
        for group in battery.groups:
            seen = _see(battery, group, slab, start)
            for member in group.members:
                results[id(member)] = _measure_member(battery, group, member, seen)
    return [results[id(member)] for member in battery.members]


def _see(battery: BatteryPlan, group: Group, slab: Array, start: int) -> Seen:
    """Return what a group sees of a slab."""
    omit = battery.nan_policy == "omit" and slab.dtype.kind == "f"
    match group.steps:
        case (Elastic(is_plain=True) as elastic,) if battery.ci != "effective":
            return _see_elastic(battery, group, elastic, slab, start, omit=omit)
        case ():
            slices = slab
        case steps:
            slices = np.stack([_stepped(battery, steps, image, start + n) for n, image in enumerate(slab)])
    mask = ~np.isnan(slices) if omit else None
    if mask is not None and mask.all():
        mask = None
    return Seen(slices, mask, _group_moments(battery, group, slices, mask), {})


def _see_elastic(battery: BatteryPlan, group: Group, elastic: Elastic, slab: Array, start: int, *, omit: bool) -> Seen:
    """Return what a group sees that deforms: of slices whose NaN are left out the deformed ones, else moments alone.

    Each slice goes its own way, so that its bits do not depend on what else is in the slab.
    """
    numbers = start + np.arange(len(slab))
    holes = np.zeros(len(slab), np.bool_)
    if omit:
        holes = _slices_with(battery, np.isnan(slab))
    if not holes.any():
        return Seen(slab, None, _elastic_moments(battery, group, elastic, slab, numbers), {})
    deformed = np.stack([_stepped(battery, (elastic,), slab[n], int(numbers[n])) for n in np.flatnonzero(holes)])
    seen = ~np.isnan(deformed)
    parts = [_group_moments(battery, group, deformed, seen)]
    if not holes.all():
        parts.append(_elastic_moments(battery, group, elastic, slab[~holes], numbers[~holes]))
    order = np.argsort(np.concatenate([np.flatnonzero(holes), np.flatnonzero(~holes)]))
    mask = np.ones(slab.shape, np.bool_)
    mask[holes] = battery.backend.to_host(seen)
    return Seen(slab, mask, [concatenate(pairs)[order] for pairs in zip(*parts, strict=True)], {})


def _slices_with(battery: BatteryPlan, pixels: Array) -> NDArray[np.bool_]:
    """Return which slices have any of some pixels, on the host."""
    found: Any = pixels.any(axis=(1, 2))
    return battery.backend.to_host(found)


def _group_moments(battery: BatteryPlan, group: Group, slices: Array, mask: Array | None) -> list[Moments]:
    """Return the moments of a group's images with slices."""
    return _moments(battery, group.images, slices, mask, reference_mask=group.mask(), tiles=group.tiles(battery.ci))


def _moments(
    battery: BatteryPlan, references: Sequence[Array], slices: Array, mask: Array | None, **options: Any
) -> list[Moments]:
    """Return the moments with slices under a mask each.

    Slices of which every pixel counts go without one, so that their bits do not depend on what else is in the slab.
    """
    whole = np.ones(len(slices), np.bool_) if mask is None else ~_slices_with(battery, ~mask)
    if mask is None or not whole.any():
        return battery.backend.moments(references, slices, slice_mask=mask, **options)
    parts = (
        battery.backend.moments(references, slices[whole], **options),
        battery.backend.moments(references, slices[~whole], slice_mask=mask[~whole], **options),
    )
    order = np.argsort(np.concatenate([np.flatnonzero(whole), np.flatnonzero(~whole)]))
    return [concatenate(pairs)[order] for pairs in zip(*parts, strict=True)]


def _elastic_moments(
    battery: BatteryPlan, group: Group, elastic: Elastic, slab: Array, numbers: NDArray[np.intp]
) -> list[Moments]:
    """Return the moments with elastically deformed slices of these numbers, which are not kept."""
    alpha, sigma = check_alpha_sigma(elastic.alpha, elastic.sigma, 2)
    return battery.backend.warp_moments(
        group.images,
        slab,
        seed=seed_or_fresh(battery.seed) if elastic.seed is None else elastic.seed,
        stream=displacement_streams(2, numbers),
        alpha=np.array(alpha),
        sigma=sigma,
        truncate=TRUNCATE,
        order=elastic.order,
        mode=elastic.mode,
        cval=elastic.cval,
        reference_mask=group.mask(),
        tiles=group.tiles(battery.ci),
    )


def _stepped(battery: BatteryPlan, steps: Sequence[Transform], image: Array, index: int) -> Array:
    """Return a slice after the steps of a transform; elastic ones without a seed take the battery's."""
    shape = image.shape
    for step in steps:
        image = plain(step.seeded(battery.seed)(image, index=index))
    if image.shape != shape:
        raise ParameterError(
            f"transform = {steps[-1].name!r} turns shape {shape} into {image.shape}: allowed is {shape}"
        )
    return image


def _measure_member(battery: BatteryPlan, group: Group, member: Member, seen: Seen) -> Measured:
    """Return the correlations of one member with what its group sees."""
    plain = seen.moments[member.column]
    pair = plain if member.noise is None else _with_noise(battery, group, member, seen)
    r = np.where(plain.constant_y, np.nan, pair.correlation())
    flags = np.where(plain.constant_y & (plain.count > 0), "constant", np.where(np.isnan(r), "nan", ""))
    return Measured(r, pair.count, _uncertainty(battery, group, member, seen, pair, r), flags)


def _uncertainty(
    battery: BatteryPlan, group: Group, member: Member, seen: Seen, pair: Moments, r: Floats
) -> intervals.Uncertainty:
    """Return the uncertainty of the correlations of one member, by the method of the battery."""
    if battery.ci is None:
        return intervals.unknown(r.shape)
    if battery.ci == "fisher":
        return intervals.fisher(pair.count)
    if battery.ci == "tiles":
        if pair.cells is None:
            return intervals.too_small(r.shape)
        return intervals.tiles(r, pair)
    to_host = battery.backend.to_host
    image = np.asarray(to_host(group.images[member.column]), np.float64)
    masks = None if seen.mask is None else to_host(seen.mask)
    each = [
        intervals.effective(
            image,
            _noisy_slice(group, member, to_host(seen.slices[n]), seen.moments[member.column].std_y[n]),
            _pair_mask(group, member, None if masks is None else masks[n]),
        )
        for n in range(len(seen.slices))
    ]
    return intervals.Uncertainty(*(np.array(values) for values in zip(*each, strict=True)))


def _noisy_slice(group: Group, member: Member, image: Array, std: float) -> Floats:
    """Return a slice as a member sees it, with its noise."""
    image = np.asarray(image, np.float64)
    if member.noise is None:
        return image
    return np.asarray(image / std + member.factor * group.images[member.column + 1])


def _pair_mask(group: Group, member: Member, mask: Array | None) -> Array | None:
    """Return the pixels of a pair that count, those of the slice being `mask`; or None for all."""
    masks = [group.masks[member.column], mask]
    given = [mask for mask in masks if mask is not None]
    return np.logical_and.reduce(given) if given else None


def _with_noise(battery: BatteryPlan, group: Group, member: Member, seen: Seen) -> Moments:
    """Return the moments of the reference x with ``y / std(y) + factor * e``, from those of x, y and the noise e."""
    pair, of_noise = seen.moments[member.column], seen.moments[member.column + 1]
    if member.column not in seen.own:
        seen.own[member.column] = _own_moments(battery, group, member, seen)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _add_noise(pair, of_noise, seen.own[member.column], member.factor, pair.std_y)


def _own_moments(battery: BatteryPlan, group: Group, member: Member, seen: Seen) -> Moments:
    """Return the moments of the reference x with the noise e."""
    noise = group.images[member.column + 1][np.newaxis]
    if seen.mask is not None:  # over the pixels that each slice leaves
        noise = np.broadcast_to(noise, seen.slices.shape)
    return _moments(
        battery,
        [group.images[member.column]],
        noise,
        seen.mask,
        reference_mask=group.masks[member.column],
        tiles=group.own_tiles(member.column, battery.ci),
    )[0]


def _add_noise(pair: Moments, of_noise: Moments, own: Moments, factor: float, std: Floats) -> Moments:
    """Return the moments of x with ``y / std + factor * e``: those of x and y, e and y, x and e, added up.

    All are sums of products and therefore linear in y and e, over the whole as over each cell.
    """
    noisy = Moments(
        count=pair.count,
        mean_x=pair.mean_x,
        mean_y=pair.mean_y / std + factor * of_noise.mean_x,
        ss_x=pair.ss_x,
        ss_y=pair.ss_y / (std * std) + 2 * factor * of_noise.ss_xy / std + factor * factor * of_noise.ss_x,
        ss_xy=pair.ss_xy / std + factor * own.ss_xy,
    )
    if pair.cells is None or of_noise.cells is None or own.cells is None:
        return noisy
    each = std[..., np.newaxis, np.newaxis]
    return noisy.with_cells(_add_noise(pair.cells, of_noise.cells, own.cells, factor, each))


def run(
    battery: BatteryPlan,
    slabs: Iterable[tuple[int, Array]],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[Measured]]:
    """Measure all slabs, in order; the next ones are read while the last ones are computed.

    At most ``threads + 1`` slabs are held at a time. `progress` is told the number of slices after every slab.
    Where fewer slabs are computed at once than there are threads, the operations on each share those out. A device is
    fed by one thread, on the stream of the caller.
    A caller's own functions may not stand being called at once or out of order: they are run by one thread.
    """
    own = all(isinstance(step, (Permutation, Deformation)) for group in battery.groups for step in group.steps)
    threads = (threads or allowed_threads()) if own and battery.backend.in_threads else 1
    if isinstance(slabs, Sequence):
        threads = max(1, min(threads, len(slabs)))
    each = max(1, allowed_threads() // threads)
    as_here = battery.backend.carried()
    parts: list[list[Measured]] = []
    waiting: deque[Future[list[Measured]]] = deque()

    def keep(part: list[Measured]) -> None:
        parts.append(part)
        if progress is not None:
            progress(len(part[0].n))

    def compute(start: int, held: list[Array]) -> list[Measured]:
        with use_threads(each), as_here():
            return measure(battery, held.pop(), start)

    if isinstance(slabs, Sequence) and len(slabs) == 1:  # here, where memory of the last call is at hand
        keep(compute(slabs[0][0], [slabs[0][1]]))
        return parts
    with ThreadPoolExecutor(threads, "stackcorr") as pool:
        try:
            for start, slab in slabs:
                context = contextvars.copy_context()  # a caller's function may look into it
                held = [slab]  # the pool keeps arguments for a moment after their result is there
                waiting.append(pool.submit(context.run, compute, start, held))
                if len(waiting) > threads:
                    keep(waiting.popleft().result())
            while waiting:
                keep(waiting.popleft().result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return parts


def finish(
    battery: BatteryPlan, parts: Sequence[Sequence[Measured]], *, spacing: float | None = None
) -> list[records.StackCorrelation]:
    """Return the results of all members from the parts of all slabs, in the order of the slices."""
    results = []
    for member, measured in zip(battery.members, zip(*parts, strict=True), strict=True):
        statistic, n, uncertainties, flags = zip(*measured, strict=True)
        uncertainty = intervals.Uncertainty(*map(np.concatenate, zip(*uncertainties, strict=True)))
        depth = sum(map(len, statistic))
        results.append(
            records.StackCorrelation(
                statistic=np.concatenate(statistic),
                distance=np.arange(depth) - (member.reference.index or 0),
                n=np.concatenate(n),
                n_eff=uncertainty.n_eff,
                standard_error=uncertainty.standard_error,
                df=uncertainty.df,
                window=uncertainty.window,
                saturated=uncertainty.saturated,
                flags=tuple(np.concatenate(flags).tolist()),
                reference=member.reference.index,
                transform=member.plan.name,
                noise=member.plan.magnitude,
                method=battery.ci or "none",
                seed=member.plan.seed(battery.seed),
                backend=battery.backend.name,
                spacing=spacing,
            )
        )
    _warn_of_constant_slices(results)
    return results


def _warn_of_constant_slices(results: Sequence[records.StackCorrelation]) -> None:
    """Warn once of all slices without variance."""
    constant = sorted({n for result in results for n, flag in enumerate(result.flags) if flag == "constant"})
    if constant:
        names = ", ".join(map(str, constant[:10])) + (f" and {len(constant) - 10} more" if len(constant) > 10 else "")
        warn(f"slices without variance have r = NaN: {names}", ConstantSliceWarning)
