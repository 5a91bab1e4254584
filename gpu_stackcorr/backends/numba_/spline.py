"""Placeholder."""

from gpu_stackcorr.backends.numpy_.spline import spline_filter

__all__ = ["spline_filter"]
