"""A synthetic EM-like stack whose correlation along z is known in closed form.

The grey value of a voxel is

    I = DARK + K(u) K(c) (CLEAR - ORGANELLE B(m) + TEXTURE v + TONE S(u)) + shot noise,  rounded to uint8,

where u (cells), c (compartments), m (organelles) and v (cytoplasm) are independent stationary Gaussian fields of mean 0
and variance 1, and

    K(x) = 1 - exp(-x^2 / (2 w^2))    closes on the zero level set of x: a dark membrane
    B(x) = Phi((x - t) / b)           opens above the level t: a dark organelle
    S(x) = 2 Phi(x / s) - 1           lighter on one side of a membrane than on the other

The fields being independent, the covariance of two slices is a sum of products of bivariate normal expectations, each
with a closed form (`_clear`, `_clear_and_signed`, `_organelles`). Shot noise and rounding are independent from slice to
slice and count in the variance only.

Within a slice a field is a periodic sum of Fourier modes with Gaussian amplitudes: white noise smoothed by a Gaussian,
with wrap-around, so that every pixel has the same distribution. Along z a mode passes twice through x' = rho x + input
with rho = exp(-1 / tau), hence

    r(d) = exp(-|d| / tau) (1 + |d| tanh(1 / tau)),

which is smooth enough for membranes to drift rather than to jump from slice to slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ParameterError
from .random_fields import check_seed

Floats = NDArray[np.float64]

SHORTEST_LENGTH = 1.0
LONGEST_LENGTH = 1e6

# Streams of random numbers: PURPOSE << 56 | field << 48 | z. Displacements are purpose 0, noise is purpose 1.
PURPOSE = 2
SHOT_NOISE = 4  # the "field" of the shot noise, after the four below

# Grey values; the lightest cytoplasm stays five standard deviations below 255.
DARK = 52.0
CLEAR = 112.0
ORGANELLE = 60.0
TEXTURE = 12.0
TONE = 12.0
SHOT_SD = 8.0

MEMBRANE_WIDTH = 0.095  # w
TONE_WIDTH = 0.15  # s
ORGANELLE_LEVEL = 1.5  # t
ORGANELLE_EDGE = 0.1  # b

# Modes beyond this many standard deviations of a field's spectrum (amplitude exp(-3.5^2 / 2) = 0.002) are left out.
SPECTRUM_CUT = 3.5


@dataclass(frozen=True)
class Field:
    """One Gaussian field: its stream, its smoothing in pixels, and its time constant as a share of the cells'."""

    number: int
    sigma: float
    share: float


CELLS = Field(0, 14.0, 1.0)
COMPARTMENTS = Field(1, 12.0, 1.0)
ORGANELLES = Field(2, 8.0, 0.7)
CYTOPLASM = Field(3, 1.7, 0.1)


def phantom(
    shape: Sequence[int] = (64, 256, 256), *, correlation_length: float = 12.0, seed: int = 0
) -> NDArray[np.uint8]:
    """Return a synthetic EM-like stack whose correlation along z is `phantom_correlation`.

    Dark membranes, dark organelles and granular cytoplasm on light ground, drifting from slice to slice, with shot
    noise. A slice depends on the seed, its z, and the sizes along y and x: a deeper stack begins with the same slices.
    It is periodic along y and x.

    Parameters
    ----------
    shape : three int
        Slices, rows, columns; each at least 1. Cells are some 50 pixels wide, so correlations measured on one stack
        scatter about the expected ones: by 0.04 for slices of 256 x 256, half of that for 512 x 512.
    correlation_length : float
        Distance in slices, 1 to 10^6, at which the expected correlation is 1/e.
    seed : int
        0 to 2^64 - 1.

    Returns
    -------
    (Z, Y, X) array of uint8

    Raises
    ------
    ParameterError
        For a shape, a length or a seed that is not allowed.

    Examples
    --------
    >>> stack = phantom((4, 64, 96), seed=7)
    >>> stack.shape, stack.dtype
    ((4, 64, 96), dtype('uint8'))
    >>> bool((phantom((2, 64, 96), seed=7) == stack[:2]).all())
    True
    """
    slices = phantom_slices(shape, correlation_length=correlation_length, seed=seed)
    stack = np.empty(_checked_shape(shape), np.uint8)
    for z, image in enumerate(slices):
        stack[z] = image
    return stack


def phantom_slices(
    shape: Sequence[int] = (64, 256, 256), *, correlation_length: float = 12.0, seed: int = 0
) -> Iterator[NDArray[np.uint8]]:
    """Yield the slices of `phantom` one at a time, in memory that does not grow with the number of slices.

    Parameters
    ----------
    shape, correlation_length, seed
        As for `phantom`.

    Yields
    ------
    (Y, X) array of uint8

    Raises
    ------
    ParameterError
        At the call, for a shape, a length or a seed that is not allowed.

    Examples
    --------
    >>> [image.shape for image in phantom_slices((2, 32, 48))]
    [(32, 48), (32, 48)]
    """
    depth, rows, columns = _checked_shape(shape)
    tau = _time_constant(_checked_length(correlation_length))
    return _slices(depth, (rows, columns), tau, check_seed(seed))


def phantom_correlation(distance: ArrayLike, *, correlation_length: float = 12.0) -> Floats:
    """Return the expected correlation of two slices of `phantom`.

    It is the covariance of a pixel with the pixel at the same place `distance` slices away over the variance, both
    over all seeds (formulas at the head of the module). It is 1 at distance 0, drops by the share of shot noise and
    rounding, and then falls smoothly; at `correlation_length` it is 1/e.

    Parameters
    ----------
    distance : array_like
        Distances along z in slices, of any shape; the sign does not matter.
    correlation_length : float
        As for `phantom`.

    Returns
    -------
    array of float64
        Of the shape of `distance`.

    Raises
    ------
    ParameterError
        For a distance that is not finite, or a length that is not allowed.

    Examples
    --------
    >>> phantom_correlation([0, 12, 24], correlation_length=12).round(3).tolist()
    [1.0, 0.368, 0.189]
    """
    away = np.asarray(distance)
    if away.dtype.kind not in "iuf" or not np.isfinite(away).all():
        raise ParameterError(f"distance = {distance!r}: allowed are finite numbers")
    return _correlation(np.abs(away.astype(np.float64)), _time_constant(_checked_length(correlation_length)))


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return `shape` as three ints, or raise ParameterError."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list, np.ndarray)) else ()
    fair = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1 for n in sizes)
    if len(sizes) != 3 or not fair:
        raise ParameterError(f"shape = {shape!r}: allowed are three integers (z, y, x), each at least 1")
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _checked_length(length: float) -> float:
    """Return `length` as a float, or raise ParameterError."""
    number = isinstance(length, (int, float, np.integer, np.floating)) and not isinstance(length, bool)
    if not number or not SHORTEST_LENGTH <= length <= LONGEST_LENGTH:
        raise ParameterError(f"correlation_length = {length!r}: allowed are 1 to 1000000 slices")
    return float(length)


# What is expected.


def _field_correlation(distance: Floats, tau: float) -> Floats:
    """Return r(d) of a field: autocorrelation of a double pole at exp(-1 / tau)."""
    return np.exp(-distance / tau) * (1 + distance * math.tanh(1 / tau))


def _clear(r: Floats) -> Floats:
    """Return E[K(x) K(y)] of standard normal x, y of correlation r: Gaussian integrals 1/sqrt(det(1 + S / w^2))."""
    a = 1 / MEMBRANE_WIDTH**2
    return 1 - 2 / math.sqrt(1 + a) + 1 / np.sqrt((1 + a) ** 2 - (a * r) ** 2)


def _clear_and_signed(r: Floats) -> Floats:
    """Return E[K(x) S(x) K(y) S(y)] of standard normal x, y of correlation r.

    A factor exp(-x^2 / (2 w^2)) turns the normal density into another one, of smaller variance and mass below 1. For
    variances p, q and covariance c, E[S(x) S(y)] is 2/pi asin(c / sqrt((s^2 + p) (s^2 + q))).
    """
    a = 1 / MEMBRANE_WIDTH**2
    s2 = TONE_WIDTH**2
    det = (1 + a) ** 2 - (a * r) ** 2
    neither = np.arcsin(r / (s2 + 1))
    one = np.arcsin(r / (1 + a) / np.sqrt((s2 + 1 / (1 + a)) * (s2 + 1 - r * r * a / (1 + a)))) / math.sqrt(1 + a)
    both = np.arcsin(r / det / (s2 + (1 + a * (1 - r * r)) / det)) / np.sqrt(det)
    return np.asarray(2 / math.pi * (neither - 2 * one + both), np.float64)


def _organelles(r: Floats) -> tuple[float, Floats]:
    """Return E[B(x)] and E[B(x) B(y)] of standard normal x, y of correlation r, by Owen's T (Owen 1956, 2.1)."""
    from scipy.special import ndtr, owens_t

    spread = 1 + ORGANELLE_EDGE**2
    h = -ORGANELLE_LEVEL / math.sqrt(spread)
    mean = float(ndtr(h))
    return mean, np.asarray(mean - 2 * owens_t(h, np.sqrt((spread - r) / (spread + r))), np.float64)


def _moments(distance: Floats, tau: float) -> tuple[float, Floats]:
    """Return the mean above DARK, and the covariance at `distance` of everything but shot noise and rounding."""
    cells, compartments, organelles, cytoplasm = (
        _field_correlation(distance, tau * f.share) for f in (CELLS, COMPARTMENTS, ORGANELLES, CYTOPLASM)
    )
    dark, both_dark = _organelles(organelles)
    ground = CLEAR**2 - 2 * CLEAR * ORGANELLE * dark + ORGANELLE**2 * both_dark
    inside = _clear(cells) * (ground + TEXTURE**2 * cytoplasm) + TONE**2 * _clear_and_signed(cells)
    clear = 1 - 1 / math.sqrt(1 + 1 / MEMBRANE_WIDTH**2)
    mean = clear * clear * (CLEAR - ORGANELLE * dark)
    return mean, _clear(compartments) * inside - mean * mean


def _correlation(distance: Floats, tau: float) -> Floats:
    """Return the correlation of slices `distance` >= 0 apart."""
    signal = _moments(np.zeros(()), tau)[1]
    curve = _moments(distance, tau)[1] / (signal + SHOT_SD**2 + 1 / 12)
    return np.where(distance == 0, 1.0, curve)


def _time_constant(length: float) -> float:
    """Return the cells' time constant tau for which the correlation at `length` is 1/e: it rises with tau."""
    from scipy.optimize import brentq

    def excess(log_tau: float) -> float:
        return float(_correlation(np.asarray(length), math.exp(log_tau))) - math.exp(-1)

    middle = math.log(length)
    return math.exp(brentq(excess, middle - 7, middle + 7, xtol=1e-15, rtol=1e-15))


# What is drawn.


def _bits(seed: int, field: int, z: int) -> np.random.Philox:
    """Return the stream of random bits of a field on slice z."""
    return np.random.Philox(key=np.array([seed, PURPOSE << 56 | field << 48 | z], np.uint64))


def _normal(seed: int, field: int, z: int, shape: tuple[int, ...]) -> Floats:
    """Return standard normal numbers by Box-Muller, as the package defines them (NumPy may change its own way)."""
    pairs = np.random.Generator(_bits(seed, field, z)).random((*shape, 2))
    return np.asarray(np.sqrt(-2 * np.log1p(-pairs[..., 0])) * np.cos(2 * np.pi * pairs[..., 1]), np.float64)


def _shot_noise(seed: int, z: int, shape: tuple[int, int]) -> Floats:
    """Return noise of mean 0 and standard deviation SHOT_SD: sums of four 16-bit integers.

    It ends at 3.46 standard deviations, 28 grey values, and so leaves membranes above 0; Box-Muller takes three times
    as long (18 ms against 6 ms for 512 x 512).
    """
    words = _bits(seed, SHOT_NOISE, z).random_raw(shape)
    low = np.uint64(0xFFFF)
    total = (words & low) + (words >> np.uint64(16) & low) + (words >> np.uint64(32) & low) + (words >> np.uint64(48))
    return np.asarray((total - 2.0 * 0xFFFF) * (SHOT_SD / math.sqrt((2.0**32 - 1) / 3)), np.float64)


def _modes(size: int, sigma: float) -> Floats:
    """Return the amplitudes of the modes 0..k, -k..-1 of one axis, their squares summing to size^2 / (2k + 1)."""
    most = min((size - 1) // 2, math.ceil(SPECTRUM_CUT * size / (2 * math.pi * sigma)))
    k = np.concatenate([np.arange(most + 1), np.arange(-most, 0)])
    amplitude = np.exp(-0.5 * (2 * np.pi * sigma / size * k) ** 2)
    return np.asarray(amplitude * size / math.sqrt(k.size * (amplitude**2).sum()), np.float64)


def _shaped(white: Floats, modes: tuple[Floats, Floats], shape: tuple[int, int]) -> Floats:
    """Return the periodic image of `shape` that has the spectrum of `white`, one value a mode, times the amplitudes."""
    half = white.shape[1] // 2 + 1
    few = np.fft.rfft2(white) * modes[0][:, None] * modes[1][:half]
    top = white.shape[0] // 2 + 1
    spectrum = np.zeros((shape[0], half), np.complex128)
    spectrum[:top] = few[:top]
    spectrum[shape[0] - (white.shape[0] - top) :] = few[top:]
    return np.fft.irfft(np.fft.ifft(spectrum, axis=0), n=shape[1], axis=1)


def _field_slices(field: Field, depth: int, shape: tuple[int, int], tau: float, seed: int) -> Iterator[Floats]:
    """Yield a field of unit variance slice by slice.

    x' = rho x + y', y' = rho y + innovation. Its first state is drawn from the stationary distribution, in which y
    given x has the mean x tanh(1/tau) and the standard deviation rho tanh(1/tau).
    """
    modes = (_modes(shape[0], field.sigma), _modes(shape[1], field.sigma))
    size = (modes[0].size, modes[1].size)
    tau = tau * field.share
    rho = math.exp(-1 / tau)
    innovation = math.sqrt((-math.expm1(-2 / tau)) ** 3 / (1 + rho * rho))
    x, y = _normal(seed, field.number, 0, (2, *size))
    y = math.tanh(1 / tau) * (x + rho * y)
    yield _shaped(x, modes, shape)
    for z in range(1, depth):
        y = rho * y + innovation * _normal(seed, field.number, z, size)
        x = rho * x + y
        yield _shaped(x, modes, shape)


def _slices(depth: int, shape: tuple[int, int], tau: float, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the grey values slice by slice."""
    from scipy.special import ndtr

    def clear(x: Floats) -> Floats:
        return np.asarray(-np.expm1(-0.5 * (x / MEMBRANE_WIDTH) ** 2), np.float64)

    fields = [_field_slices(f, depth, shape, tau, seed) for f in (CELLS, COMPARTMENTS, ORGANELLES, CYTOPLASM)]
    for z, (u, c, m, v) in enumerate(zip(*fields, strict=True)):
        inside = CLEAR + TEXTURE * v + TONE * (2 * ndtr(u / TONE_WIDTH) - 1)
        inside -= ORGANELLE * ndtr((m - ORGANELLE_LEVEL) / ORGANELLE_EDGE)
        grey = DARK + clear(u) * clear(c) * inside + _shot_noise(seed, z, shape)
        yield np.clip(np.rint(grey), 0, 255).astype(np.uint8)
