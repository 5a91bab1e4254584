"""The intervals of a battery's members: those of the transformed slices themselves, however the member was computed."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_stackcorr import elastic_transform, image_correlation, phantom, transform_battery
from gpu_stackcorr.intervals import METHODS
from gpu_stackcorr.transforms import (
    AddNoise,
    Compose,
    Elastic,
    flip_right_left,
    flip_up_down,
    identity,
    noise_field,
    rotate_90,
)

SEED = 3


def standardised(image):
    return (image - image.mean()) / image.std()


def deformed(image, z):
    return elastic_transform(image, 40, 4, seed=SEED, index=z, check_folds=False)


TRANSFORMS = {
    "identity": (identity, lambda image, z: image),
    "flip right left": (flip_right_left, lambda image, z: image[:, ::-1]),
    "flip up down": (flip_up_down, lambda image, z: image[::-1]),
    "rotate": (rotate_90, lambda image, z: np.rot90(image)),
    "elastic": (Elastic(40, 4), deformed),
    "elastic, flip": (Compose(Elastic(40, 4), flip_up_down), lambda image, z: deformed(image, z)[::-1]),
}


@pytest.fixture(scope="module")
def stack():
    return phantom((4, 61, 61), correlation_length=3.0, seed=1)  # 61 pixels: no two cells need have one width


def same_interval(result, n, expected):
    assert result.statistic[n] == pytest.approx(expected.statistic, abs=1e-12)
    for name in ("standard_error", "df", "n_eff"):
        assert getattr(result, name)[n] == pytest.approx(getattr(expected, name), rel=1e-8, nan_ok=True), name
    assert (result.window[n], result.saturated[n]) == (expected.window, expected.saturated)


@pytest.mark.parametrize("ci", METHODS)
@pytest.mark.parametrize("noise", [0.0, 1.5])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_member_has_the_interval_of_its_slices(stack, backend, name, noise, ci):
    transform, by_hand = TRANSFORMS[name]
    member = Compose(transform, AddNoise(noise)) if noise else transform
    (result,) = transform_battery(stack, [member], reference=1, ci=ci, seed=SEED, backend=backend.name).values()
    assert result.method == (ci or "none")
    field = noise_field(stack.shape[1:], SEED)
    for n in (0, 2, 3):
        image = by_hand(stack[n], n)
        seen = standardised(image.astype(float)) + noise * field if noise else image
        same_interval(result, n, image_correlation(stack[1], seen, ci=ci, backend=backend.name))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_under_a_mask(stack, backend, name):
    transform, by_hand = TRANSFORMS[name]
    mask = np.random.default_rng(0).random(stack.shape[1:]) < 0.6
    (result,) = transform_battery(stack, [transform], mask=mask, seed=SEED, backend=backend.name).values()
    for n in (1, 3):
        same_interval(result, n, image_correlation(stack[0], by_hand(stack[n], n), mask=mask, backend=backend.name))


def test_the_slice_itself_and_a_constant_one(stack, backend):
    image = stack[0]
    itself = image_correlation(image, image, backend=backend.name)
    assert tuple(itself.confidence_interval()) == (1, 1)
    assert itself.n_eff == itself.n
    with pytest.warns(match="no variance"):
        constant = image_correlation(image, np.zeros_like(image), backend=backend.name)
    assert np.isnan(constant.confidence_interval()).all()


@pytest.mark.parametrize("shape", [(15, 64), (64, 15), (2, 3)])
@pytest.mark.parametrize("ci", ["tiles", "effective"])
def test_small_images_have_no_interval_and_say_so(backend, shape, ci):
    images = np.random.default_rng(0).random((2, *shape))
    result = image_correlation(*images, ci=ci, backend=backend.name)
    assert tuple(result.confidence_interval()) == (-1, 1)
    assert result.saturated
    assert -1 < result.statistic < 1
