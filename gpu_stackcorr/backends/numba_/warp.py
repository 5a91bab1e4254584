"""Placeholder."""

from gpu_stackcorr.backends.numpy_.warp import warp

__all__ = ["warp"]
