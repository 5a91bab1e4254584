"""Transforms and what they do by hand: each slice transformed, standardised, noise added, np.corrcoef."""

from __future__ import annotations

import numpy as np

from gpu_stackcorr import compose_displacements, displacement_field, elastic_transform, transform_battery, warp
from gpu_stackcorr.backends.base import field_dtype
from gpu_stackcorr.transforms import Compose, Elastic, flip_right_left, flip_up_down, identity, rotate_90

SEED = 11
DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint64", "float32", "float64"]


def stack_of(dtype="float64", n=4, shape=(13, 13), seed=0):
    """A stack whose slices are alike, of a range that suits the dtype."""
    generator = np.random.default_rng(seed)
    common, own = generator.normal(size=shape), generator.normal(size=(n, *shape))
    stack = common + 0.7 * own
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return stack > 0
    if dtype.kind in "iu":
        middle = 0 if dtype.kind == "i" else 100
        return np.clip(np.rint(middle + 30 * stack), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    return (5 + stack).astype(dtype)


def by_hand(x, y, noise=None, mask=None):
    """r of a reference with a transformed slice, in plain NumPy, over the pixels that count."""
    mask = np.ones(x.shape, bool) if mask is None else mask
    x, y = x[mask].astype(np.float64), y[mask].astype(np.float64)
    y = (y - y.mean()) / y.std()
    if noise is not None:
        y = y + noise[mask]
    return np.corrcoef(x, y)[0, 1]


def root(image):
    """A function of an image that is neither linear nor the same for all pixels."""
    return np.sqrt(np.abs(image.astype(np.float64) - 3)) + np.linspace(0, 0.5, image.shape[1])


def elastic(image, index, seed=SEED, order=1):
    return elastic_transform(image, 40, 3, seed=seed, index=index, order=order, check_folds=False)


def twice(image, index):
    """Two deformations by one field, interpolated once."""
    field = displacement_field(image.shape, 40, 3, seed=SEED, index=index, dtype=field_dtype(image.dtype))
    return warp(image, compose_displacements(field, field))


ELASTIC = Elastic(40, 3)
TRANSFORMS = {
    "identity": (identity, lambda y, n: y),
    "flip_right_left": (flip_right_left, lambda y, n: y[:, ::-1]),
    "flip_up_down": (flip_up_down, lambda y, n: y[::-1]),
    "rotate_90": (rotate_90, lambda y, n: np.rot90(y)),
    "rotate twice": (Compose(rotate_90, rotate_90), lambda y, n: y[::-1, ::-1]),
    "rotate, flip": (Compose(rotate_90, flip_right_left), lambda y, n: np.rot90(y)[:, ::-1]),
    "flip, rotate": (Compose(flip_right_left, rotate_90), lambda y, n: np.rot90(y[:, ::-1])),
    "elastic": (ELASTIC, elastic),
    "elastic, flip": (Compose(ELASTIC, flip_up_down), lambda y, n: elastic(y, n)[::-1]),
    "flip, elastic": (Compose(flip_up_down, ELASTIC), lambda y, n: elastic(y[::-1], n)),
    "elastic, rotate": (Compose(ELASTIC, rotate_90), lambda y, n: np.rot90(elastic(y, n))),
    "own seed": (Elastic(40, 3, seed=5), lambda y, n: elastic(y, n, seed=5)),
    "elastic twice": (Compose(ELASTIC, ELASTIC), twice),
    "elastic, elastic": (
        Compose(ELASTIC, Elastic((40, 40), 3, order=0)),
        lambda y, n: elastic(elastic(y, n), n, order=0),
    ),
    "function": (root, lambda y, n: root(y)),
    "function, rotate": (Compose(root, rotate_90), lambda y, n: np.rot90(root(y))),
    "rotate, function": (Compose(rotate_90, root), lambda y, n: root(np.rot90(y))),
    "function, elastic, flip": (Compose(root, ELASTIC, flip_right_left), lambda y, n: elastic(root(y), n)[:, ::-1]),
}


def one(stack, transform, **keywords):
    (result,) = transform_battery(stack, [transform], **keywords).values()
    return result


def near(backend, dtype):
    """Return a tolerance: where cuda correlates float32 slices that it deforms, they are not the same in float32."""
    return 1e-6 if backend.name == "cuda" and dtype == "float32" else 1e-12
