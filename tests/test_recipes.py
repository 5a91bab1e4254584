"""Recipes: a field computed again elsewhere, and proved to be the same."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gpu_stackcorr import Recipe, displacement_field, make_recipe
from gpu_stackcorr.errors import ParameterError, RecipeError
from gpu_stackcorr.recipes import sample_blocks
from gpu_stackcorr.transforms import Elastic

FIELDS = {
    "plane": {"shape": (40, 50), "alpha": 30, "sigma": 4},
    "volume": {"shape": (9, 20, 21), "alpha": (5, 10, 10), "sigma": (1, 2, 2)},
    "slices": {"shape": (9, 20, 21), "alpha": 10, "sigma": 2, "axes": (1, 2), "index": 7},
    "shared": {"shape": (9, 20, 21), "alpha": 10, "sigma": 2, "axes": (1, 2), "shared": True},
    "in-plane": {"shape": (9, 20, 21), "alpha": 10, "sigma": (1, 2, 2), "axes": (1, 2)},
    "first axis": {"shape": (9, 20, 21), "alpha": 10, "sigma": (1, 2, 2), "axes": (0,)},
    "grid": {"shape": (40, 50), "alpha": 3, "sigma": 12, "method": "grid"},
    "nm": {"shape": (40, 50), "alpha": 120, "sigma": 16, "spacing": (4, 4)},
    "tiny": {"shape": (1, 3), "alpha": 3, "sigma": 1},
    "empty": {"shape": (0, 3), "alpha": 3, "sigma": 1},
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_recipe_is_proved_on_every_backend(backend, name):
    recipe = make_recipe(**FIELDS[name], seed=2**64 - 1, backend="numpy")
    recipe.verify(backend=backend.name)
    same = Recipe.from_json(recipe.to_json())
    assert same == recipe
    expected = displacement_field(**FIELDS[name], seed=2**64 - 1, backend=backend.name)
    np.testing.assert_array_equal(same.displacement(backend=backend.name), expected)


@pytest.mark.parametrize("name", ["plane", "volume", "slices", "shared", "in-plane", "grid"])
@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"index": 3}, {"alpha": (31.0, 30.0, 30.0)}, {"sigma": (12.5, 12.5, 12.5)}]
)
def test_what_is_changed_does_not_prove(name, change):
    recipe = make_recipe(**FIELDS[name], seed=3)
    for key, value in change.items():
        changed = replace(recipe, **{key: value[: len(getattr(recipe, key))] if isinstance(value, tuple) else value})
        with pytest.raises(RecipeError, match=r"^the (noise|displacement) of the block "):
            changed.verify()


def test_the_hashes_are_those_of_numpys_philox():
    import hashlib

    recipe = make_recipe((40, 50), 30, 4, seed=3, index=5)
    noise = [
        np.random.Generator(np.random.Philox(key=np.array([3, axis << 48 | 5], np.uint64))).random((40, 50), np.float32)
        for axis in (1, 0)
    ]
    for sample in recipe.samples:
        block = np.stack([each[tuple(slice(*ends) for ends in sample.box)] for each in noise])
        assert hashlib.sha256(block.tobytes()).hexdigest() == sample.noise


def test_sample_blocks():
    assert sample_blocks((100, 9)) == [
        ((0, 8), (0, 8)),
        ((0, 8), (1, 9)),
        ((92, 100), (0, 8)),
        ((92, 100), (1, 9)),
        ((46, 54), (0, 8)),
    ]
    assert sample_blocks((3,)) == [((0, 3),)]


def test_a_file_of_json(tmp_path):
    recipe = Elastic((100, 120), 16, seed=1, spacing=4.0).recipe((64, 64), index=12)
    text = recipe.to_json(tmp_path / "recipe.json")
    assert (tmp_path / "recipe.json").read_text() == text + "\n"
    record = json.loads(text)
    assert (record["format"], record["seed"], record["index"], record["alpha"]) == (1, 1, 12, [100, 120])
    assert Recipe.from_json((tmp_path / "recipe.json").read_text()) == recipe


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"alpha": None}, {"sigma": [-1, 1]}, {"seed": -1}, {"axes": [5]}, {"samples": 3}, {"more": 1}],
)
def test_texts_that_are_no_recipes(change):
    record = {**json.loads(make_recipe((20, 20), 3, 1, seed=1).to_json()), **change}
    for text in (json.dumps(record), "", "[]", "{}"):
        with pytest.raises(RecipeError):
            Recipe.from_json(text)


def test_a_recipe_needs_a_seed():
    with pytest.raises(ParameterError, match=r"^seed = None"):
        Elastic(3, 1).recipe((8, 8))
    with pytest.raises(ParameterError, match=r"^seed = None"):
        make_recipe((8, 8), 3, 1, seed=None)
