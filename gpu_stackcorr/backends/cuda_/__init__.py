"""The ``cuda`` backend: the kernels of ``kernels/``, launched through CuPy. Its operations are not written yet."""
