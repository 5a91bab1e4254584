"""Many transforms of a stack in one read of it: the engine under every correlation of slices.

A `BatteryPlan` holds what does not change from slab to slab (references, noise, groups of transforms); `measure` turns
one slab into correlations, and depends on nothing but the plan, the slab and its place; `run` does that for all slabs,
reading ahead, and `finish` puts the parts together. Slabs can be measured anywhere, in any order.
"""

from __future__ import annotations

import contextvars
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import records
from .arrays import check_dtype, use_backend
from .backends.base import Array, Backend
from .deformation import TRUNCATE, check_alpha_sigma, displacement_streams
from .errors import ConstantSliceWarning, ParameterError, warn
from .intervals import check_method, uncertainty
from .moments import Moments, divide_by_roots
from .random_fields import seed_or_fresh
from .transforms import Elastic, Permutation, Plan, Transform, as_transform, plan

Floats = NDArray[np.float64]

NAN_POLICIES = ("raise", "omit", "propagate")
"""NaN in slices: an error, left out of every pair, or a flag with r = NaN."""


class Measured(NamedTuple):
    """The correlations of one member with the slices of one slab."""

    statistic: Floats
    n: NDArray[np.int64]
    n_eff: Floats
    standard_error: Floats
    df: Floats
    flags: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """An image that slices are compared with.

    Attributes
    ----------
    image : (Y, X) array
    mask : (Y, X) bool array or None
        Pixels that count.
    index : int or None
        Which slice of the stack it is.
    """

    image: Array
    mask: Array | None
    index: int | None

    def moved(self, image: Array, permutation: Permutation) -> tuple[Array, Array | None]:
        """Return an image of the reference's frame, and the mask, moved back against a permutation of the slice."""
        back = permutation.inverse()
        return back(image), None if self.mask is None else back(self.mask)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One reference under one transform.

    Attributes
    ----------
    reference : Reference
    plan : Plan
    noise : (Y, X) float64 array or None
        The field that is added to the standardised slice, in the reference's frame.
    column : int
        Which of its group's images the reference is; the noise follows it.
    """

    reference: Reference
    plan: Plan
    noise: Floats | None
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The members that see the same slices, and the images that those slices are compared with."""

    steps: tuple[Transform, ...]
    members: list[Member] = field(default_factory=list)
    images: list[Array] = field(default_factory=list)
    masks: list[Array | None] = field(default_factory=list)

    def add(self, reference: Reference, what: Plan, noise: Floats | None) -> Member:
        """Add a member with its images, or with those of a member that has the same."""
        for twin in self.members:
            same = twin.reference is reference and twin.plan.permutation == what.permutation
            if same and (noise is None or noise is twin.noise):
                column = twin.column
                break
        else:
            column = len(self.images)
            for image in [reference.image] if noise is None else [reference.image, noise]:
                moved, mask = reference.moved(image, what.permutation)
                self.images.append(moved)
                self.masks.append(mask)
        self.members.append(Member(reference, what, noise, column))
        return self.members[-1]

    def mask(self) -> Array | None:
        """Return the masks of the images as one array (K, Y, X), or None where there is none."""
        if all(mask is None for mask in self.masks):
            return None
        whole = np.ones(self.images[0].shape, bool)
        return np.stack([whole if mask is None else mask for mask in self.masks])


@dataclass(frozen=True, slots=True, eq=False)
class BatteryPlan:
    """What is compared with every slice. Made by `prepare`."""

    backend: Backend
    groups: list[Group]
    members: list[Member]
    seed: int | None
    ci: str | None
    nan_policy: str


def prepare(
    references: Sequence[Reference],
    transforms: Sequence[Transform | Callable[[Any], Any] | None],
    *,
    seed: int | None,
    ci: str | None,
    nan_policy: str,
    backend: Backend,
) -> BatteryPlan:
    """Return the plan of a battery: every reference under every transform, in that order."""
    if nan_policy not in NAN_POLICIES:
        raise ParameterError(f"nan_policy = {nan_policy!r}: allowed are {', '.join(map(repr, NAN_POLICIES))}")
    references = [_checked_reference(reference, nan_policy, backend) for reference in references]
    plans = [plan(as_transform(transform)) for transform in transforms]
    labels = [records.curve_label(p.name, p.magnitude) for p in plans]
    if not labels or len(set(labels)) < len(labels):
        raise ParameterError(f"transforms = {labels}: allowed is one or more, with names that differ")
    if seed is not None or any(None in p.seeds() for p in plans):
        seed = seed_or_fresh(seed)
    noises = _noise_fields(plans, references[0].image.shape, seed, backend)
    groups: dict[Any, Group] = {}
    members = []
    for reference in references:
        for what, noise in zip(plans, noises, strict=True):
            shape = reference.image.shape
            if what.permutation.turns % 2 and shape[0] != shape[1]:
                raise ParameterError(f"transform = {what.name!r}: slices of shape {shape} are not square")
            group = groups.setdefault(tuple(map(_key, what.steps)), Group(what.steps))
            members.append(group.add(reference, what, noise))
    return BatteryPlan(backend, list(groups.values()), members, seed, check_method(ci), nan_policy)


def _key(step: Transform) -> Any:
    """Return what tells steps apart: the step itself, its identity where it cannot be hashed."""
    try:
        hash(step)
    except TypeError:
        return id(step)
    return step


def _noise_fields(
    plans: Sequence[Plan], shape: tuple[int, ...], seed: int | None, backend: Backend
) -> list[Floats | None]:
    """Return the noise field of each plan, None where it adds none; plans of one seed share one array."""
    fields: dict[Any, Floats] = {}
    noises: list[Floats | None] = []
    for noise in (p.noise for p in plans):
        if noise is None or noise.factor == 0:
            noises.append(None)
            continue
        key = ("seed", noise.seed) if noise.is_random else ("array", id(noise.magnitude))
        if key not in fields:
            fields[key] = noise.field(shape, seed, backend.name)
        noises.append(fields[key])
    return noises


def _checked_reference(reference: Reference, nan_policy: str, backend: Backend) -> Reference:
    """Return a reference whose NaN are masked; raise where it is constant or its NaN are not allowed."""
    image, mask = reference.image, reference.mask
    check_dtype("reference", image.dtype)
    nan = np.isnan(image) if image.dtype.kind == "f" else np.zeros(image.shape, bool)
    if mask is not None:
        nan &= mask
    if nan.any():
        if nan_policy != "omit":
            raise ParameterError(f"reference has {nan.sum()} NaN pixels: nan_policy='omit' leaves them out")
        mask = ~nan if mask is None else mask & ~nan
    own = backend.moments([image], image[np.newaxis], reference_mask=mask)[0]
    if own.constant_x[0]:
        which = "the reference image" if reference.index is None else f"the reference, slice {reference.index},"
        raise ParameterError(f"{which} is constant (value {own.mean_x[0]:g}): it correlates with nothing")
    return Reference(image, mask, reference.index)


def measure(battery: BatteryPlan, slab: Array, start: int) -> list[Measured]:
    """Return what each member of a battery has to do with the slices of a slab, the first of which is `start`."""
    results: dict[int, Measured] = {}
    with use_backend(battery.backend.name):
        for group in battery.groups:
            slices, slice_mask, moments = _group_moments(battery, group, slab, start)
            for member in group.members:
                results[id(member)] = _member(battery, group, member, moments, slices, slice_mask)
    return [results[id(member)] for member in battery.members]


def _group_moments(
    battery: BatteryPlan, group: Group, slab: Array, start: int
) -> tuple[Array, Array | None, list[Moments]]:
    """Return the slices that a group sees, which of their pixels count, and the moments with its images."""
    omit = battery.nan_policy == "omit" and slab.dtype.kind == "f"
    match group.steps:
        case (Elastic() as elastic,) if not (omit and np.isnan(slab).any()):
            return slab, None, _elastic_moments(battery, group, elastic, slab, start)
        case ():
            slices = slab
        case steps:
            slices = np.stack([_stepped(battery, steps, image, start + n) for n, image in enumerate(slab)])
    mask = ~np.isnan(slices) if omit else None
    if mask is not None and mask.all():
        mask = None
    moments = battery.backend.moments(group.images, slices, reference_mask=group.mask(), slice_mask=mask)
    return slices, mask, moments


def _elastic_moments(battery: BatteryPlan, group: Group, elastic: Elastic, slab: Array, start: int) -> list[Moments]:
    """Return the moments with elastically deformed slices, which are not kept."""
    alpha, sigma = check_alpha_sigma(elastic.alpha, elastic.sigma, 2)
    return battery.backend.warp_moments(
        group.images,
        slab,
        seed=seed_or_fresh(battery.seed) if elastic.seed is None else elastic.seed,
        stream=displacement_streams(2, start + np.arange(len(slab))),
        alpha=np.array(alpha),
        sigma=sigma,
        truncate=TRUNCATE,
        order=elastic.order,
        mode=elastic.mode,
        cval=elastic.cval,
        reference_mask=group.mask(),
    )


def _stepped(battery: BatteryPlan, steps: Sequence[Transform], image: Array, index: int) -> Array:
    """Return a slice after the steps of a transform; elastic ones without a seed take the battery's."""
    shape = image.shape
    for step in steps:
        step = step.seeded(battery.seed) if isinstance(step, Elastic) else step
        image = np.asarray(step(image, index=index))
    if image.shape != shape:
        raise ParameterError(
            f"transform = {steps[-1].name!r} turns shape {shape} into {image.shape}: allowed is {shape}"
        )
    return image


def _member(
    battery: BatteryPlan, group: Group, member: Member, moments: list[Moments], slices: Array, slice_mask: Array | None
) -> Measured:
    """Return the correlations of one member from its group's moments."""
    pair = moments[member.column]
    constant = pair.constant_y
    if member.noise is None:
        r = pair.correlation()
    else:
        own = _noise_moments(battery, group, member, slices, slice_mask)
        factor = member.plan.noise.factor if member.plan.noise is not None else 0.0
        r = _noisy_correlation(pair, moments[member.column + 1], own, factor)
        r[constant] = np.nan
    flags = np.where(constant & (pair.count > 0), "constant", np.where(np.isnan(r), "nan", ""))
    return Measured(r, pair.count, *_interval_parts(pair, battery.ci), flags)


def _interval_parts(pair: Moments, ci: str | None) -> tuple[Floats, Floats, Floats]:
    """Return n_eff, standard error and degrees of freedom of each pair."""
    standard_error, df, n_eff = uncertainty(pair, ci)
    return n_eff, standard_error, df


def _noise_moments(
    battery: BatteryPlan, group: Group, member: Member, slices: Array, slice_mask: Array | None
) -> Moments:
    """Return the moments of the reference with the noise, over the pixels that each slice leaves."""
    noise = group.images[member.column + 1][np.newaxis]
    if slice_mask is not None:
        noise = np.broadcast_to(noise, slices.shape)
    return battery.backend.moments(
        [group.images[member.column]], noise, reference_mask=group.masks[member.column], slice_mask=slice_mask
    )[0]


def _noisy_correlation(pair: Moments, with_noise: Moments, own: Moments, factor: float) -> Floats:
    """Return the correlation of x with y / std(y) + factor * e.

    `pair` has the moments of x and y, `with_noise` those of e and y, `own` those of x and e. With sums over pixels:
    S_xy / s + m S_xe over the root of S_xx (n + 2 m S_ye / s + m^2 S_ee), s the standard deviation of y.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        product = pair.ss_xy / pair.std_y + factor * own.ss_xy
        square = pair.count + 2 * factor * with_noise.ss_xy / pair.std_y + factor * factor * own.ss_y
        return np.clip(divide_by_roots(product, pair.ss_x, square), -1.0, 1.0)


def available_threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    battery: BatteryPlan,
    slabs: Iterable[tuple[int, Array]],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[Measured]]:
    """Measure all slabs, in order; the next ones are read while the last ones are computed.

    At most ``threads + 1`` slabs are held at a time. `progress` is told the number of slices after every slab.
    A caller's own functions may not stand being called at once or out of order: they are run by one thread.
    """
    own = all(isinstance(step, (Permutation, Elastic)) for group in battery.groups for step in group.steps)
    threads = (threads or available_threads()) if own else 1
    parts: list[list[Measured]] = []
    waiting: deque[Future[list[Measured]]] = deque()

    def collect() -> None:
        parts.append(waiting.popleft().result())
        if progress is not None:
            progress(len(parts[-1][0].n))

    with ThreadPoolExecutor(threads, "stackcorr") as pool:
        try:
            for start, slab in slabs:
                context = contextvars.copy_context()  # a caller's function may look into it
                waiting.append(pool.submit(context.run, measure, battery, slab, start))
                if len(waiting) > threads:
                    collect()
            while waiting:
                collect()
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
        statistic, n, n_eff, standard_error, df, flags = map(np.concatenate, zip(*measured, strict=True))
        results.append(
            records.StackCorrelation(
                statistic=statistic,
                distance=np.arange(len(statistic)) - (member.reference.index or 0),
                n=n,
                n_eff=n_eff,
                standard_error=standard_error,
                df=df,
                flags=tuple(flags.tolist()),
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
