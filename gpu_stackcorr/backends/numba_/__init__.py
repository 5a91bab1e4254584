"""The ``numba`` backend: compiled loops on the CPU, one module an operation. ``probe`` asks whether they can run."""
