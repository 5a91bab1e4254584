"""What a correlation says of slices without variance and of NaN, its tables, and real stacks."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact_moments import is_nearest
from real_data import needs_real_data, real_data
from test_correlation import IMAGE_1, IMAGE_2, Image, a_stack, by_scipy, mapped, one

from gpu_stackcorr import image_correlation, measurement, open_volume, stack_correlation
from gpu_stackcorr.arrays import Stack, get_backend
from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.correlation import slabs
from gpu_stackcorr.errors import ConstantSliceWarning, ParameterError
from gpu_stackcorr.records import StackCorrelation
from gpu_stackcorr.threads import allowed_threads, use_threads
from gpu_stackcorr.transforms import AddNoise, Compose, Elastic, flip_up_down

# Slices without variance.


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_constant_slices_are_flagged_with_one_warning(dtype: Any) -> None:
    stack = a_stack(dtype, (9, 13, 17))
    stack[3] = 7 if np.dtype(dtype).kind == "u" else 0.1
    stack[6] = 0
    with pytest.warns(ConstantSliceWarning, match=r"\b3, 6\b") as record:
        result = one(stack_correlation(stack))
    assert len(record) == 1
    assert record[0].filename == __file__
    assert np.flatnonzero(np.isnan(result.statistic)).tolist() == [3, 6]
    assert [n for n, flag in enumerate(result.flags) if flag == "constant"] == [3, 6]
    low, high = result.confidence_interval()
    assert np.flatnonzero(np.isnan(low) & np.isnan(high)).tolist() == [3, 6]
    good = [n for n in range(9) if n not in (3, 6)]
    np.testing.assert_allclose(result.statistic[good], [by_scipy(stack[0], stack[n]) for n in good], rtol=1e-12)
    with pytest.warns(ConstantSliceWarning) as record:
        stack_correlation(stack, [0, 1, 2])
    assert len(record) == 1


def test_a_slice_that_is_constant_under_the_mask_only() -> None:
    stack = a_stack(np.uint8)
    mask = np.zeros(stack.shape[1:], bool)
    mask[:4] = True
    stack[2, :4] = 9
    with pytest.warns(ConstantSliceWarning, match=r"\b2$"):
        result = one(stack_correlation(stack, mask=mask))
    assert result.flags == ("", "", "constant", "", "")
    with pytest.raises(ParameterError, match="slice 2"):
        stack_correlation(stack, 2, mask=mask)


@pytest.mark.parametrize("value", [0, 0.1, -7.3])
def test_a_constant_reference_is_refused(value: float) -> None:
    stack = a_stack()
    stack[3] = value
    with pytest.raises(ParameterError, match=r"slice 3.* constant"):
        stack_correlation(stack, 3)
    with pytest.raises(ParameterError, match="constant"):
        stack_correlation(stack, np.full((13, 17), value))


# NaN.


def spoilt_stack() -> Image:
    stack = a_stack()
    stack[2, 3, 4] = stack[2, 5, 6] = stack[4, 0, 0] = np.nan
    return stack


def test_nan_are_counted_and_refused() -> None:
    with pytest.raises(ParameterError, match=r"NaN pixels in slice 2: .*'omit'.*'propagate'"):
        stack_correlation(spoilt_stack())
    with pytest.raises(ParameterError, match="2 NaN pixels"):
        stack_correlation(spoilt_stack(), 2)
    with pytest.raises(ParameterError, match="nan_policy = None"):
        stack_correlation(a_stack(), nan_policy=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "transform", [None, flip_up_down, Elastic(3.0, 2.0, seed=1), Compose(flip_up_down, AddNoise(1.0))]
)
@pytest.mark.parametrize("masked", [False, True])
def test_nan_are_refused_whatever_sees_them(transform: Any, masked: bool, backend: Backend) -> None:
    """Whether r tells of them, or a mask, or a deformation that does not sample them, keeps it from that."""
    mask = np.ones((13, 17), bool)
    mask[3:6] = mask[0] = False
    options = {"transform": transform, "mask": mask if masked else None, "seed": 1, "backend": backend.name}
    with pytest.raises(ParameterError, match="2 NaN pixels in slice 2"):
        stack_correlation(spoilt_stack(), **options)


@pytest.mark.parametrize(
    ("count", "threads", "expected"), [(1, 2, 1), (5, 2, 2), (33, 2, 4), (165, 2, 12), (165, 3, 12), (7, 16, 7)]
)
def test_every_thread_has_as_many_slabs(count: int, threads: int, expected: int) -> None:
    stack = Stack(np.zeros((count, 4, 4), np.uint8))
    with use_threads(threads):
        lengths = [len(slab) for _, slab in slabs(stack, get_backend("numpy"))]
    assert (sum(lengths), len(lengths)) == (count, expected)
    assert max(lengths) <= 16


@pytest.mark.parametrize(("threads", "expected"), [(1, [1]), (2, [1, 1]), (5, [2, 2]), (12, [6, 6])])
def test_slabs_share_the_threads_out(threads: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    stack, seen = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), []

    def measure(*arguments: Any) -> Any:
        seen.append(allowed_threads())
        return original(*arguments)

    original = measurement.measure
    monkeypatch.setattr(measurement, "measure", measure)
    with use_threads(threads):
        stack_correlation(stack, ci=None, backend="numpy")
    assert seen == expected


def test_nan_are_refused_while_a_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"NaN pixels in slice 2"):
        stack_correlation(mapped(spoilt_stack(), tmp_path))


def test_nan_are_omitted_pair_by_pair() -> None:
    stack = spoilt_stack()
    result = one(stack_correlation(stack, nan_policy="omit"))
    seen = ~np.isnan(stack)
    np.testing.assert_allclose(
        result.statistic, [by_scipy(stack[0][m], y[m]) for y, m in zip(stack, seen, strict=True)], rtol=1e-12
    )
    assert result.n.tolist() == [221, 221, 219, 221, 220]
    assert result.flags == ("",) * 5
    at_2 = one(stack_correlation(stack, 2, nan_policy="omit"))
    assert at_2.n.tolist() == [219, 219, 219, 219, 218]
    assert at_2.statistic[2] == 1
    assert at_2.statistic[0] == result.statistic[2]
    both = seen[2] & seen[4]
    assert at_2.statistic[4] == pytest.approx(by_scipy(stack[2][both], stack[4][both]), rel=1e-12)
    # A slice keeps its bits whatever its neighbours lack.
    clean = one(stack_correlation(stack[[0, 1, 3]]))
    assert result.statistic[[0, 1, 3]].tolist() == clean.statistic.tolist()


def test_nan_are_propagated_to_their_own_slice() -> None:
    stack = spoilt_stack()
    result = one(stack_correlation(stack, nan_policy="propagate"))
    assert result.flags == ("", "", "nan", "", "nan")
    assert np.isnan(result.statistic).tolist() == [False, False, True, False, True]
    clean = one(stack_correlation(stack[[0, 1, 3]]))
    assert result.statistic[[0, 1, 3]].tolist() == clean.statistic.tolist()
    low, high = result.confidence_interval()
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, False, True, False, True]


def test_a_slice_of_nothing_but_nan() -> None:
    stack = a_stack()
    stack[3] = np.nan
    assert one(stack_correlation(stack, nan_policy="propagate")).flags == ("", "", "", "nan", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSliceWarning)
        result = one(stack_correlation(stack, nan_policy="omit"))
    assert np.isnan(result.statistic).tolist() == [False, False, False, True, False]
    assert result.n.tolist() == [221, 221, 221, 0, 221]
    assert result.flags[3] == "nan"


# Tables.


def table_result() -> StackCorrelation:
    """Return a result with a constant slice, and r with all their digits."""
    stack = a_stack(np.float64, (6, 13, 17))
    stack[4] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSliceWarning)
        return one(stack_correlation(stack, 1, ci="fisher"))


COLUMNS = [
    "transform",
    "noise",
    "distance",
    "distance_nm",
    "r",
    "low",
    "high",
    "n",
    "n_eff",
    "df",
    "window",
    "saturated",
    "flag",
]


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_csv_gives_every_bit_back(level: float, tmp_path: Path) -> None:
    result = table_result()
    result.to_csv(tmp_path / "r.csv", level)
    raw = (tmp_path / "r.csv").read_bytes()
    assert b"\r" not in raw
    rows = list(csv.DictReader(io.StringIO(raw.decode())))
    assert list(rows[0]) == COLUMNS
    low, high = result.confidence_interval(level)
    for name, values in (("r", result.statistic), ("low", low), ("high", high), ("n_eff", result.n_eff)):
        found = [float(row[name]) if row[name] else math.nan for row in rows]
        np.testing.assert_array_equal(found, values)
    assert [row["r"] == "" for row in rows] == [False] * 4 + [True] + [False]
    assert [int(row["distance"]) for row in rows] == result.distance.tolist()
    assert [int(row["n"]) for row in rows] == result.n.tolist()
    assert [row["flag"] for row in rows] == list(result.flags)
    assert {row["distance_nm"] for row in rows} == {""}


def test_json_gives_every_bit_back(tmp_path: Path) -> None:
    result = table_result()
    text = result.to_json(tmp_path / "r.json", 0.9)
    assert (tmp_path / "r.json").read_text().rstrip("\n") == text.rstrip("\n")
    table = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(table) == COLUMNS
    low, high = result.confidence_interval(0.9)
    for name, values in (("r", result.statistic), ("low", low), ("high", high), ("n_eff", result.n_eff)):
        np.testing.assert_array_equal([math.nan if v is None else v for v in table[name]], values)
    assert table["r"][4] is None
    assert table["distance"] == result.distance.tolist()
    assert table["flag"] == list(result.flags)
    assert result.to_json(confidence_level=0.9) == text


def test_data_frame() -> None:
    pytest.importorskip("pandas")
    result = table_result()
    frame = result.to_dataframe(0.9)
    assert list(frame.columns) == COLUMNS
    np.testing.assert_array_equal(frame["r"], result.statistic)
    np.testing.assert_array_equal(frame["low"], result.confidence_interval(0.9).low)
    np.testing.assert_array_equal(frame["distance"], result.distance)
    assert frame["flag"].tolist() == list(result.flags)


def test_table_of_two_images(tmp_path: Path) -> None:
    result = image_correlation(IMAGE_1, IMAGE_2, ci="fisher")
    result.to_csv(tmp_path / "r.csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text()))
    assert list(row) == ["r", "low", "high", "n", "n_eff", "df", "window", "saturated"]
    assert (float(row["r"]), int(row["n"])) == (0.8, 4)
    assert float(row["low"]) == result.confidence_interval().low
    assert json.loads(result.to_json())["r"] == [0.8]


# Real stacks.


@needs_real_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fibsem/fibsem_250.tif", [0.957, 0.918, 0.862, 0.752, 0.631, 0.575, 0.458, 0.391]),
        ("sstem", [0.359, 0.187, 0.113, 0.042, 0.029, 0.023, 0.010, 0.020]),
    ],
)
def test_real_stacks(name: str, expected: list[float]) -> None:
    folder = real_data()
    assert folder is not None
    with open_volume(folder / name) as volume:
        stack = np.asarray(volume[:20])
    result = one(stack_correlation(stack))
    found = result.statistic[[1, 2, 3, 5, 8, 10, 15, 19]]
    assert [round(float(r), 3) for r in found] == expected
    for n in (1, 19):
        assert is_nearest(float(result.statistic[n]), *wide_covariances(stack[0], stack[n]))


def wide_covariances(x: Image, y: Image) -> tuple[int, int, int]:
    """Return what exact_covariances returns, in int64: for uint8 images of less than 2^31 pixels."""
    a, b = (image.ravel().astype(np.int64) for image in (x, y))
    n, sa, sb = a.size, int(a.sum()), int(b.sum())
    return n * int(a @ b) - sa * sb, n * int(a @ a) - sa * sa, n * int(b @ b) - sb * sb
