"""Placeholder."""

from gpu_stackcorr.backends.numpy_.map_coordinates import map_coordinates

__all__ = ["map_coordinates"]
