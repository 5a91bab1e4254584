"""The correlation of images and of the slices of a stack, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import battery, measurement
from .arrays import Stack, check_mask, choose, take
from .backends.base import Array, Backend
from .errors import ConstantSliceWarning, ParameterError, on_one_line, warn
from .records import Battery, Correlation, StackCorrelation
from .shifts import shifted_stack_correlation
from .threads import allowed_threads
from .transforms import AddNoise, Compose, Transform, as_transform


def image_correlation(
    image_1: Any,
    image_2: Any,
    *,
    mask: Any = None,
    ci: str | None = "tiles",
    nan_policy: str = "raise",
    backend: str | None = None,
) -> Correlation:
    """Return Pearson's correlation of two images.

    Parameters
    ----------
    image_1, image_2 : (Y, X) arrays
        bool, integers, float32 or float64.
    mask : (Y, X) bool array, optional
        Pixels that count.
    ci : {"tiles", "effective", "fisher", None}
        How the standard error is found: see ``gpu_stackcorr.intervals`` for what each assumes.
    nan_policy : {"raise", "omit", "propagate"}
        NaN pixels are an error, are left out, or make r NaN.
    backend : str, optional
        Where to compute.

    Returns
    -------
    Correlation
        ``.statistic`` is r: for bool, int8, uint8, int16 and uint16 images the float64 nearest to its exact value,
        otherwise computed from centred float64 sums.

    Raises
    ------
    ParameterError
        If shapes differ or `image_1` is constant.

    Notes
    -----
    ``ci="tiles"`` assumes that the images are stationary and wider than a few of their structures; do not trust it
    where `saturated` is set. A correlation near 0 at zero shift is no proof of independence: it says nothing of
    shifted or nonlinear likeness.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    >>> result = image_correlation(image, image[::-1, ::-1])
    >>> result.statistic
    -1.0
    """
    engine = choose(backend, image_1=image_1, image_2=image_2)
    _, first, _ = take("image_1", image_1, engine.name)
    _, second, _ = take("image_2", image_2, engine.name)
    if first.ndim != 2 or first.shape != second.shape or first.size == 0:
        raise ParameterError(f"image_1 and image_2 have shapes {first.shape} and {second.shape}: allowed is one (Y, X)")
    reference = battery.Reference(first, check_mask(mask, first.shape), None)
    plan = battery.prepare([reference], [None], seed=None, ci=ci, nan_policy=nan_policy, backend=engine)
    compared = second if reference.mask is None else second[reference.mask]
    if nan_policy == "raise" and (count := _nan_count(compared)):
        raise ParameterError(f"image_2 has {count} NaN pixels: nan_policy='omit' leaves them out")
    measured = measurement.measure(plan, second[np.newaxis], 0)[0]
    if measured.flags[0] == "constant":
        warn("image_2 has no variance: r = NaN", ConstantSliceWarning)
    return Correlation(
        statistic=float(measured.statistic[0]),
        n=int(measured.n[0]),
        n_eff=float(measured.uncertainty.n_eff[0]),
        standard_error=float(measured.uncertainty.standard_error[0]),
        df=float(measured.uncertainty.df[0]),
        window=int(measured.uncertainty.window[0]),
        saturated=bool(measured.uncertainty.saturated[0]),
        method=ci or "none",
        backend=engine.name,
    )


def stack_correlation(
    stack: Any,
    reference: Any = 0,
    *,
    transform: Transform | Callable[[Any], Any] | None = None,
    noise: Any = 0,
    max_shift: int | None = None,
    mask: Any = None,
    ci: str | None = "tiles",
    nan_policy: str = "raise",
    seed: int | None = None,
    backend: str | None = None,
) -> StackCorrelation | tuple[StackCorrelation, ...]:
    """Return the correlation of a reference slice with every slice of a stack.

    Parameters
    ----------
    stack : array_like of shape (n, Y, X) or (n, 1, Y, X)
        NumPy array, memory map, ``Volume``, or anything with `shape`, `dtype` and slicing along z. Read in slabs.
    reference : int, (Y, X) array, or a sequence of these
        Index of a slice (negative from the top), an image, or several of either.
    transform : Transform or callable, optional
        What is done to each slice before it is compared. The reference stays as it is.
    noise : float or (Y, X) array
        Normal noise added to the standardised, transformed slice: its magnitude in standard deviations of the slice,
        or the noise itself. One field is used for all slices.
    max_shift : int, optional
        Return the largest correlation over shifts of each slice by up to so many pixels along each axis, a
        ``ShiftedStackCorrelation``: it tells drift from decorrelation. Not together with a transform or noise.
    mask : (Y, X) bool array, optional
        Pixels of the reference that count.
    ci : {"tiles", "effective", "fisher", None}
        How the standard error is found: see ``gpu_stackcorr.intervals`` for what each assumes.
    nan_policy : {"raise", "omit", "propagate"}
        NaN pixels of a slice are an error, are left out of its pair, or flag it and make its r NaN.
    seed : int, optional
        Of noise and deformation, 0 to 2^64 - 1; drawn and kept in the result where it is needed and missing.
    backend : str, optional
        Where to compute.

    Returns
    -------
    StackCorrelation, or a tuple of them for several references
        r of integer pairs without noise is the float64 nearest to its exact value. A constant slice has r = NaN.

    Raises
    ------
    ParameterError
        If a parameter is not allowed, a reference is constant, or there are NaN and ``nan_policy="raise"``.

    Notes
    -----
    ``ci="tiles"`` assumes that the images are stationary and wider than a few of their structures; do not trust it
    where `saturated` is set. A correlation near 0 at zero shift is no proof of independence: it says nothing of
    shifted or nonlinear likeness.

    Examples
    --------
    >>> import numpy as np
    >>> stack = np.random.default_rng(0).normal(size=(4, 32, 32))
    >>> result = stack_correlation(stack)
    >>> result.statistic.shape, float(result.statistic[0])
    ((4,), 1.0)
    """
    added = AddNoise(noise)
    combined = transform if added.factor == 0 else Compose(as_transform(transform), added)
    several = isinstance(reference, (list, tuple)) or np.ndim(reference) in (1, 3)
    references = list(reference) if several else [reference]
    if max_shift is not None:
        if combined is not None or nan_policy != "raise":
            raise ParameterError(f"max_shift = {max_shift} allows no transform, no noise and no nan_policy but 'raise'")
        results: list[StackCorrelation] = [
            shifted_stack_correlation(stack, r, max_shift=max_shift, mask=mask, ci=ci, backend=backend)
            for r in references
        ]
        return tuple(results) if several else results[0]
    results = _correlate(
        stack,
        references,
        [combined],
        mask=mask,
        ci=ci,
        nan_policy=nan_policy,
        seed=seed,
        backend=backend,
    )
    return tuple(results) if several else results[0]


def transform_battery(
    stack: Any,
    transforms: Sequence[Transform | Callable[[Any], Any]],
    *,
    reference: Any = 0,
    mask: Any = None,
    ci: str | None = "tiles",
    nan_policy: str = "raise",
    seed: int | None = None,
    backend: str | None = None,
) -> Battery:
    """Return the correlations of a reference with every slice under several transforms, in one read of the stack.

    Flips, rotations of square slices and noise are computed by changing the reference. Members that add noise without
    a seed of their own share one noise field, so that their curves differ by magnitude alone.

    Parameters
    ----------
    stack, mask, ci, nan_policy, seed, backend
        As in `stack_correlation`.
    transforms : sequence of Transform or callable
        With names that differ.
    reference : int or (Y, X) array

    Returns
    -------
    Battery
        A mapping of labels to `StackCorrelation`, in the order of `transforms`.

    Notes
    -----
    ``ci="tiles"`` assumes that the images are stationary and wider than a few of their structures; do not trust it
    where `saturated` is set. A correlation near 0 at zero shift is no proof of independence: it says nothing of
    shifted or nonlinear likeness.

    Examples
    --------
    >>> import numpy as np
    >>> from gpu_stackcorr.transforms import flip_up_down, identity
    >>> stack = np.random.default_rng(0).integers(0, 256, (4, 32, 32), np.uint8)
    >>> list(transform_battery(stack, [identity, flip_up_down]))
    ['identity', 'flip_up_down']
    """
    try:
        chosen = list(transforms)
    except TypeError:
        shown = on_one_line(transforms)
        raise ParameterError(f"transforms = {shown}: allowed are sequences of transforms") from None
    results = _correlate(
        stack, [reference], chosen, mask=mask, ci=ci, nan_policy=nan_policy, seed=seed, backend=backend
    )
    return Battery(tuple(results))


def noise_sweep(
    stack: Any,
    magnitudes: Sequence[float],
    *,
    reference: Any = 0,
    transform: Transform | Callable[[Any], Any] | None = None,
    mask: Any = None,
    ci: str | None = "tiles",
    nan_policy: str = "raise",
    seed: int | None = None,
    backend: str | None = None,
) -> Battery:
    """Return the correlations with every slice under several magnitudes of added normal noise, in one read.

    All magnitudes share one noise field, and so do all slices. For noise on the reference slice itself the expected
    correlation is ``1 / sqrt(1 + m ** 2)``.

    Parameters
    ----------
    stack, mask, ci, nan_policy, seed, backend
        As in `stack_correlation`.
    magnitudes : sequence of float
        Standard deviations of the noise, in standard deviations of the slice; 0 or more.
    reference : int or (Y, X) array
    transform : Transform or callable, optional
        What is done to each slice before it is standardised and noise is added.

    Returns
    -------
    Battery

    Notes
    -----
    ``ci="tiles"`` assumes that the images are stationary and wider than a few of their structures; do not trust it
    where `saturated` is set. A correlation near 0 at zero shift is no proof of independence: it says nothing of
    shifted or nonlinear likeness.
    """
    transforms = [Compose(as_transform(transform), AddNoise(m)) for m in _checked_magnitudes(magnitudes)]
    return transform_battery(
        stack, transforms, reference=reference, mask=mask, ci=ci, nan_policy=nan_policy, seed=seed, backend=backend
    )


def _checked_magnitudes(magnitudes: Any) -> list[float]:
    """Return magnitudes of noise as floats, or raise ParameterError where they are no sequence of numbers."""
    try:
        if isinstance(magnitudes, (str, bytes)):  # sequences, but not of numbers
            raise TypeError
        return [float(m) for m in magnitudes]
    except (TypeError, ValueError):
        shown = on_one_line(magnitudes)
        raise ParameterError(f"magnitudes = {shown}: allowed are sequences of numbers of 0 or more") from None


def _correlate(
    source: Any,
    references: Sequence[Any],
    transforms: Sequence[Transform | Callable[[Any], Any] | None],
    *,
    mask: Any,
    ci: str | None,
    nan_policy: str,
    seed: int | None,
    backend: str | None,
) -> list[StackCorrelation]:
    """Return the results of every reference under every transform."""
    stack = Stack(source)
    if not references:
        raise ParameterError("reference is an empty list: allowed are an index, an image, or several of either")
    chosen = [find_reference(stack, reference, mask) for reference in references]
    engine = stack.backend(backend, *references)
    plan = battery.prepare(chosen, transforms, seed=seed, ci=ci, nan_policy=nan_policy, backend=engine)
    parts = slabs(stack, engine, only_read=plan.only_reads())
    witness = plan.witness() if stack.in_memory else None
    if nan_policy == "raise" and witness is None:
        if stack.in_memory:  # before the work, where that is cheap
            _check_nan(slabs(stack, engine))
        else:
            parts = _without_nan(parts)
    # Slabs in memory are views: as a list they can be counted, and few of them share the threads out.
    measured = measurement.run(plan, list(parts) if stack.in_memory else parts)
    if nan_policy == "raise" and witness is not None and any("nan" in part[witness].flags for part in measured):
        _check_nan(slabs(stack, engine))
    return measurement.finish(plan, measured, spacing=stack.spacing)


def slabs(
    stack: Stack, engine: Backend, slab_bytes: int | None = None, *, only_read: bool = False
) -> Iterator[tuple[int, Array]]:
    """Yield the stack in slabs, each with the index of its first slice; as large as `engine` likes them by default.

    What is not in memory is read in slabs of the size that others like, whatever `engine` would take. `only_read` says
    that no slices are made of those of a slab.
    """
    of = engine if stack.in_memory else Backend
    if only_read and of.reading_bytes is not None and slab_bytes is None:
        length = max(1, of.reading_bytes // stack.slice_bytes)
        if length >= len(stack):  # threads together are faster at one slab than each at a small one
            yield 0, stack.slab(0, len(stack))
            return
    else:
        length = max(1, (of.slab_bytes if slab_bytes is None else slab_bytes) // stack.slice_bytes)
        if of.slab_slices is not None:
            length = min(length, of.slab_slices)
    if engine.in_threads:  # every thread has as many slabs, of a short stack too
        threads = allowed_threads()
        length = -(-len(stack) // (threads * max(1, -(-len(stack) // (length * threads)))))
    for start in range(0, len(stack), length):
        yield start, stack.slab(start, min(start + length, len(stack)))


def _check_nan(parts: Iterator[tuple[int, Array]]) -> None:
    """Raise where slabs have NaN."""
    for _ in _without_nan(parts):
        pass


def _without_nan(parts: Iterator[tuple[int, Array]]) -> Iterator[tuple[int, Array]]:
    """Pass slabs on; raise at the first with NaN."""
    for start, slab in parts:
        if _nan_count(slab):
            first = int(np.isnan(slab).any(axis=(1, 2)).argmax())
            count = _nan_count(slab[first])
            raise ParameterError(
                f"stack has {count} NaN pixels in slice {start + first}: "
                "nan_policy='omit' leaves them out, 'propagate' flags their slices"
            )
        yield start, slab


def _nan_count(image: Array) -> int:
    """Return the number of NaN pixels. The least value is NaN where there are any; it takes a quarter of the time."""
    if image.dtype.kind != "f" or not image.size or not np.isnan(image.min()):
        return 0
    return int(np.isnan(image).sum())


def find_reference(stack: Stack, reference: Any, mask: Any = None) -> battery.Reference:
    """Return a reference from an index or an image."""
    image, index = stack.find(reference)
    return battery.Reference(image, check_mask(mask, stack.shape[1:]), index)
