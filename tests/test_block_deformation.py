"""deform_volume: block by block what elastic_transform does at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr import deform_volume, elastic_transform
from gpu_stackcorr.block_deformation import MARGINS
from gpu_stackcorr.errors import InputTypeError, ParameterError

MODES = ("reflect", "grid-mirror", "constant", "grid-constant", "nearest", "mirror", "grid-wrap", "wrap")


def image_of(dtype="float64", shape=(21, 30, 33), seed=0):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    return (100 * (image - image.min()) / (np.ptp(image) or 1)).astype(dtype)


class Chunked:
    """A target stored in chunks, as Zarr's, that counts who writes them."""

    def __init__(self, shape, dtype, chunks):
        self.array = np.zeros(shape, dtype)
        self.shape, self.dtype, self.chunks = shape, np.dtype(dtype), chunks
        self.writers = {}

    def __getitem__(self, key):
        return self.array[key]

    def __setitem__(self, key, value):
        self.array[key] = value
        places = [range(part.start // n, -(-part.stop // n)) for part, n in zip(key, self.chunks, strict=True)]
        for place in np.stack(np.meshgrid(*places), -1).reshape(-1, len(places)).tolist():
            self.writers[tuple(place)] = self.writers.get(tuple(place), 0) + 1


def both(image, *, memory, labels=None, **how):
    """The deformed image (and labels) at once, and in blocks."""
    whole = elastic_transform(image, labels=labels, check_folds=False, **how)
    target = np.empty_like(image)
    labels_target = None if labels is None else np.empty_like(labels)
    seen = []
    deform_volume(
        image,
        target,
        labels=labels,
        labels_target=labels_target,
        memory=memory,
        progress=lambda done, count: seen.append((done, count)),
        **how,
    )
    assert seen == [(n + 1, len(seen)) for n in range(len(seen))]
    return whole, target if labels is None else (target, labels_target), len(seen)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("order", "dtype"), [(0, "uint16"), (1, "uint8"), (1, "float32"), (1, "float64")])
def test_blocks_are_those_of_the_whole_to_the_bit(backend, order, dtype, mode):
    shape = (6, 9, 60)
    image, labels = image_of(dtype, shape), image_of("uint64", shape, seed=1) + np.uint64(2**63)
    how = {"alpha": (5, 10, 10), "sigma": 1, "seed": 5, "index": 3, "order": order, "mode": mode, "cval": 7}
    memory = 170_000 if dtype == "float64" else 100_000
    whole, blocks, count = both(image, labels=labels, memory=memory, backend=backend.name, **how)
    assert count > 3
    np.testing.assert_array_equal(blocks[0], whole[0])
    np.testing.assert_array_equal(blocks[1], whole[1])


@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("mode", ["reflect", "constant", "nearest", "grid-wrap"])
def test_blocks_of_orders_with_a_prefilter(backend, order, mode):
    image = image_of(shape=(260, 240))
    how = {"alpha": 40, "sigma": 3, "seed": 5, "order": order, "mode": mode, "backend": backend.name}
    whole, blocks, count = both(image, memory=[0, 0, 900_000, 1_000_000, 1_200_000, 1_300_000][order], **how)
    assert count > 3
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=1e-12 * 100)


@pytest.mark.parametrize(
    "how",
    [
        {"alpha": 20, "sigma": 2, "axes": (1, 2)},
        {"alpha": 20, "sigma": 2, "axes": (1, 2), "shared": True},
        {"alpha": 20, "sigma": (1, 2, 2), "axes": (1, 2)},
        {"alpha": 4, "sigma": 6, "method": "grid"},
        {"alpha": 40, "sigma": 4, "spacing": 4},
        {"alpha": 0, "sigma": 0},
        {"alpha": 900, "sigma": 1},
    ],
)
def test_blocks_of_every_kind_of_field(backend, how):
    whole, blocks, count = both(image_of("float32"), memory=450_000, seed=2, backend=backend.name, **how)
    assert count > 3
    np.testing.assert_array_equal(blocks, whole)


@given(data=st.data())
def test_any_blocks_of_any_volume(data):
    shape = tuple(data.draw(st.integers(1, 24)) for _ in range(data.draw(st.sampled_from([2, 3]))))
    how = {
        "alpha": data.draw(st.sampled_from([0, 5, 50, 500])),
        "sigma": data.draw(st.sampled_from([0, 0.7, 2])),
        "mode": data.draw(st.sampled_from(MODES)),
        "order": data.draw(st.sampled_from([0, 1])),
        "seed": data.draw(st.integers(0, 2**64 - 1)),
        "backend": "numpy",
    }
    whole, blocks, _ = both(image_of("float32", shape), memory=data.draw(st.integers(300_000, 1_000_000)), **how)
    np.testing.assert_array_equal(blocks, whole)


def test_parts_and_what_is_already_written_make_up_the_whole():
    image = image_of("uint8")
    how = {"alpha": 30, "sigma": 2, "seed": 5}
    expected = elastic_transform(image, check_folds=False, **how)
    target, written = np.zeros_like(image), []

    def die(done, count):
        written.append((done, count))
        if len(written) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deform_volume(image, target, memory=350_000, part=(2, 3), progress=die, **how)
    recipe = deform_volume(
        image, target, memory=350_000, part=(2, 3), skip=2, progress=lambda *at: written.append(at), **how
    )
    assert [done for done, _ in written] == list(range(1, written[0][1] + 1))
    assert not np.array_equal(target, expected)
    for number in (1, 3):
        deform_volume(image, target, memory=350_000, part=(number, 3), **how)
    np.testing.assert_array_equal(target, expected)
    recipe.verify()


def test_no_chunk_is_written_twice():
    image = image_of("uint8", (30, 40, 50))
    target = Chunked(image.shape, image.dtype, (8, 12, 16))
    deform_volume(image, target, 30, 2, seed=1, memory=900_000)
    np.testing.assert_array_equal(target.array, elastic_transform(image, 30, 2, seed=1, check_folds=False))
    assert set(target.writers.values()) == {1}
    assert len(target.writers) == 4 * 4 * 4


def test_memory_is_that_of_a_block_and_not_of_the_volume():
    source = np.broadcast_to(np.uint8(1), (400, 400, 400))  # 64 MB that are not there

    class Nothing:
        shape, dtype = source.shape, source.dtype

        def __getitem__(self, key):
            raise AssertionError

        def __setitem__(self, key, value):
            assert (value == 1).all()

    tracemalloc.start()
    deform_volume(source, Nothing(), 20, 3, seed=1, memory=2**23, part=(1, 200), backend="numpy")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**25


def test_a_file_that_is_mapped(tmp_path):
    image = image_of("float32")
    np.save(tmp_path / "in.npy", image)
    np.save(tmp_path / "out.npy", np.zeros_like(image))
    source, target = np.load(tmp_path / "in.npy", mmap_mode="r"), np.load(tmp_path / "out.npy", mmap_mode="r+")
    deform_volume(source, target, 30, 2, seed=1, memory=500_000)
    target.flush()
    np.testing.assert_array_equal(
        np.load(tmp_path / "out.npy"), elastic_transform(image, 30, 2, seed=1, check_folds=False)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": np.zeros((4, 5, 7))}, "^target has shape"),
        ({"target": np.zeros((4, 5, 6), np.float32)}, "^target has .* dtype float32: allowed are those of source"),
        ({"target": [1]}, "^target is list"),
        ({"source": [1]}, "^source is list"),
        ({"labels": np.zeros((4, 5, 6), int)}, "^labels and labels_target"),
        ({"labels": np.zeros((4, 5, 6)), "labels_target": np.zeros((4, 5, 6))}, "^labels has .* dtype float64"),
        ({"order": 6}, "^order = 6"),
        ({"mode": "edge"}, "^mode = 'edge'"),
        ({"alpha": -1}, "^alpha = -1"),
        ({"memory": 10}, "^memory = 10: allowed are .* bytes or more"),
        ({"part": (0, 3)}, r"^part = \(0, 3\)"),
        ({"part": 3}, "^part = 3"),
        ({"skip": 2}, "^skip = 2: allowed are the integers 0 to 1"),
        ({"method": "x"}, "^method = 'x'"),
    ],
)
def test_what_is_not_allowed(arguments, message):
    source = np.zeros((4, 5, 6))
    with pytest.raises(ParameterError, match=message):
        deform_volume(
            **{"source": source, "target": np.zeros((4, 5, 6)), "alpha": 1, "sigma": 1, "seed": 1, **arguments}
        )


def test_a_volume_is_not_deformed_into_itself():
    source = np.zeros((4, 5))
    with pytest.raises(ParameterError, match=r"^target: allowed is .* is not source"):
        deform_volume(source, source, 1, 1, seed=1)
    with pytest.raises(InputTypeError, match=r"^source has dtype float16"):
        deform_volume(source.astype(np.float16), np.zeros((4, 5), np.float16), 1, 1, seed=1)


def test_the_margins_hold_what_a_prefilter_carries_over():
    poles = {2: 3 - 8**0.5, 3: 2 - 3**0.5, 4: 0.361341225900220, 5: 0.430575347099973}
    assert all(pole ** MARGINS[order] < 1e-16 for order, pole in poles.items())


@pytest.mark.parametrize("library", ["zarr", "h5py"])
def test_files_in_chunks(library, tmp_path):
    image = image_of("uint16")
    labels = image_of("uint64", seed=1) + np.uint64(2**63)
    how = {"alpha": 30, "sigma": 2, "seed": 1}
    expected = elastic_transform(image, labels=labels, check_folds=False, **how)
    if library == "zarr":
        root = pytest.importorskip("zarr").create_group(tmp_path / "volume.zarr")
        make = {"chunks": (7, 10, 11)}
        arrays = {
            name: root.create_array(name, shape=image.shape, dtype=dtype, **make)
            for name, dtype in (("a", "uint16"), ("b", "uint16"), ("c", "uint64"), ("d", "uint64"))
        }
    else:
        file = pytest.importorskip("h5py").File(tmp_path / "volume.h5", "w")
        arrays = {
            name: file.create_dataset(name, image.shape, dtype, chunks=(7, 10, 11))
            for name, dtype in (("a", "uint16"), ("b", "uint16"), ("c", "uint64"), ("d", "uint64"))
        }
    arrays["a"][...], arrays["c"][...] = image, labels
    deform_volume(arrays["a"], arrays["b"], labels=arrays["c"], labels_target=arrays["d"], memory=900_000, **how)
    np.testing.assert_array_equal(arrays["b"][...], expected[0])
    np.testing.assert_array_equal(arrays["d"][...], expected[1])
    if library == "h5py":
        file.close()
