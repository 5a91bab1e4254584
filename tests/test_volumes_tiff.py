"""TIFF volumes: layouts, channels, voxel sizes, byte orders; every truncation; what tifffile says stays quiet."""

from __future__ import annotations

import logging
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gpu_stackcorr.errors import ParameterError, StackCorrError, VolumeError
from gpu_stackcorr.volumes import open_volume
from gpu_stackcorr.volumes.tiff_voxel_size import read_voxel_size

tifffile = pytest.importorskip("tifffile")

STACK = np.arange(5 * 6 * 8).reshape(5, 6, 8).astype(np.uint16)
ZYX = {"metadata": {"axes": "ZYX"}}

# What a writer may make of one and the same stack.
LAYOUTS = {
    "plain pages": {"metadata": None},
    "one block": {},
    "one directory": {"truncate": True},
    "ImageJ": {"imagej": True, **ZYX},
    "OME": {"ome": True, **ZYX},
    "big": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "strips": {"rowsperstrip": 2},
    "tiles": {"tile": (16, 16)},
    "deflate": {"compression": "zlib"},
    "deflate, big-endian, predictor": {"compression": "zlib", "predictor": True, "byteorder": ">"},
    "volumetric": {"volumetric": True, "tile": (16, 16, 16)},
}
BOXES = [np.s_[:], np.s_[3], np.s_[1:3], np.s_[..., 2:5, 3:7], np.s_[4, 5, 7], np.s_[::-2, 1]]


def write(path, array, **options):
    """Write a TIFF file and return its path."""
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
    return path


def one_line(caught):
    """The message of an error, which has to be one line."""
    assert "\n" not in str(caught.value)
    return str(caught.value)


def outcome(path):
    """What is in a file, or the one line with which it is refused; any other exception is let through."""
    try:
        with open_volume(path) as volume:
            # Damage may make a file claim to be large.
            return (np.asarray(volume) if volume.nbytes < 2**24 else volume), ""
    except StackCorrError as error:
        message = str(error)
    assert "\n" not in message
    return None, message


class TestLayouts:
    @pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS.keys())
    def test_every_layout_gives_the_stack(self, tmp_path, options):
        with open_volume(write(tmp_path / "a.tif", STACK, **options)) as volume:
            assert (volume.format, volume.shape, volume.dtype, volume.channels) == ("TIFF", (5, 6, 8), np.uint16, 1)
            for box in BOXES:
                np.testing.assert_array_equal(volume[box], STACK[box])
            assert volume[1:3].dtype.isnative
            assert volume[1:3].flags.c_contiguous

    @pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u4", "i8", "f4", "f8"])
    @pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "zlib"}], ids=str)
    def test_dtypes(self, tmp_path, dtype, options):
        array = (STACK % 2).astype(dtype) if dtype == "?" else STACK.astype(dtype)
        with open_volume(write(tmp_path / "a.tif", array, **options)) as volume:
            assert volume.dtype == array.dtype
            np.testing.assert_array_equal(volume, array)

    @pytest.mark.parametrize(
        "options", [{}, {"metadata": None}, {"contiguous": True}, {"compression": "zlib"}], ids=str
    )
    def test_slices_written_one_by_one(self, tmp_path, options):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for plane in STACK:
                writer.write(plane, **options)
        with open_volume(tmp_path / "a.tif") as volume:
            np.testing.assert_array_equal(volume, STACK)

    def test_imagejs_large_stacks_have_one_directory(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK, **LAYOUTS["ImageJ"])
        whole = bytearray(path.read_bytes())
        first = struct.unpack("<I", whole[4:8])[0]
        end = first + 2 + 12 * struct.unpack("<H", whole[first : first + 2])[0]
        with tifffile.TiffFile(path) as tif:
            data_end = tif.pages[0].dataoffsets[0] + STACK.nbytes
        path.write_bytes(whole[:end] + bytes(4) + whole[end + 4 : data_end])
        with open_volume(path) as volume:
            np.testing.assert_array_equal(volume, STACK)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(VolumeError, match="truncated: ImageJ wrote 5 images") as caught:
            open_volume(path)
        one_line(caught)

    def test_time_points_without_z_are_the_slices(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TYX"})
        np.testing.assert_array_equal(open_volume(path), STACK)

    def test_time_points_with_z_are_refused(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK.reshape(5, 2, 3, 8), imagej=True, metadata={"axes": "TZYX"})
        with pytest.raises(VolumeError, match=r"T = 5, Z = 2") as caught:
            open_volume(path)
        one_line(caught)

    def test_pages_of_several_sizes_are_refused(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for page, plane in enumerate([*STACK, STACK[0, :3]]):
                writer.write(plane, metadata=None if page else {})
        with pytest.raises(VolumeError, match=r"page 5 is \(3, 8\) uint16, page 0 is \(6, 8\)") as caught:
            open_volume(tmp_path / "a.tif")
        one_line(caught)

    def test_of_several_stacks_the_first_is_read_and_the_log_says_so(self, tmp_path, caplog):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(STACK, photometric="minisblack")
            writer.write(STACK[:4, :3] + 1, photometric="minisblack")
        with caplog.at_level(logging.WARNING, "gpu_stackcorr"), open_volume(tmp_path / "a.tif") as volume:
            np.testing.assert_array_equal(volume, STACK)
        assert "2 series" in caplog.text

    def test_threads_share_a_compressed_volume_one_at_a_time(self, tmp_path, monkeypatch):
        decode, inside, most = tifffile.TiffPage.asarray, [], []

        def watched(page, **options):
            inside.append(page)
            time.sleep(0.001)
            most.append(len(inside))
            inside.pop()
            return decode(page, **options)

        monkeypatch.setattr(tifffile.TiffPage, "asarray", watched)
        path = write(tmp_path / "a.tif", STACK, compression="zlib")
        with open_volume(path) as volume, ThreadPoolExecutor(4) as pool:
            for z, found in enumerate(pool.map(lambda z: volume[z % 5], range(40))):
                np.testing.assert_array_equal(found, STACK[z % 5])
        assert most == [1] * 40
        with pytest.raises(VolumeError, match="closed"):
            volume[0]


class TestChannels:
    CHANNELS = np.arange(4 * 3 * 6 * 8).reshape(4, 3, 6, 8).astype(np.uint8)

    @pytest.mark.parametrize(
        ("axes", "options"),
        [
            ((0, 1, 2, 3), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
            ((1, 0, 2, 3), {"ome": True, "metadata": {"axes": "CZYX"}}),
            ((0, 1, 2, 3), {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "zlib"}),
            ((0, 1, 2, 3), {}),
            ((0, 2, 3, 1), {"photometric": "rgb"}),
            ((0, 2, 3, 1), {"photometric": "rgb", "compression": "zlib", "metadata": None}),
            ((0, 1, 2, 3), {"photometric": "rgb", "planarconfig": "separate"}),
            ((0, 2, 3, 1), {"photometric": "rgb", "imagej": True, "metadata": {"axes": "ZYXS"}}),
        ],
    )
    def test_each_channel(self, tmp_path, axes, options):
        path = write(tmp_path / "a.tif", np.ascontiguousarray(self.CHANNELS.transpose(axes)), **options)
        for channel in range(3):
            with open_volume(path, channel=channel) as volume:
                assert (volume.shape, volume.channels, volume.channel) == ((4, 6, 8), 3, channel)
                np.testing.assert_array_equal(volume, self.CHANNELS[:, channel])
                np.testing.assert_array_equal(volume[1:, 2:4, 1:7], self.CHANNELS[1:, channel, 2:4, 1:7])
        for wrong in (None, 3):
            with pytest.raises(ParameterError, match="channel 0, 1, 2") as caught:
                open_volume(path, channel=wrong)
            one_line(caught)

    def test_the_notebooks_axes(self, tmp_path):
        with open_volume(write(tmp_path / "a.tif", STACK[:, np.newaxis])) as volume:
            np.testing.assert_array_equal(volume, STACK)

    def test_channels_of_colour_images(self, tmp_path):
        array = np.arange(4 * 2 * 6 * 8 * 3).reshape(4, 2, 6, 8, 3).astype(np.uint8)
        path = write(tmp_path / "a.tif", array, imagej=True, photometric="rgb", metadata={"axes": "ZCYXS"})
        with open_volume(path, channel=4) as volume:
            assert volume.channels == 6
            np.testing.assert_array_equal(volume, array[:, 1, :, :, 1])

    def test_slices_saved_as_channels_are_one_slice(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK, imagej=True)
        with pytest.raises(VolumeError, match=r"one slice of 6 x 8.*5 channels") as caught:
            open_volume(path)
        one_line(caught)


class TestVoxelSize:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, None),
            ({"resolution": (72, 72), "resolutionunit": "inch"}, None),
            ({"resolution": (300, 300), "resolutionunit": "inch"}, None),
            ({"resolution": (96 / 2.54, 96 / 2.54), "resolutionunit": "centimeter"}, None),
            ({"resolution": (2e6, 2.5e6), "resolutionunit": "centimeter"}, (None, 4.0, 5.0)),
            ({"resolution": (25400, 25400), "resolutionunit": "inch"}, (None, 1000.0, 1000.0)),
            ({"resolution": (25400, 25400), "resolutionunit": "none"}, None),
        ],
    )
    def test_plain_resolution(self, tmp_path, options, expected):
        assert open_volume(write(tmp_path / "a.tif", STACK, **options)).voxel_size == expected

    @pytest.mark.parametrize(
        ("resolution", "unit", "spacing", "expected"),
        [
            ((250, 200), "um", 0.05, (50.0, 5.0, 4.0)),
            ((250, 200), "micron", None, (None, 5.0, 4.0)),
            ((0.25, 0.25), "nm", 50, (50.0, 4.0, 4.0)),
            ((1 / 4.6, 1 / 4.6), "nm", 45, (45.0, 4.6, 4.6)),
            ((250, 250), "\\u00B5m", 0.03, (30.0, 4.0, 4.0)),
            ((0.5, 0.5), "microns", 20, (20000.0, 2000.0, 2000.0)),
            ((0.05, 0.05), "nm", -3, (None, 20.0, 20.0)),
            ((72, 72), "inch", 1.0, None),
            ((1, 1), "pixel", 1.0, None),
            ((4, 4), "furlong", 1.0, None),
        ],
    )
    def test_imagej(self, tmp_path, resolution, unit, spacing, expected):
        metadata = {"axes": "ZYX", "unit": unit} | ({} if spacing is None else {"spacing": spacing})
        path = write(tmp_path / "a.tif", STACK, imagej=True, resolution=resolution, metadata=metadata)
        found = open_volume(path).voxel_size
        if expected is None:
            assert found is None
        else:
            # ImageJ's resolution is a fraction of 32-bit integers.
            assert [size is None for size in found] == [size is None for size in expected]
            np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=1e-6)

    @pytest.mark.parametrize(
        ("sizes", "expected"),
        [
            ({"Z": (50, "nm"), "Y": (4.6, "nm"), "X": (4.5, "nm")}, (50.0, 4.6, 4.5)),
            ({"Z": (0.05, None), "Y": (0.004, None), "X": (0.004, "µm")}, (50.0, 4.0, 4.0)),
            ({"Y": (46, "Å"), "X": (46, "Å")}, (None, 4.6, 4.6)),
            ({"X": (0, "nm")}, None),
            ({"Y": (1, "pixel"), "X": (1, "reference frame")}, None),
            ({}, None),
        ],
    )
    def test_ome(self, tmp_path, sizes, expected):
        metadata = {"axes": "ZYX"}
        for axis, (size, unit) in sizes.items():
            metadata |= {f"PhysicalSize{axis}": size} | ({} if unit is None else {f"PhysicalSize{axis}Unit": unit})
        assert open_volume(write(tmp_path / "a.tif", STACK, ome=True, metadata=metadata)).voxel_size == expected

    def test_the_callers_goes_first_axis_by_axis(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK, resolution=(2e6, 2e6), resolutionunit="centimeter")
        assert open_volume(path, voxel_size=(50, None, None)).voxel_size == (50.0, 5.0, 5.0)
        assert open_volume(path, voxel_size=8).voxel_size == (8.0, 8.0, 8.0)

    def test_broken_fields_are_no_error(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK, resolution=(2e6, 2e6), resolutionunit="centimeter")
        with tifffile.TiffFile(path, mode="r+b") as tif:
            tif.pages[0].tags[282].overwrite((0, 0))
            tif.pages[0].tags[283].overwrite((1, 0))
        with tifffile.TiffFile(path) as tif:
            assert read_voxel_size(tif) is None


class TestDamage:
    @pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS.keys())
    def test_every_truncation_is_found_on_opening(self, tmp_path, options):
        path = write(tmp_path / "a.tif", STACK, **options)
        whole = path.read_bytes()
        for size in {*range(0, len(whole), len(whole) // 50), *range(len(whole) - 40, len(whole), 3)}:
            path.write_bytes(whole[:size])
            found, message = outcome(path)
            assert message.startswith(f"'{path}' is ") or (
                # The writer's padding at the very end may be lost, and nothing else.
                size >= len(whole) - 40 and np.array_equal(found, STACK)
            )

    @pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS.keys())
    def test_no_damage_raises_anything_else(self, tmp_path, options):
        path = write(tmp_path / "a.tif", STACK, **options)
        whole = path.read_bytes()
        rng = np.random.default_rng(1)
        refused = 0
        for _ in range(60):
            damaged = bytearray(whole)
            for position in rng.integers(0, min(500, len(whole)), 3):
                damaged[position] = rng.integers(0, 256)
            path.write_bytes(damaged)
            refused += outcome(path)[0] is None
        assert 0 < refused < 60

    def test_damaged_data_of_a_compressed_page(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK, compression="zlib")
        with tifffile.TiffFile(path) as tif:
            offset = tif.pages[3].dataoffsets[0]
        whole = bytearray(path.read_bytes())
        whole[offset : offset + 8] = b"nonsense"
        path.write_bytes(whole)
        with open_volume(path) as volume:
            np.testing.assert_array_equal(volume[2], STACK[2])
            with pytest.raises(VolumeError, match="as TIFF") as caught:
                volume[3]
            one_line(caught)

    def test_directories_in_a_circle(self, tmp_path):
        path = write(tmp_path / "a.tif", STACK, metadata=None)
        with tifffile.TiffFile(path) as tif:
            first, last = tif.pages[0].offset, tif.pages[4].offset
        whole = bytearray(path.read_bytes())
        count = struct.unpack("<H", whole[last : last + 2])[0]
        whole[last + 2 + 12 * count : last + 6 + 12 * count] = struct.pack("<I", first)
        path.write_bytes(whole)
        with pytest.raises(VolumeError, match="points back"):
            open_volume(path)

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (STACK[0], "one slice of 6 x 8"),
            (STACK[:1], "one slice of 6 x 8"),
            (STACK.astype(np.complex64), "complex64"),
            (STACK.astype(np.float16), "float16"),
        ],
    )
    def test_wrong_arrays(self, tmp_path, array, words):
        with pytest.raises(VolumeError, match=words) as caught:
            open_volume(write(tmp_path / "a.tif", array))
        one_line(caught)

    def test_no_image(self, tmp_path):
        (tmp_path / "a.tif").write_bytes(b"II*\0\0\0\0\0")
        with pytest.raises(VolumeError, match="no image"):
            open_volume(tmp_path / "a.tif")

    def test_a_png_by_the_name_of_tif(self, tmp_path):
        (tmp_path / "a.tif").write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(VolumeError, match="not a TIFF file"):
            open_volume(tmp_path / "a.tif")


def in_a_new_process(path, before=""):
    """Open a volume in a process without a log, and return what it prints and what reaches the terminal."""
    code = f"""if True:
        import sys
        {before}
        from gpu_stackcorr.errors import VolumeError
        from gpu_stackcorr.volumes import open_volume
        try:
            print(open_volume(sys.argv[1]).shape)
        except VolumeError as error:
            print(error)
    """
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    return run.stdout.strip(), run.stderr


def test_a_missing_codec_names_the_extra(tmp_path):
    path = write(tmp_path / "a.tif", STACK, compression="zlib", metadata=None)
    lzw = path.read_bytes().replace(struct.pack("<HHIHH", 259, 3, 1, 8, 0), struct.pack("<HHIHH", 259, 3, 1, 5, 0))
    path.write_bytes(lzw)
    printed, _ = in_a_new_process(path, "sys.modules['imagecodecs'] = None")
    assert "LZW" in printed
    assert printed.endswith('needs the extra "io": pip install "gpu_stackcorr[io]"')
    assert "\n" not in printed


def test_what_tifffile_logs_does_not_reach_the_terminal(tmp_path):
    path = write(tmp_path / "a.tif", STACK, **ZYX)
    software = struct.pack("<HH", 305, 2)
    assert software in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(software, struct.pack("<HH", 305, 99)))
    assert in_a_new_process(path) == ("(5, 6, 8)", "")


def test_a_log_that_is_set_up_still_gets_it(tmp_path, caplog):
    path = write(tmp_path / "a.tif", STACK, **ZYX)
    path.write_bytes(path.read_bytes().replace(struct.pack("<HH", 305, 2), struct.pack("<HH", 305, 99)))
    open_volume(path)
    assert "tifffile" in {record.name for record in caplog.records}
