"""The operations of the ``numpy`` backend."""

from __future__ import annotations

from gpu_stackcorr.backends.base import Backend

from . import cross_moments, gaussian, jacobian, map_coordinates, moments, random_field, spline, warp


class NumpyBackend(Backend):
    """Operations on NumPy arrays by NumPy and SciPy."""

    name = "numpy"
    moments = staticmethod(moments.moments)
    gaussian_filter = staticmethod(gaussian.gaussian_filter)
    spline_filter = staticmethod(spline.spline_filter)
    map_coordinates = staticmethod(map_coordinates.map_coordinates)
    warp = staticmethod(warp.warp)
    random_field = staticmethod(random_field.random_field)
    jacobian_determinant = staticmethod(jacobian.jacobian_determinant)
    cross_moments = staticmethod(cross_moments.cross_moments)


BACKEND = NumpyBackend
