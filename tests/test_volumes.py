"""Volumes: what all formats share; indexing, boxes, crops, choosing the format, and errors of one line."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from properties import given, st
from real_data import needs_real_data, real_data

from gpu_stackcorr.errors import InputTypeError, ParameterError, VolumeError
from gpu_stackcorr.volumes import Volume, open_volume

ARRAY = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)


class ArrayVolume(Volume):
    """An array as a volume, which keeps the boxes that were read."""

    def __init__(self, array: np.ndarray = ARRAY, **properties) -> None:
        super().__init__(Path("memory"), format="array", shape=array.shape, dtype=array.dtype, **properties)
        self.array = array
        self.boxes: list = []

    def _read(self, box):
        self.boxes.append(box)
        return self.array[tuple(slice(*ends) for ends in box)].copy()


def line_of(caught) -> str:
    """The message of an error, which has to be one line."""
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


class TestInterface:
    def test_it_looks_like_an_array(self):
        volume = ArrayVolume()
        assert (volume.shape, volume.ndim, len(volume), volume.nbytes) == ((5, 6, 7), 3, 5, 420)
        assert volume.dtype == np.int16
        assert volume.boxes == []
        np.testing.assert_array_equal(np.asarray(volume), ARRAY)
        assert np.asarray(volume, dtype=np.float64).dtype == np.float64
        with pytest.raises(ValueError, match="copy"):
            np.asarray(volume, copy=False)

    def test_repr(self):
        volume = ArrayVolume(voxel_size=(None, 4.6, 4.6), channels=3, channel=1)
        assert repr(volume) == (
            "<array volume 'memory': 5 x 6 x 7 (z, y, x) int16, 420 bytes, channel 1 of 3, voxel size ? x 4.6 x 4.6 nm>"
        )
        assert "voxel size unknown" in repr(ArrayVolume())
        assert "2 MiB" in repr(ArrayVolume(np.zeros((2, 1024, 1024), np.uint8)))

    def test_dtype_is_native(self):
        assert ArrayVolume(ARRAY.astype(">i2")).dtype.isnative

    def test_an_unknown_voxel_size_is_none(self):
        assert ArrayVolume(voxel_size=(None, None, None)).voxel_size is None

    def test_iteration_reads_slice_by_slice(self):
        volume = ArrayVolume()
        np.testing.assert_array_equal(list(volume), ARRAY)
        assert [box[0] for box in volume.boxes] == [(z, z + 1) for z in range(5)]

    def test_closed(self):
        with ArrayVolume() as volume:
            volume[0]
        with pytest.raises(VolumeError, match="closed") as caught:
            volume[0]
        line_of(caught)
        assert volume.shape == (5, 6, 7)
        volume.close()


class TestIndexing:
    @pytest.mark.parametrize(
        ("index", "box"),
        [
            (3, ((3, 4), (0, 6), (0, 7))),
            (-1, ((4, 5), (0, 6), (0, 7))),
            (slice(1, 3), ((1, 3), (0, 6), (0, 7))),
            ((Ellipsis, slice(None, 4), slice(None)), ((0, 5), (0, 4), (0, 7))),
            ((2, slice(-2, None)), ((2, 3), (4, 6), (0, 7))),
            ((slice(None), 1, slice(1, 6, 2)), ((0, 5), (1, 2), (1, 6))),
            ((Ellipsis, 6), ((0, 5), (0, 6), (6, 7))),
            ((slice(4, 1, -1), Ellipsis), ((2, 5), (0, 6), (0, 7))),
            ((np.int64(2), np.uint8(1), 1), ((2, 3), (1, 2), (1, 2))),
            ((), ((0, 5), (0, 6), (0, 7))),
        ],
    )
    def test_only_the_box_is_read(self, index, box):
        volume = ArrayVolume()
        np.testing.assert_array_equal(volume[index], ARRAY[index])
        assert volume.boxes == [box]

    def test_a_step_along_z_skips_slices(self):
        volume = ArrayVolume()
        np.testing.assert_array_equal(volume[::-2, 1:3], ARRAY[::-2, 1:3])
        assert [box[:2] for box in volume.boxes] == [((z, z + 1), (1, 3)) for z in (4, 2, 0)]

    @given(st.data())
    def test_as_numpy(self, data):
        def item(size):
            ends = st.none() | st.integers(-size - 3, size + 3)
            steps = st.sampled_from([None, 1, 2, 3, -1, -2])
            return st.integers(-size, size - 1) | st.builds(slice, ends, ends, steps)

        items = data.draw(st.tuples(*map(item, ARRAY.shape)).flatmap(lambda i: st.integers(0, 3).map(lambda n: i[:n])))
        index = (Ellipsis, *items) if len(items) == 3 and data.draw(st.booleans()) else items
        found = ArrayVolume()[index]
        np.testing.assert_array_equal(found, ARRAY[index])
        assert found.shape == ARRAY[index].shape
        assert found.dtype == ARRAY.dtype
        assert found.flags.c_contiguous

    @pytest.mark.parametrize("index", [5, -6, (0, 6), (0, 0, -8), (0, 0, 0, 0), (Ellipsis, Ellipsis)])
    def test_out_of_bounds(self, index):
        with pytest.raises(IndexError):
            ArrayVolume()[index]

    @pytest.mark.parametrize("index", [1.0, "a", None, True, np.True_, [0, 1], np.array([0, 1]), (0, [1])])
    def test_other_indices_are_refused(self, index):
        with pytest.raises(InputTypeError, match="integers, slices") as caught:
            ArrayVolume()[index]
        line_of(caught)


class TestBoxes:
    def test_an_empty_box_reads_nothing(self):
        volume = ArrayVolume()
        assert volume.read(((2, 2), (0, 6), (0, 7))).shape == (0, 6, 7)
        assert volume[:, 3:3].shape == (5, 0, 7)
        assert volume.boxes == []

    @pytest.mark.parametrize(
        "box",
        [
            ((0, 6), (0, 6), (0, 7)),
            ((-1, 2), (0, 6), (0, 7)),
            ((0, 5), (4, 3), (0, 7)),
            ((0, 5), (0, 6)),
            ((0.0, 5), (0, 6), (0, 7)),
            (0, 1, 2),
            None,
        ],
    )
    def test_bad_boxes(self, box):
        with pytest.raises(ParameterError, match="box") as caught:
            ArrayVolume().read(box)
        line_of(caught)


class TestCrop:
    def test_it_is_a_window_on_the_source(self):
        volume = ArrayVolume(voxel_size=(50, 4, 4))
        crop = volume.crop(z=(1, 4), y=slice(None, -1), x=slice(2, None))
        assert (crop.shape, crop.voxel_size, crop.dtype) == ((3, 5, 5), (50, 4, 4), np.int16)
        assert volume.boxes == []
        np.testing.assert_array_equal(crop[1], ARRAY[2, :-1, 2:])
        assert volume.boxes == [((2, 3), (0, 5), (2, 7))]
        np.testing.assert_array_equal(crop, ARRAY[1:4, :-1, 2:])

    def test_crops_nest(self):
        crop = ArrayVolume().crop(z=(1, 5), y=(1, 6)).crop(z=(1, 4), y=(2, None), x=(None, -3))
        np.testing.assert_array_equal(crop, ARRAY[2:5, 3:6, :-3])

    def test_closing_a_crop_closes_its_source(self):
        volume = ArrayVolume()
        with volume.crop(z=(0, 2)):
            pass
        with pytest.raises(VolumeError, match="closed"):
            volume[0]

    @pytest.mark.parametrize(
        "ranges",
        [
            {"z": (0, 6)},
            {"z": (3, 3)},
            {"z": (3, 4)},
            {"z": (4, 1)},
            {"y": (-7, 2)},
            {"x": slice(0, 7, 2)},
            {"x": (1, 2, 3)},
            {"x": 3},
            {"x": "ab"},
            {"y": (0.0, 3)},
        ],
    )
    def test_bad_ranges(self, ranges):
        with pytest.raises(ParameterError, match=next(iter(ranges))) as caught:
            ArrayVolume().crop(**ranges)
        line_of(caught)


class TestOpenVolume:
    @pytest.fixture
    def path(self, tmp_path):
        np.save(tmp_path / "stack.npy", ARRAY)
        return tmp_path / "stack.npy"

    @pytest.mark.parametrize("given_as", [str, Path])
    def test_strings_and_paths(self, path, given_as):
        assert open_volume(given_as(path)).path == path

    def test_suffixes_in_capitals(self, path):
        assert open_volume(path.rename(path.with_suffix(".NPY"))).shape == ARRAY.shape

    def test_a_name_with_brackets_is_a_name(self, path):
        assert open_volume(path.rename(path.with_name("stack[1].npy"))).format == "NPY"

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("missing.npy", "does not exist"),
            ("missing/stack.tif", "does not exist"),
            ("stack\0.tif", "does not exist"),
            ("none*.tif", "matches no file"),
            ("volume.czi", "supported are .npy, .tif, .tiff"),
            ("volume", "not supported"),
            ("one.png", "one slice"),
            ("empty.npy", "as NPY"),
            ("empty.tif", "not a TIFF"),
        ],
    )
    def test_bad_paths(self, tmp_path, name, words):
        if "does not" not in words and "matches" not in words:
            (tmp_path / name).touch()
        with pytest.raises(VolumeError, match=words) as caught:
            open_volume(tmp_path / name)
        assert name.split("\0")[0].split("/")[-1] in line_of(caught)

    def test_neither_file_nor_folder(self):
        if not Path("/dev/null").is_char_device():
            pytest.skip("no /dev/null here")
        with pytest.raises(VolumeError, match="neither"):
            open_volume("/dev/null")

    @pytest.mark.parametrize("name", ["stack.npy", "stack.tif", "folder/0.png", "folder"])
    def test_no_permission(self, tmp_path, monkeypatch, name):
        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        (tmp_path / "folder").mkdir()
        for file in ("stack.npy", "stack.tif", "folder/0.png"):
            (tmp_path / file).touch()
        monkeypatch.setattr(Path, "iterdir" if name == "folder" else "open", refuse)
        with pytest.raises(VolumeError, match="Permission denied") as caught:
            open_volume(tmp_path / name.removesuffix("/0.png"))
        assert str(tmp_path / name) in line_of(caught)

    @pytest.mark.parametrize("path", [None, 3, b"stack.npy", [Path("stack.npy")]])
    def test_no_path(self, path):
        with pytest.raises(InputTypeError, match="path"):
            open_volume(path)

    def test_an_empty_path_is_not_the_working_folder(self):
        with pytest.raises(ParameterError, match="empty"):
            open_volume("")

    @pytest.mark.parametrize(
        ("voxel_size", "expected"),
        [
            (8, (8.0, 8.0, 8.0)),
            ((50, 4.6, 4.5), (50.0, 4.6, 4.5)),
            (np.array([50.0, 4, 4]), (50.0, 4.0, 4.0)),
            ([None, 4, 4], (None, 4.0, 4.0)),
            (None, None),
        ],
    )
    def test_voxel_size(self, path, voxel_size, expected):
        assert open_volume(path, voxel_size=voxel_size).voxel_size == expected

    @pytest.mark.parametrize(
        "voxel_size", [0, -1, (4, 4), (4, 4, 0), (4, 4, np.inf), np.nan, "8", "123", ("a",) * 3, {}]
    )
    def test_bad_voxel_sizes(self, path, voxel_size):
        with pytest.raises(ParameterError, match="voxel_size") as caught:
            open_volume(path, voxel_size=voxel_size)
        line_of(caught)

    @pytest.mark.parametrize("channel", [1, -1, 1.0, "0", True])
    def test_bad_channels(self, path, channel):
        with pytest.raises(ParameterError, match=f"channel={channel!r}") as caught:
            open_volume(path, channel=channel)
        line_of(caught)
        assert open_volume(path, channel=0).channel == 0

    def test_threads_may_share_a_volume(self, path):
        with open_volume(path) as volume, ThreadPoolExecutor(4) as pool:
            for z, found in zip(range(5), pool.map(volume.__getitem__, range(5)), strict=True):
                np.testing.assert_array_equal(found, ARRAY[z])


def test_importing_takes_no_format_library():
    code = "import sys, gpu_stackcorr.volumes as v; print(sorted({'tifffile', 'PIL', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@needs_real_data
class TestRealStacks:
    """The figures of the data's own README: correlation of slice 0 with slice z, to three digits."""

    depths = (1, 2, 3, 5, 8, 10, 15, 19)

    @pytest.mark.parametrize(
        ("name", "shape", "figures"),
        [
            ("fibsem/fibsem_250.tif", (250, 250, 250), (0.957, 0.918, 0.862, 0.752, 0.631, 0.575, 0.458, 0.391)),
            ("sstem", (20, 1024, 1024), (0.359, 0.187, 0.113, 0.042, 0.029, 0.023, 0.010, 0.020)),
        ],
    )
    def test_correlations(self, name, shape, figures):
        with open_volume(real_data() / name) as volume:
            assert (volume.shape, volume.dtype, volume.voxel_size) == (shape, np.uint8, None)
            bottom = volume[0].ravel()
            found = [np.corrcoef(bottom, volume[z].ravel())[0, 1] for z in self.depths]
        np.testing.assert_allclose(found, figures, atol=5.1e-4)
