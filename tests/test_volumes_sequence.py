"""Folders and patterns of numbered TIFF and PNG images."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from gpu_stackcorr.errors import ParameterError, VolumeError
from gpu_stackcorr.volumes import open_volume
from gpu_stackcorr.volumes.sequence import natural_key

tifffile = pytest.importorskip("tifffile")
pil_image = pytest.importorskip("PIL.Image")

STACK = np.arange(12 * 6 * 8).reshape(12, 6, 8) % 251


def write_tiff(folder, name, array, **options):
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / name, array, **options)


def write_png(folder, name, array):
    folder.mkdir(exist_ok=True)
    pil_image.fromarray(array).save(folder / name)


def refused(path, words, error=VolumeError, **options):
    """The one line with which a path is refused."""
    with pytest.raises(error, match=words) as caught:
        open_volume(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestOrder:
    @pytest.mark.parametrize(
        "names",
        [
            ["2.tif", "10.tif"],
            ["a2b.tif", "a10b.tif", "b1.tif"],
            ["s1_z9.tif", "s1_z10.tif", "s2_z1.tif"],
            ["007.tif", "8.tif", "09.tif"],
            ["Slice2.tif", "slice3.tif"],
            ["x.tif", "x1.tif"],
            ["a/10.tif", "b/2.tif"],
        ],
    )
    def test_natural(self, names):
        assert sorted(map(Path, reversed(names)), key=natural_key) == list(map(Path, names))

    @pytest.mark.parametrize("kind", ["tif", "tiff", "png", "PNG"])
    def test_two_comes_before_ten(self, tmp_path, kind):
        stack = STACK.astype(np.uint8)
        for z, plane in enumerate(stack):
            (write_png if kind.lower() == "png" else write_tiff)(tmp_path, f"z{z}.{kind}", plane)
        for path in (tmp_path, tmp_path / f"z*.{kind}"):
            with open_volume(path) as volume:
                name = "PNG" if kind.lower() == "png" else "TIFF"
                assert (volume.format, volume.shape, volume.path) == (f"{name} sequence", (12, 6, 8), path)
                np.testing.assert_array_equal(volume, stack)
                np.testing.assert_array_equal(volume[3:11, 2:4, 1:7], stack[3:11, 2:4, 1:7])

    def test_patterns_choose(self, tmp_path):
        for z, plane in enumerate(STACK.astype(np.uint8)):
            write_tiff(tmp_path / f"part{z % 2}", f"{z}.tif", plane)
        np.testing.assert_array_equal(open_volume(tmp_path / "part1" / "[0-5].tif"), STACK[1:6:2])
        np.testing.assert_array_equal(open_volume(tmp_path / "**" / "1?.tif"), STACK[10:])

    @pytest.mark.parametrize(
        ("numbers", "words"),
        [
            (["0", "1", "2"], None),
            (["000", "010", "020"], None),
            (["0", "1", "3", "6"], "lacks 3 numbers of its sequence: 2, 4, 5"),
            (["0", "10", "20", "40"], "lacks 1 numbers of its sequence: 30"),
            (["1", "01", "2"], "the number 1 more than once"),
            (["0", "1", "1000000000"], "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..."),
        ],
    )
    def test_missing_numbers_are_logged(self, tmp_path, caplog, numbers, words):
        for number in numbers:
            write_tiff(tmp_path, f"run2_z{number}_4nm.tif", STACK[0].astype(np.uint8))
        with caplog.at_level(logging.WARNING, "gpu_stackcorr"):
            assert len(open_volume(tmp_path)) == len(numbers)
        assert words in caplog.text if words else not caplog.records

    @pytest.mark.parametrize("names", [["a1", "b5"], ["z1_t1", "z5_t3"], ["a", "b"]])
    def test_names_of_other_kinds_are_not_counted(self, tmp_path, caplog, names):
        for name in names:
            write_tiff(tmp_path, f"{name}.tif", STACK[0].astype(np.uint8))
        open_volume(tmp_path)
        assert not caplog.records


class TestContents:
    @pytest.mark.parametrize("dtype", ["?", "u1", "<u2", ">i2", "f4", "f8"])
    @pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}], ids=str)
    def test_tiff(self, tmp_path, dtype, options):
        stack = (STACK % 2 if dtype == "?" else STACK)[:4].astype(dtype)
        for z, plane in enumerate(stack):
            write_tiff(tmp_path, f"{z}.tif", plane, **options)
        with open_volume(tmp_path) as volume:
            assert volume.dtype == np.dtype(dtype).newbyteorder("=")
            np.testing.assert_array_equal(volume, stack)
            np.testing.assert_array_equal(volume[1:3, 1:, 3], stack[1:3, 1:, 3])

    def test_byte_orders_may_differ(self, tmp_path):
        stack = STACK.astype(np.uint16) * 200
        for z, plane in enumerate(stack):
            write_tiff(tmp_path, f"{z}.tif", plane, byteorder="<>"[z % 2])
        np.testing.assert_array_equal(open_volume(tmp_path), stack)

    @pytest.mark.parametrize("dtype", ["?", "u1", "u2"])
    def test_grey_png(self, tmp_path, dtype):
        stack = (STACK % 2).astype(dtype) if dtype == "?" else (STACK * (1 if dtype == "u1" else 260)).astype(dtype)
        for z, plane in enumerate(stack):
            write_png(tmp_path, f"{z}.png", plane)
        with open_volume(tmp_path) as volume:
            assert volume.dtype == stack.dtype
            np.testing.assert_array_equal(volume, stack)

    @pytest.mark.parametrize("channels", [2, 3, 4])
    def test_colour_png(self, tmp_path, channels):
        stack = (np.arange(3 * 5 * 7 * channels).reshape(3, 5, 7, channels) % 256).astype(np.uint8)
        for z, plane in enumerate(stack):
            write_png(tmp_path, f"{z}.png", plane)
        for channel in range(channels):
            with open_volume(tmp_path, channel=channel) as volume:
                assert (volume.shape, volume.channels) == ((3, 5, 7), channels)
                np.testing.assert_array_equal(volume, stack[..., channel])
        refused(tmp_path, f"{channels} channels: choose one", ParameterError)

    def test_colour_tiff(self, tmp_path):
        stack = np.arange(3 * 5 * 7 * 3).reshape(3, 5, 7, 3).astype(np.uint8)
        for z, plane in enumerate(stack):
            write_tiff(tmp_path, f"{z}.tif", plane, photometric="rgb")
        np.testing.assert_array_equal(open_volume(tmp_path, channel=2), stack[..., 2])

    def test_voxel_size_of_the_first_image(self, tmp_path):
        for z, plane in enumerate(STACK.astype(np.uint8)):
            write_tiff(tmp_path, f"{z}.tif", plane, resolution=(2e6, 2e6), resolutionunit="centimeter")
        assert open_volume(tmp_path).voxel_size == (None, 5.0, 5.0)
        assert open_volume(tmp_path, voxel_size=(50, None, None)).voxel_size == (50.0, 5.0, 5.0)

    def test_other_files_are_left_alone(self, tmp_path):
        for z, plane in enumerate(STACK.astype(np.uint8)):
            write_tiff(tmp_path, f"{z}.tif", plane)
        for name in ("notes.txt", "._0.tif", ".hidden.png", "Thumbs.db"):
            (tmp_path / name).write_text("no image")
        (tmp_path / "13.tif").mkdir()
        np.testing.assert_array_equal(open_volume(tmp_path), STACK)

    def test_images_beyond_pillows_limit(self, tmp_path, monkeypatch):
        monkeypatch.setattr(pil_image, "MAX_IMAGE_PIXELS", 10)
        for z in range(2):
            write_png(tmp_path, f"{z}.png", STACK[z].astype(np.uint8))
        np.testing.assert_array_equal(open_volume(tmp_path), STACK[:2])


def png_bytes(header, data=b""):
    """A PNG image with the given (width, height, bits, colour type)."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


class TestRefusals:
    @pytest.fixture
    def folder(self, tmp_path):
        for z, plane in enumerate(STACK.astype(np.uint8)):
            write_tiff(tmp_path / "data", f"{z}.tif", plane)
        return tmp_path / "data"

    def test_an_empty_folder(self, tmp_path):
        refused(tmp_path, "no TIFF or PNG image")

    def test_one_image(self, tmp_path):
        write_tiff(tmp_path, "0.tif", STACK[0])
        refused(tmp_path, "one slice of 6 x 8")

    @pytest.mark.parametrize(
        ("plane", "words"),
        [
            (np.zeros((6, 9), np.uint8), "6 x 9 uint8"),
            (np.zeros((5, 8), np.uint8), "5 x 8 uint8"),
            (np.zeros((6, 8), np.uint16), "6 x 8 uint16"),
            (np.zeros((6, 8, 3), np.uint8), "6 x 8 uint8 with 3 channels"),
        ],
    )
    def test_the_first_that_differs_is_named(self, folder, plane, words):
        for z in (7, 10):
            write_tiff(folder, f"{z}.tif", plane, photometric="rgb" if plane.ndim == 3 else "minisblack")
        assert refused(folder, words) == f"'{folder / '7.tif'}' is {words}, but '{folder / '0.tif'}' is 6 x 8 uint8"

    @pytest.mark.parametrize("name", ["12.png", "preview.jpg"])
    def test_mixed_formats(self, folder, name):
        (folder / name).touch()
        refused(folder, "12 of TIFF, 1 of ")
        assert open_volume(folder / "*.tif").shape == (12, 6, 8)

    def test_formats_that_are_not_read(self, folder):
        (folder / "a.jpg").touch()
        (folder / "b.jpg").touch()
        refused(folder / "*.jpg", r"files of \.jpg; a sequence is read from \.tif, \.tiff, \.png")

    def test_stacks_in_a_folder(self, folder):
        write_tiff(folder, "5.tif", STACK[:6].astype(np.uint8), photometric="minisblack")
        refused(folder, "'.*5.tif' has 6 slices")

    def test_a_truncated_image(self, folder):
        whole = (folder / "9.tif").read_bytes()
        (folder / "9.tif").write_bytes(whole[: len(whole) // 2])
        refused(folder, "'.*9.tif' is truncated")

    def test_a_truncated_png(self, tmp_path):
        for z in range(3):
            write_png(tmp_path, f"{z}.png", STACK[z].astype(np.uint8))
        whole = (tmp_path / "2.png").read_bytes()
        for size in range(len(whole)):
            (tmp_path / "2.png").write_bytes(whole[:size])
            refused(tmp_path, "'.*2.png' is (truncated|not a PNG)")
        (tmp_path / "2.png").write_bytes(whole + b"trailing bytes")
        np.testing.assert_array_equal(open_volume(tmp_path), STACK[:3])

    def test_a_damaged_png(self, tmp_path):
        for z in range(2):
            (tmp_path / f"{z}.png").write_bytes(png_bytes((8, 6, 8, 0), bytes(3)))
        with open_volume(tmp_path) as volume, pytest.raises(VolumeError, match="as PNG") as caught:
            volume[0]
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("header", "words"), [((8, 6, 8, 3), "palette"), ((8, 6, 16, 2), "16-bit colour")])
    def test_kinds_of_png_that_would_change_values(self, tmp_path, header, words):
        for z in range(2):
            (tmp_path / f"{z}.png").write_bytes(png_bytes(header))
        refused(tmp_path, words)

    def test_an_image_that_changes_while_open(self, tmp_path):
        for z in range(2):
            write_png(tmp_path, f"{z}.png", STACK[z].astype(np.uint8))
        with open_volume(tmp_path) as volume:
            write_png(tmp_path, "1.png", STACK[0, :3].astype(np.uint8))
            with pytest.raises(VolumeError, match="has changed"):
                volume[1]
