"""Placeholder."""

from gpu_stackcorr.backends.numpy_.random_field import random_field

__all__ = ["random_field"]
