"""Placeholder."""

from gpu_stackcorr.backends.numpy_.gaussian import gaussian_filter

__all__ = ["gaussian_filter"]
