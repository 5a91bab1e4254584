"""r rounded for many pairs at once: the same float64 as pair by pair."""

import numpy as np
import pytest

from gpu_stackcorr import moments, nearest_correlation
from gpu_stackcorr.moments import IntegerSums

rng = np.random.default_rng(3)


def sums_of(weights, x, y):
    """Return exact sums of a pair of images that have pixel (x[i], y[i]) so many times."""
    triples = list(zip(*(map(int, values) for values in (weights, x, y)), strict=True))
    terms = [(w, w * a, w * b, w * a * a, w * b * b, w * a * b) for w, a, b in triples]
    return [sum(column) for column in zip(*terms, strict=True)]


def small():
    """Return a pair of few pixels: equal, opposite, constant, alike but for a pixel, or neither."""
    n, levels = int(rng.integers(2, 60)), int(rng.choice([2, 3, 256, 65536]))
    x, other = rng.integers(0, levels, (2, n))
    y = [x.copy(), levels - 1 - x, np.full(n, 7), other][rng.integers(4)]
    y[rng.integers(n)] = rng.integers(0, levels) if rng.random() < 0.3 else y[0]
    return sums_of(np.ones(n), x - (levels // 2 if rng.random() < 0.3 else 0), y)


def large():
    """Return a pair of as many pixels as int64 allows, most of them often of one value."""
    values = rng.integers(0, 65536, (2, 5))
    return sums_of(rng.multinomial(2**31 - 1, rng.dirichlet(np.full(5, rng.choice([0.01, 1.0])))), *values)


def both(rows):
    """Return r of all pairs at once, and pair by pair."""
    columns = list(zip(*rows, strict=True))
    return tuple(IntegerSums(*(np.array(c, kind) for c in columns)).correlation() for kind in (np.int64, object))


@pytest.mark.parametrize("pair", [small, large])
def test_as_pair_by_pair(pair):
    at_once, one_by_one = both([pair() for _ in range(2000)])
    np.testing.assert_array_equal(at_once, one_by_one)
    assert (np.abs(one_by_one) < 1).any()
    if pair is small:
        assert np.isnan(one_by_one).any()
        assert (one_by_one == 1).any()
        assert (one_by_one == -1).any()
        assert (one_by_one == 0).any()


def test_what_is_near_the_middle_is_left_to_python(monkeypatch):
    """With a wide margin every pair counts as near; the result stays."""
    left = []
    nearest = nearest_correlation.nearest
    monkeypatch.setattr(nearest_correlation, "nearest", lambda *sums: left.append(sums) or nearest(*sums))
    monkeypatch.setattr(nearest_correlation, "UNSURE", 1.0)
    at_once, one_by_one = both([large() for _ in range(200)])
    np.testing.assert_array_equal(at_once, one_by_one)
    assert len(left) > 150


def test_shape_is_kept():
    sums = [np.array(column, np.int64).reshape(20, 10) for column in zip(*(small() for _ in range(200)), strict=True)]
    assert sums[0].size > moments.MANY_PAIRS
    assert IntegerSums(*sums).correlation().shape == (20, 10)
