"""Placeholder."""

from gpu_stackcorr.backends.numpy_.cross_moments import cross_moments

__all__ = ["cross_moments"]
