"""The ``numba`` backend: compiled loops on the CPU, one module an operation. Its operations are not written yet."""
