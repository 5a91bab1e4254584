"""Placeholder."""

from gpu_stackcorr.backends.numpy_.moments import moments

__all__ = ["moments"]
