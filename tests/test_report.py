"""What a report computes, and the folder that it writes: its files, and what an error or an interrupt leaves there."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom_report import FIXTURES, LABELS, OPTIONS, SHAPE, known, rows, stored

from gpu_stackcorr.errors import ParameterError, VolumeError
from gpu_stackcorr.pipeline import Cost
from gpu_stackcorr.report import OWN_FILES, analyse, figures, output, page, pairs, write_report

stack, volume, analysis, written = FIXTURES


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


# What is computed.


def test_analysis_has_the_curves_of_the_notebook(analysis, stack):
    assert list(analysis.battery) == LABELS
    r = [np.corrcoef(stack[0].ravel(), image.ravel())[0, 1] for image in stack]
    np.testing.assert_allclose(analysis.identity.statistic, r, atol=1e-12)
    assert [result.transform for result in analysis.flips] == ["flip_right_left", "flip_up_down"]
    assert analysis.elastic is analysis.battery["elastic(20, 3)"]
    assert list(analysis.noise) == [0, 1, 2, 3, 4]
    assert analysis.noise[0] is analysis.identity


def test_depth_is_where_r_first_falls_below_1_over_e(analysis):
    r = analysis.identity.statistic
    first = int(np.flatnonzero(r < 1 / math.e)[0])
    depth = analysis.depths["identity"]
    assert depth.first_below == first
    assert depth.statistic == pytest.approx(first - 1 + (r[first - 1] - 1 / math.e) / (r[first - 1] - r[first]))
    assert depth.nm == pytest.approx(40 * depth.statistic)


def test_facts_of_file_and_reference(volume, stack):
    analysis = analyse(volume, replace(OPTIONS, reference=-1, elastic=False, noise=(2,)))
    assert (analysis.file.name, analysis.file.shape, analysis.file.dtype) == ("stack.npy", SHAPE, "uint8")
    assert analysis.file.voxel_size == (40.0, 4.0, 4.0)
    assert analysis.index == SHAPE[0] - 1
    np.testing.assert_array_equal(analysis.reference, stack[-1])
    assert (analysis.grey.minimum, analysis.grey.maximum) == (stack[-1].min(), stack[-1].max())
    assert analysis.grey.standard_deviation == pytest.approx(stack[-1].std())
    assert list(analysis.battery) == ["identity", "flip_right_left", "flip_up_down", "noise 2"]
    assert analysis.elastic is None
    assert list(analysis.noise) == [2]


def test_progress_counts_the_slices(volume):
    seen = []
    analyse(volume, replace(OPTIONS, elastic=False, noise=()), progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (SHAPE[0], SHAPE[0])


def test_a_seed_is_drawn_and_told(volume):
    options = replace(OPTIONS, seed=None, elastic=False, noise=(1,))
    first, second = analyse(volume, options), analyse(volume, options)
    assert first.computed.seed != second.computed.seed
    again = analyse(volume, replace(options, seed=first.computed.seed))
    np.testing.assert_array_equal(again.noise[1].statistic, first.noise[1].statistic)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": 99}, "99"),
        ({"alpha": -1.0}, "alpha"),
        ({"sigma": -1.0}, "sigma"),
        ({"noise": (-1.0,)}, "noise"),
        ({"confidence_level": 1.0}, "confidence_level"),
        ({"backend": "abacus"}, "abacus"),
        ({"seed": -1}, "seed"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(volume, tmp_path, change, message):
    with pytest.raises(ParameterError, match=message) as caught:
        write_report(volume, tmp_path / "a" / "b", replace(OPTIONS, **change))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_cost_of_all_pairs_grows_with_them(volume, tmp_path):
    cost = pairs.estimate_all(volume, OPTIONS)
    assert cost.seconds > 0
    assert cost.memory >= SHAPE[0] * SHAPE[1] * SHAPE[2]
    assert pairs.estimate_all(volume, replace(OPTIONS, pairs=False)) == Cost(0.0, 0)
    with stored(tmp_path, np.zeros((3, 40, 56), np.uint8)) as few:
        assert pairs.estimate_all(few, OPTIONS) == Cost(0.0, 0)
    with stored(tmp_path, np.zeros((9, 40, 56), np.float32), "constant.npy") as constant:
        assert pairs.estimate_all(constant, OPTIONS).seconds > 0


# What is written.


def test_the_folder_holds_every_file_and_no_other(written):
    assert set(files(written)) == set(OWN_FILES)
    assert [p.name for p in written.parent.iterdir()] == ["out"]


def test_tables(written, analysis):
    correlations = rows(written / "tables" / "correlations.csv")
    assert len(correlations) == len(LABELS) * SHAPE[0]
    assert {row["transform"] for row in correlations} == {
        "identity", "flip_right_left", "flip_up_down", "elastic(20, 3)",
    }  # fmt: skip
    assert [float(row["r"]) for row in correlations[: SHAPE[0]]] == analysis.identity.statistic.tolist()
    assert correlations[3]["distance_nm"] == "120.0"

    depths = rows(written / "tables" / "depths.csv")
    assert len(depths) == len(LABELS)
    assert float(depths[0]["depth"]) == analysis.depths["identity"].statistic

    noise = rows(written / "tables" / "noise.csv")
    assert [round(float(row["expected"]), 3) for row in noise] == [1, 0.707, 0.447, 0.316, 0.243]
    assert all(float(row["low"]) <= float(row["expected"]) <= float(row["high"]) for row in noise)

    grids = rows(written / "tables" / "grids.csv")
    assert [(float(row["alpha"]), float(row["sigma"])) for row in grids] == [(50, 10), (250, 5), (250, 10)]
    assert list(map(float, [row["fraction_folded"] for row in grids])) == [
        g.folds.fraction_folded for g in analysis.grids
    ]

    expected = rows(written / "tables" / "expected.csv")
    assert [float(row["expected"]) for row in expected] == known(np.arange(SHAPE[0])).tolist()


def test_results_json(written, analysis):
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    assert list(results) == [
        "format", "file", "reference_slice", "options", "curves", "depths", "shifted", "pairs", "noise_at_0",
        "grids", "expected", "flagged", "computed",
    ]  # fmt: skip
    assert results["file"]["shape"] == list(SHAPE)
    assert results["file"]["voxel_size_nm"] == [40, 4, 4]
    assert results["options"]["seed"] == results["computed"]["seed"] == 7
    assert list(results["curves"]) == list(results["depths"]) == LABELS
    assert results["curves"]["identity"]["r"] == analysis.identity.statistic.tolist()
    assert results["flagged"] == {"constant": [], "nan": []}
    assert results["computed"]["versions"]["numpy"] == np.__version__


def test_the_same_seed_repeats_tables_and_figures_to_the_byte(volume, written, tmp_path):
    write_report(volume, tmp_path / "out", replace(OPTIONS, threads=3, memory=2**26), expected=known)
    first, second = files(written), files(tmp_path / "out")
    for name in OWN_FILES:
        if name.startswith(("tables", "figures")):
            assert first[name] == second[name], name


def test_another_seed_changes_what_is_random_and_nothing_else(volume, analysis):
    other = analyse(volume, replace(OPTIONS, seed=8))
    for label in LABELS:
        same = np.array_equal(other.battery[label].statistic, analysis.battery[label].statistic)
        assert same == (label in LABELS[:3]), label


def test_what_does_not_apply_is_left_out_and_the_users_files_stay(volume, tmp_path):
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "mine.png").write_bytes(b"mine")
    (out / "notes.txt").write_text("mine")
    (out / "figures" / "elastic.png").write_bytes(b"of a former run")
    (out / "report.html").write_text("of a former run")
    write_report(volume, out, replace(OPTIONS, elastic=False, noise=(), max_shift=None))
    found = files(out)
    left_out = {"figures/elastic", "figures/noise", "figures/noise_panels", "tables/expected", "tables/shifted"}
    expected = {name for name in OWN_FILES if name.rpartition(".")[0] not in left_out}
    assert set(found) == expected | {"notes.txt", "figures/mine.png"}
    assert found["figures/mine.png"] == b"mine"
    assert b"<!DOCTYPE html>" in found["report.html"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("exists", [True, False])
def test_an_interrupt_leaves_everything_as_it_was(volume, tmp_path, error, exists):
    out = tmp_path / "a" / "out"
    if exists:
        out.mkdir(parents=True)
        (out / "report.html").write_text("of a former run")
    before = files(tmp_path)

    def interrupt(done, every):
        raise error

    with pytest.raises(error):
        write_report(volume, out, OPTIONS, progress=interrupt)
    assert files(tmp_path) == before
    assert [p.name for p in out.iterdir()] == ["report.html"] if exists else list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_nothing(volume, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "draw_figures", lambda _: {})
    monkeypatch.setattr(page, "render", fail)
    with pytest.raises(VolumeError, match=r"cannot write to '.*out': No space left on device"):
        write_report(volume, tmp_path / "out", replace(OPTIONS, elastic=False, noise=()))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_before_the_work(volume, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the work had begun")

    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(VolumeError, match="cannot write to") as caught:
            write_report(volume, out, OPTIONS, progress=never)
        assert "\n" not in str(caught.value)

    def forbidden(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(VolumeError, match="Permission denied"):
        write_report(volume, tmp_path / "out", OPTIONS, progress=never)
    assert files(tmp_path) == {"file": b"mine"}


def test_a_file_in_the_way_of_a_folder_leaves_the_rest_alone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "figures").write_text("mine")

    def write():
        with output.staged(out, ()) as staging:
            (staging / "figures").mkdir()
            (staging / "figures" / "a.png").write_bytes(b"a")
            (staging / "b.csv").write_bytes(b"b")

    with pytest.raises(VolumeError, match="cannot write to"):
        write()
    assert files(tmp_path) == {"out/figures": b"mine"}
