"""NIST's Statistical Reference Datasets for univariate statistics, and Norris for linear regression, through `moments`.

NumAcc1 to 4 and PiDigits are built from their definitions, the measured sets stand in known_answers/nist.txt. Digits
are the log relative error, at most 15. For NumAcc3 and 4 the data themselves, rounded to float64, are what limits the
standard deviation. https://www.itl.nist.gov/div898/strd/
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest

from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.moments import Moments


@dataclass(frozen=True)
class DataSet:
    """A set with its certified values and the digits to expect of each."""

    values: list[float]
    mean: str
    sd: str
    lag_1: str
    sd_digits: float
    lag_1_digits: float


def alternating(first: str, low: str, high: str) -> list[float]:
    """Return one value and 500 pairs of two others: 1001 in all."""
    return [float(first)] + [float(low), float(high)] * 500


def published() -> dict[str, list[float]]:
    """Return the sets of known_answers/nist.txt."""
    sets: dict[str, list[float]] = {}
    for line in (Path(__file__).parent / "known_answers" / "nist.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            values = sets.setdefault(line.strip("[]"), [])
        elif not line.startswith("#"):
            values += map(float, line.split())
    return sets


def digits_of_pi(count: int) -> list[float]:
    """Return the first digits of pi by Machin's formula, pi / 4 = 4 arctan(1 / 5) - arctan(1 / 239).

    NIST's file has 3 as the 957th, where pi has 8, and its certified values are those of the file.
    """
    one = 10 ** (count + 10)

    def arctan(inverse: int) -> int:
        term, total, n = one // inverse, 0, 0
        while term:
            total += -term // (2 * n + 1) if n % 2 else term // (2 * n + 1)
            term, n = term // (inverse * inverse), n + 1
        return total

    whole = 4 * (4 * arctan(5) - arctan(239)) // 10**11
    digits: list[int] = []
    while whole:
        whole, digit = divmod(whole, 10)
        digits.append(digit)
    digits.reverse()
    assert digits[956] == 8
    digits[956] = 3
    return list(map(float, digits))


PUBLISHED = published()

SETS = {
    "NumAcc1": DataSet([10000001.0, 10000003.0, 10000002.0], "10000002", "1", "-0.5", 15, 15),
    "NumAcc2": DataSet(alternating("1.2", "1.1", "1.3"), "1.2", "0.1", "-0.999", 15, 14.5),
    "NumAcc3": DataSet(
        alternating("1000000.2", "1000000.1", "1000000.3"), "1000000.2", "0.1", "-0.999", 9.4, 11.5
    ),
    "NumAcc4": DataSet(
        alternating("10000000.2", "10000000.1", "10000000.3"), "10000000.2", "0.1", "-0.999", 8.2, 10.5
    ),
    "Lew": DataSet(PUBLISHED["Lew"], "-177.435", "277.332168044316", "-0.307304800605679", 15, 14),
    "Lottery": DataSet(PUBLISHED["Lottery"], "518.958715596330", "291.699727470969", "-0.120948622967393", 15, 14),
    "Mavro": DataSet(PUBLISHED["Mavro"], "2.001856", "0.000429123454003053", "0.937989183438248", 13, 13),
    "Michelso": DataSet(PUBLISHED["Michelso"], "299.8524", "0.0790105478190518", "0.535199668621283", 13, 13),
    "PiDigits": DataSet(digits_of_pi(5000), "4.5348", "2.86733906028871", "-0.00355099287237972", 15, 13),
}  # fmt: skip


def digits(value: float, certified: str) -> float:
    """Return the log relative error of a value, at most 15."""
    error = abs(Decimal(value) - Decimal(certified)) / abs(Decimal(certified))
    return 15 if error < Decimal("1e-15") else float(-error.log10())


def shapes(n: int) -> list[tuple[int, int]]:
    return [(1, n), (n, 1)] + [(7, 143)] * (n == 1001)


def own_moments(backend: Backend, values: list[float], shape: tuple[int, int]) -> Moments:
    """Return the moments of a set with itself."""
    image = np.array(values).reshape(shape)
    return backend.moments([image], image[np.newaxis])[0]


def sd_of(sum_of_squares: float, n: int) -> float:
    return float(np.sqrt(sum_of_squares / (n - 1)))


@pytest.mark.parametrize("name", SETS)
def test_the_sets_are_as_defined(name: str) -> None:
    values = SETS[name].values
    decimals = [Decimal(repr(value)) for value in values]
    mean = sum(decimals) / len(decimals)
    with localcontext() as context:
        context.prec = 40
        sd = (sum((value - mean) ** 2 for value in decimals) / (len(decimals) - 1)).sqrt()
    for value, certified in ((mean, Decimal(SETS[name].mean)), (sd, Decimal(SETS[name].sd))):
        assert value.quantize(certified) == certified


@pytest.mark.parametrize("name", SETS)
def test_mean_and_standard_deviation(backend: Backend, name: str) -> None:
    what = SETS[name]
    n = len(what.values)
    for shape in shapes(n):
        moments = own_moments(backend, what.values, shape)
        for mean, squares in ((moments.mean_x, moments.ss_x), (moments.mean_y, moments.ss_y)):
            assert digits(float(mean[0]), what.mean) == 15
            assert digits(sd_of(squares[0], n), what.sd) >= what.sd_digits
        assert moments.correlation().tolist() == [1.0]


@pytest.mark.parametrize("name", SETS)
def test_parts_and_cells_keep_the_digits(backend: Backend, name: str) -> None:
    what = SETS[name]
    n = len(what.values)
    image = np.array(what.values)[np.newaxis]
    edges = np.array([0, 1]), np.unique(np.array([0, 1, n // 3, n // 2, n]))
    cells = backend.moments([image], image[np.newaxis], tiles=edges)[0].cells
    assert cells is not None
    parts = [backend.moments([image[:, a:b]], image[None, :, a:b])[0] for a, b in ((0, 1), (1, n // 2), (n // 2, n))]
    for merged in (cells.reshape(1, -1).total(), parts[0].merge(parts[1]).merge(parts[2])):
        assert digits(float(merged.mean_x[0]), what.mean) == 15
        # Means of parts are rounded; their differences keep these digits of the standard deviation.
        assert digits(sd_of(merged.ss_x[0], n), what.sd) >= min(what.sd_digits - 0.3, 14.5)


@pytest.mark.parametrize("name", SETS)
def test_lag_1_autocorrelation(backend: Backend, name: str) -> None:
    # Certified: sum (x_i - m)(x_i+1 - m) over sum (x_i - m)^2, m the mean of all; moved there from the means of both.
    what = SETS[name]
    whole = own_moments(backend, what.values, (1, len(what.values)))
    image = np.array(what.values)[np.newaxis]
    (pair,) = backend.moments([image[:, :-1]], image[np.newaxis, :, 1:])
    apart = (pair.mean_x - whole.mean_x) * (pair.mean_y - whole.mean_x)
    lag_1 = (pair.ss_xy + pair.count * apart) / whole.ss_x
    assert digits(float(lag_1[0]), what.lag_1) >= what.lag_1_digits


def test_r_squared_of_norris(backend: Backend) -> None:
    x, y = (np.array(PUBLISHED[f"Norris {name}"])[np.newaxis] for name in "xy")
    (pair,) = backend.moments([x], y[np.newaxis])
    assert digits(float(pair.correlation()[0]) ** 2, "0.999993745883712") >= 14.5
    slope = float(pair.ss_xy[0] / pair.ss_x[0])
    assert digits(slope, "1.00211681802045") >= 14
