"""Stands in for CuPy where there is no GPU: device arrays in the emulator's memory, kernels run by the emulator.

With this folder's parent on the path ``import cupy`` finds it, and our own code for CuPy runs as it stands: loader,
probe, array layer, benchmarks. It refuses what CuPy refuses (arrays of the host where there should be some of the
device, conversion to NumPy in silence, structures by value that are no arrays), and knows no more of CuPy than we use.

What it cannot show: whether CuPy has what is used here, under these names and with these arguments (of the names
`test_cuda_interchange.py` makes sure where CuPy is installed); order on streams, as everything is done at once; DLPack;
the time that anything takes; several devices; what CuPy's own kernels do at the edges of dtypes.
"""

from . import cuda
from ._arrays import (
    FUNCTIONS,
    RawModule,
    asarray,
    ascontiguousarray,
    asnumpy,
    empty,
    from_dlpack,
    get_default_memory_pool,
    lifted,
    ndarray,
)

__version__ = "14.2.0"
is_stand_in = True
__all__ = [
    "RawModule",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "cuda",
    "empty",
    "from_dlpack",
    "get_default_memory_pool",
    "linalg",
    "ndarray",
    "random",
]


class linalg:  # noqa: N801
    """``cupy.linalg``, in part."""

    @staticmethod
    def norm(x):
        """Return the length of a vector."""
        import numpy

        return lifted(numpy.linalg.norm)(x)


class random:  # noqa: N801
    """``cupy.random``, in part."""

    @staticmethod
    def default_rng(seed):
        """Return a generator."""
        import numpy

        generator = numpy.random.default_rng(seed)
        generator_of_device = type("Generator", (), {})()
        generator_of_device.random = lifted(generator.random)
        generator_of_device.standard_normal = lifted(generator.standard_normal)
        return generator_of_device

    @staticmethod
    def random(size, dtype="f8"):
        """Return uniform numbers."""
        import numpy

        return lifted(numpy.random.default_rng(0).random)(size, dtype)


def __getattr__(name):
    if name in FUNCTIONS:
        import numpy

        return lifted(getattr(numpy, name))
    raise AttributeError(f"the stand-in for CuPy has no {name!r}")
