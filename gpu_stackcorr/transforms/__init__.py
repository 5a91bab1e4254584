"""What is done to an image before it is compared or learned from: flips, turns, noise, affine and elastic deformation.

A transform is called with an image, the number of its slice or sample, and labels that move with it.
"""

from .base import Function, Transform
from .compose import Compose, Plan, as_transform, plan
from .deformations import Affine, Deformation, Elastic
from .noise import AddNoise, noise_field
from .permutations import Permutation, flip_right_left, flip_up_down, identity, rotate_90

__all__ = [
    "AddNoise",
    "Affine",
    "Compose",
    "Deformation",
    "Elastic",
    "Function",
    "Permutation",
    "Plan",
    "Transform",
    "as_transform",
    "flip_right_left",
    "flip_up_down",
    "identity",
    "noise_field",
    "plan",
    "rotate_90",
]
