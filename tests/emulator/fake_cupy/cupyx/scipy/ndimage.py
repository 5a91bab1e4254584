"""SciPy's own functions, on arrays of the stand-in for CuPy."""

from cupy._arrays import lifted
from scipy import ndimage

gaussian_filter = lifted(ndimage.gaussian_filter)
map_coordinates = lifted(ndimage.map_coordinates)
spline_filter = lifted(ndimage.spline_filter)
