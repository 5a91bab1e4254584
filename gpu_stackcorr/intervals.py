"""How uncertain a correlation is: the standard error of ``atanh r`` and its degrees of freedom."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ParameterError
from .moments import Moments

METHODS = ("fisher", None)
"""The values of ``ci=``."""


class Uncertainty(NamedTuple):
    """Of the correlation of each pair: standard error of ``atanh r``, its degrees of freedom, the effective pixels."""

    standard_error: NDArray[np.float64]
    df: NDArray[np.float64]
    n_eff: NDArray[np.float64]


def check_method(ci: str | None) -> str | None:
    """Return `ci`, or raise ParameterError where it is not one of METHODS."""
    if ci not in METHODS:
        raise ParameterError(f"ci = {ci!r}: allowed are {', '.join(map(repr, METHODS))}")
    return ci


def uncertainty(moments: Moments, ci: str | None) -> Uncertainty:
    """Return the uncertainty of the correlations that `moments` give, by the method `ci`."""
    if ci is None:
        unknown = np.full(moments.count.shape, np.nan)
        return Uncertainty(unknown, unknown, unknown)
    return fisher(moments.count)


def fisher(count: NDArray[np.int64]) -> Uncertainty:
    """Return Fisher's standard error ``1 / sqrt(n - 3)``, which takes the n pixels as independent.

    Neighbouring pixels of a micrograph are not independent, and the interval is then far too narrow. Fewer than four
    pixels have an infinite standard error.

    R. A. Fisher, "On the 'probable error' of a coefficient of correlation deduced from a small sample", Metron 1
    (1921) 3-32.
    """
    with np.errstate(divide="ignore"):
        standard_error = np.where(count > 3, 1 / np.sqrt(np.maximum(count - 3.0, 0)), np.inf)
    return Uncertainty(standard_error, np.full(count.shape, np.inf), count.astype(np.float64))
