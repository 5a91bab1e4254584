"""Intervals hold as often as they promise, on few and small images; the whole study is ``python -m bench.coverage``."""

from __future__ import annotations

import csv
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from gpu_stackcorr import image_correlation

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "bench" / "coverage.py").exists():
    pytest.skip("no bench/ beside tests/", allow_module_level=True)

from bench import coverage, coverage_output, fields  # noqa: E402

SIMULATIONS = 400
"""Of each cell: 95 % has a standard error of 1.1 % there, 91 and 99 % are more than 3.5 of them away."""

EXPONENTIAL = coverage.Case("exponential 3", "test", 128, (0.0, 0.7), partial(coverage.gaussian, "exponential", 3))
GAUSSIAN = coverage.Case("gaussian 4", "test", 128, (0.3, 0.95), partial(coverage.gaussian, "gaussian", 4))
MEMBRANES = coverage.Case("membranes", "test", 128, (0.69,), partial(coverage.membranes, 5, coverage.MEMBRANE_WIDTH))


# The generator.


@pytest.mark.parametrize("kind", fields.KINDS)
@pytest.mark.parametrize("length", [2, 7.5])
def test_fields_have_their_autocorrelation(kind: str, length: float) -> None:
    assert fields.autocorrelation(kind, length, np.array([0.0, length])).tolist() == pytest.approx([1, math.exp(-1)])
    rng = np.random.default_rng(0)
    lags = [(0, 0), (0, 1), (3, 0), (3, 4), (0, 15)]
    found = np.zeros((2, len(lags)))
    means = []
    for _ in range(50):
        for n, field in enumerate(fields.gaussian_pair(rng, kind, length, 120)):
            means.append(field.mean())
            for k, (y, x) in enumerate(lags):
                found[n, k] += (field[: 120 - y, : 120 - x] * field[y:, x:]).mean() / 50
    expected = fields.autocorrelation(kind, length, np.array([math.hypot(*lag) for lag in lags]))
    # n_eff of 50 images is above 50 * 120^2 / (4 pi 7.5^2) = 1000: a standard error of 0.03 at most.
    np.testing.assert_allclose(found, [expected, expected], atol=0.1 if length > 5 else 0.03)
    assert abs(np.mean(means)) < 0.05


def test_images_are_not_periodic_and_not_correlated() -> None:
    rng = np.random.default_rng(1)
    edges, pairs = [], []
    for _ in range(200):
        a, b = fields.gaussian_pair(rng, "gaussian", 5, 40)
        edges.append((a[0] * a[-1]).mean())
        pairs.append((a * b).mean())
    assert abs(np.mean(edges)) < 4 * np.std(edges) / math.sqrt(200)
    assert abs(np.mean(pairs)) < 4 * np.std(pairs) / math.sqrt(200)
    assert np.std(edges) > 0.1


@pytest.mark.parametrize("width", [0.3, 1.0])
@pytest.mark.parametrize("rho", [0.0, 0.31, 0.69, 1.0])
def test_membranes_have_their_correlation(rho: float, width: float) -> None:
    q = fields.membrane_underlying(rho, width)
    assert fields.membrane_correlation(q, width) == pytest.approx(rho, abs=1e-12)
    if rho == 1:
        assert q == pytest.approx(1)
        return
    density = scipy.stats.multivariate_normal([0, 0], [[1, q], [q, 1]]).pdf
    grid = np.linspace(-6, 6, 1201)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    g = fields.membrane(grid, width)
    weight = density(np.dstack([y, x]))
    product = scipy.integrate.simpson(scipy.integrate.simpson(weight * g[:, np.newaxis] * g, x=grid), x=grid)
    normal = scipy.stats.norm.pdf(grid)
    mean, square = (scipy.integrate.simpson(normal * g**power, x=grid) for power in (1, 2))
    assert (product - mean**2) / (square - mean**2) == pytest.approx(rho, abs=1e-6)


def test_log_normal_images_have_their_correlation() -> None:
    a, b = np.random.default_rng(2).standard_normal((2, 10**6))
    q = fields.lognormal_underlying(0.5, 0.6)
    u, v = fields.lognormal(a, 0.6), fields.lognormal(fields.mix(a, b, q), 0.6)
    assert np.corrcoef(u, v)[0, 1] == pytest.approx(0.5, abs=0.005)


# The study.


@pytest.mark.parametrize("case", [EXPONENTIAL, GAUSSIAN], ids=lambda case: case.name)
def test_tiles_keep_what_they_promise(case: coverage.Case) -> None:
    counts = coverage.simulate(case, 0, SIMULATIONS)
    kept = 100 * counts.kept["tiles"].mean(axis=0)
    assert counts.kept["tiles"].shape == (SIMULATIONS, len(case.rhos))
    assert (kept >= 91).all(), kept
    assert (kept <= 99).all(), kept
    assert (100 * counts.kept["fisher"].mean(axis=0) < 60).all()
    assert counts.saturated.mean() < 0.05


def test_effective_fails_on_membranes_where_tiles_hold() -> None:
    counts = coverage.simulate(MEMBRANES, 0, SIMULATIONS, effective=200)
    assert 91 <= 100 * counts.kept["tiles"].mean() <= 99
    assert 100 * np.nanmean(counts.kept["effective"]) < 85
    assert np.isnan(counts.kept["effective"]).sum() == SIMULATIONS - 200


def test_a_simulation_is_its_number_whoever_computes_it() -> None:
    small = [coverage.Case(case.name, "test", 32, case.rhos, case.pair) for case in (EXPONENTIAL, GAUSSIAN)]
    several = dict(coverage.study(small, 45, effective=1, processes=2))
    for case in small:
        alone = coverage.simulate(case, 0, 45, effective=256)
        for method in coverage.METHODS:
            np.testing.assert_array_equal(several[case].kept[method], alone.kept[method], err_msg=method)
            np.testing.assert_array_equal(several[case].width[method], alone.width[method], err_msg=method)
        later = coverage.simulate(case, 40, 45)
        np.testing.assert_array_equal(later.width["tiles"], alone.width["tiles"][40:])
    other = coverage.simulate(small[0], 0, 5, seed=1)
    assert (other.width["tiles"] != alone.width["tiles"][:5]).any()


@pytest.mark.parametrize("method", coverage.METHODS)
def test_the_study_measures_what_users_get(method: str) -> None:
    u, v = EXPONENTIAL.pair(np.random.default_rng(3), 64, (0.3, 0.8))
    counts = coverage.measure(u, v, np.array([0.3, 0.8]), effective=True)
    for k, rho in enumerate((0.3, 0.8)):
        low, high = image_correlation(u, v[k], ci=method).confidence_interval(coverage.LEVEL)
        assert counts.width[method][0, k] == pytest.approx(high - low, rel=1e-9)
        assert counts.kept[method][0, k] == (low <= rho <= high)


def test_crops_of_a_stack_are_held_against_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    # Slices of white noise that share a part: r is 0.5 at every depth.
    common = rng.standard_normal((144, 160))
    stack = common + rng.standard_normal((6, *common.shape))
    np.save(tmp_path / "noise.npy", stack)
    counts = coverage.crops_of(str(tmp_path / "noise.npy"), 64, 2)
    assert counts.kept["tiles"].shape == (4 * 4, 1)  # the pairs (0, 2) to (3, 5), four crops each
    assert counts.kept["fisher"].mean() > 0.7
    assert counts.kept["tiles"].mean() > 0.7
    rows = list(coverage.real([str(tmp_path / "noise.npy")], 1))
    assert [row["case"] for part in rows for row in part if row["method"] == "tiles"] == [
        f"noise, crops of 64, depth {depth}" for depth in (1, 2, 3)
    ]


def test_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    few = [
        coverage.Case("exponential 2", "stationary Gaussian fields", 32, (0.0, 0.7), EXPONENTIAL.pair),
        coverage.Case("membrane-like", "harder", 32, (0.31, 0.69), MEMBRANES.pair),
    ]
    monkeypatch.setattr(coverage, "cases", lambda: few)
    coverage.main(["--simulations", "8", "--effective", "1", "--processes", "1", "--output", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "coverage.csv", "coverage.json", "coverage.md", "coverage.png"
    ]  # fmt: skip
    record = json.loads((tmp_path / "coverage.json").read_text())
    with (tmp_path / "coverage.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(record["table"]) == 2 * 2 * 3
    assert {row["simulations"] for row in rows} == {"8"}
    first = rows[2]
    assert (first["method"], first["rho"], first["size"]) == ("tiles", "0.0", "32")
    share = float(first["coverage"]) / 100
    assert float(first["standard_error"]) == pytest.approx(100 * math.sqrt(share * (1 - share) / 8), abs=0.006)
    assert record["settings"]["seed"] == coverage.SEED
    text = (tmp_path / "coverage.md").read_text(encoding="utf-8")
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert text.count("| exponential 2 |") == 2
    assert (tmp_path / "coverage.png").read_bytes().startswith(b"\x89PNG")


def test_verdicts_by_hand() -> None:
    def row(group: str, case: str, rho: float, method: str, kept: float) -> coverage_output.Row:
        return {"group": group, "case": case, "rho": rho, "method": method, "coverage": kept}

    gaussian = "stationary Gaussian fields"
    table = [row(gaussian, "a", 0.0, "tiles", 92.4), row(gaussian, "a", 0.3, "tiles", 97.0)]
    table += [row(gaussian, "a", 0.0, "fisher", 5.0), row("harder", "membrane-like", 0.31, "tiles", 50.0)]
    table += [row("harder", "membrane-like", 0.69, "tiles", 92.0)]
    table += [row("harder", "membrane-like", 0.69, "effective", 85.1)]
    assert [(value, met) for _, value, met in coverage_output.verdicts(table)] == [
        ("92.4 to 97.0", False), ("94.7", True), ("92.0", True), ("85.1", False)
    ]  # fmt: skip
