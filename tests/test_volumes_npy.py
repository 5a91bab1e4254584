"""NPY volumes: every layout, box for box as NumPy's own reading; memory; bad files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr.errors import ParameterError, VolumeError
from gpu_stackcorr.volumes import open_volume, raw

DTYPES = ["?", "i1", "u1", "<i2", ">u2", "<u4", ">i8", "<f4", ">f4", "<f8", ">f8"]


def stack(shape, dtype="<f8"):
    """Values that all differ as far as the dtype allows."""
    return (np.arange(np.prod(shape)).reshape(shape) % 251).astype(dtype)


@pytest.fixture(params=["short rows", "long rows"])
def row_limits(request, monkeypatch):
    """The limits of the reader as they are, and so small that small arrays take the ways of large ones."""
    if request.param == "long rows":
        monkeypatch.setattr(raw, "_SHORT_ROW", 16)
        monkeypatch.setattr(raw, "_SCRATCH", 64)


def test_a_box_by_hand(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    with open_volume(tmp_path / "a.npy") as volume:
        assert (volume.format, volume.shape, volume.dtype) == ("NPY", (2, 3, 4), np.uint8)
        assert volume.read(((1, 2), (0, 2), (1, 3))).tolist() == [[[13, 14], [17, 18]]]


@pytest.mark.usefixtures("row_limits")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("shape", [(5, 7, 11), (5, 1, 7, 11)])
def test_every_dtype_order_and_byte_order(tmp_path, dtype, order, shape):
    array = np.asarray(stack(shape, dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    expected = array.reshape(5, 7, 11).astype(np.dtype(dtype).newbyteorder("="))
    with open_volume(tmp_path / "a.npy") as volume:
        assert (volume.shape, volume.dtype, volume.channels) == ((5, 7, 11), expected.dtype, 1)
        for box in [np.s_[:], np.s_[2], np.s_[1:4, 2:5, 3:9], np.s_[4:, :1, 10:], np.s_[1:3, 4:6], np.s_[:, 3, 5]]:
            found = volume[box]
            np.testing.assert_array_equal(found, expected[box])
            assert found.dtype == expected.dtype
            assert found.flags.c_contiguous
            assert found.flags.writeable


@pytest.mark.usefixtures("row_limits")
@pytest.mark.parametrize("order", "CF")
def test_channels(tmp_path, order):
    array = np.asarray(stack((4, 3, 5, 6)), order=order)
    np.save(tmp_path / "a.npy", array)
    for channel in range(3):
        with open_volume(tmp_path / "a.npy", channel=channel) as volume:
            assert (volume.shape, volume.channels, volume.channel) == ((4, 5, 6), 3, channel)
            np.testing.assert_array_equal(volume, array[:, channel])
            np.testing.assert_array_equal(volume[1:3, 2:, 1:4], array[1:3, channel, 2:, 1:4])
    with pytest.raises(ParameterError, match=r"3 channels: choose one of channel 0, 1, 2"):
        open_volume(tmp_path / "a.npy")
    with pytest.raises(ParameterError, match="channel=3"):
        open_volume(tmp_path / "a.npy", channel=3)


@given(data=st.data())
def test_boxes_of_any_array_in_a_file(data, tmp_path_factory):
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    ranges = [tuple(sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2)))) for size in shape]
    offset, short, scratch = data.draw(st.tuples(st.integers(0, 9), st.integers(0, 40), st.integers(1, 80)))
    axes = data.draw(st.permutations(range(len(shape))))
    array = stack(shape, ">u2")
    path = tmp_path_factory.getbasetemp() / "box.raw"
    path.write_bytes(bytes(offset) + array.tobytes())
    sizes = [stop - start for start, stop in ranges]
    out = np.full([sizes[axis] for axis in axes], 999, ">u2").transpose(np.argsort(axes))
    with pytest.MonkeyPatch.context() as patch, path.open("rb", buffering=0) as file:
        patch.setattr(raw, "_SHORT_ROW", short)
        patch.setattr(raw, "_SCRATCH", scratch)
        raw.read_box(file, offset, shape, ranges, out)
    np.testing.assert_array_equal(out, array[tuple(slice(*ends) for ends in ranges)])


def test_the_notebooks_stack_in_small(tmp_path):
    array = stack((165, 1, 6, 8), np.float64)
    np.save(tmp_path / "training_inputs.npy", array)
    with open_volume(tmp_path / "training_inputs.npy") as volume:
        assert (volume.shape, volume.dtype, volume.nbytes) == ((165, 6, 8), np.float64, array.nbytes)
        np.testing.assert_array_equal(volume[164], array[164, 0])


def test_header_of_version_2(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, stack((2, 3, 4)), version=(2, 0))
    np.testing.assert_array_equal(open_volume(tmp_path / "a.npy"), stack((2, 3, 4)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_is_that_of_the_slab(tmp_path):
    # 512 MiB, of which the file system holds none; a map that stays open would be resident as a whole. Not ru_maxrss,
    # which a new process inherits from the one that started it.
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (512, 1024, 1024)).flush()
    code = """if True:
        import sys
        from gpu_stackcorr.volumes import open_volume
        def peak():
            return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
        volume = open_volume(sys.argv[1])
        volume[0]
        before = peak()
        total = sum(int(volume[z : z + 8].max()) for z in range(0, 512, 8))
        print(total, peak() - before)
    """
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.npy"], capture_output=True, text=True, check=True)
    total, grown = map(int, run.stdout.split())
    assert total == 0
    assert grown < 32 * 1024


class TestBadFiles:
    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((3, 4)), "one slice of 3 x 4"),
            (np.zeros((1, 3, 4)), "one slice of 3 x 4"),
            (np.zeros((1, 1, 3, 4)), "one slice of 3 x 4"),
            (np.zeros((0, 3, 4)), "empty"),
            (np.zeros((2, 0, 4)), "empty"),
            (np.zeros((2, 0, 3, 4)), "empty"),
            (np.zeros(5), r"shape \(5,\)"),
            (np.zeros(()), r"shape \(\)"),
            (np.zeros((2, 2, 2, 2, 2)), "shape"),
            (np.zeros((2, 3, 4), np.complex64), "complex64"),
            (np.zeros((2, 3, 4), np.float16), "float16"),
            (np.zeros((2, 3, 4), "U3"), "<U3"),
            (np.zeros((2, 3, 4), "M8[s]"), "datetime64"),
            (np.zeros((2, 3, 4), [("a", "f4")]), "'a'"),
            (np.full((2, 3, 4), None), "object"),
        ],
    )
    def test_wrong_arrays(self, tmp_path, array, words):
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        with pytest.raises(VolumeError, match=words) as caught:
            open_volume(tmp_path / "a.npy")
        assert "\n" not in str(caught.value)

    def test_every_truncation(self, tmp_path):
        np.save(tmp_path / "a.npy", stack((2, 3, 4)))
        whole = (tmp_path / "a.npy").read_bytes()
        for size in range(len(whole)):
            (tmp_path / "a.npy").write_bytes(whole[:size])
            with pytest.raises(VolumeError, match=r"a\.npy") as caught:
                open_volume(tmp_path / "a.npy")
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"\x93NUMPY\x01", b"\x93NUMPY\x03"),
            (b"\x93NUMPY\x01", b"\x93NUMPX\x01"),
            (b"'<f8'", b"'<q8'"),
            (b"(2, 3, 4)", b"(2, 3,-4)"),
            (b"(2, 3, 4)", b"(2, 3, x)"),
            (b"(2, 3, 4)", b"(2, 3, 4("),
            (b"'shape'", b"'shope'"),
        ],
    )
    def test_damaged_headers(self, tmp_path, old, new):
        np.save(tmp_path / "a.npy", stack((2, 3, 4)))
        whole = (tmp_path / "a.npy").read_bytes()
        assert old in whole
        (tmp_path / "a.npy").write_bytes(whole.replace(old, new))
        with pytest.raises(VolumeError, match="as NPY") as caught:
            open_volume(tmp_path / "a.npy")
        assert "\n" not in str(caught.value)

    def test_a_file_that_shrinks_while_open(self, tmp_path):
        np.save(tmp_path / "a.npy", stack((2, 3, 4)))
        with open_volume(tmp_path / "a.npy") as volume:
            (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
            volume[0]
            with pytest.raises(VolumeError, match="cut short"):
                volume[1]
            (tmp_path / "a.npy").unlink()
            with pytest.raises(VolumeError, match="No such file"):
                volume[0]
