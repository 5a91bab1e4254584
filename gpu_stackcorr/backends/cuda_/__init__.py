"""The ``cuda`` backend: the kernels of ``kernels/``, launched on a device. One module an operation."""
