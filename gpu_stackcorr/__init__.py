"""How alike are the slices of an image stack, how sure is that, and what do flips, noise and elastic deformation do?

The public names are imported on first use, so that ``import gpu_stackcorr`` costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import notebook as notebook
    from . import transforms as transforms
    from .arrays import available_backends, get_backend, use_backend
    from .block_deformation import deform_volume
    from .compositions import affine_displacement, compose_displacements
    from .correlation import image_correlation, noise_sweep, stack_correlation, transform_battery
    from .decorrelation import decorrelation_depth, split_advice
    from .deformation import elastic_transform, warp
    from .displacement_fields import displacement_field
    from .folds import fold_report, limit_folds
    from .inversion import invert_displacement, transform_points
    from .lags import lag_correlation
    from .matrices import correlation_matrix
    from .ndimage import gaussian_filter, map_coordinates, spline_filter
    from .outliers import find_outlier_slices
    from .phantoms import phantom
    from .recipes import Recipe, make_recipe
    from .threads import use_threads
    from .volumes import open_volume

_HOMES = {
    "Recipe": "recipes",
    "affine_displacement": "compositions",
    "available_backends": "arrays",
    "compose_displacements": "compositions",
    "correlation_matrix": "matrices",
    "decorrelation_depth": "decorrelation",
    "deform_volume": "block_deformation",
    "displacement_field": "displacement_fields",
    "elastic_transform": "deformation",
    "find_outlier_slices": "outliers",
    "fold_report": "folds",
    "gaussian_filter": "ndimage",
    "get_backend": "arrays",
    "image_correlation": "correlation",
    "invert_displacement": "inversion",
    "lag_correlation": "lags",
    "limit_folds": "folds",
    "make_recipe": "recipes",
    "map_coordinates": "ndimage",
    "noise_sweep": "correlation",
    "open_volume": "volumes",
    "phantom": "phantoms",
    "spline_filter": "ndimage",
    "split_advice": "decorrelation",
    "stack_correlation": "correlation",
    "transform_battery": "correlation",
    "transform_points": "inversion",
    "use_backend": "arrays",
    "use_threads": "threads",
    "warp": "deformation",
}
_MODULES = ("notebook", "transforms")

__all__ = [
    "Recipe",
    "__version__",
    "affine_displacement",
    "available_backends",
    "compose_displacements",
    "correlation_matrix",
    "decorrelation_depth",
    "deform_volume",
    "displacement_field",
    "elastic_transform",
    "find_outlier_slices",
    "fold_report",
    "gaussian_filter",
    "get_backend",
    "image_correlation",
    "invert_displacement",
    "lag_correlation",
    "limit_folds",
    "make_recipe",
    "map_coordinates",
    "noise_sweep",
    "notebook",
    "open_volume",
    "phantom",
    "spline_filter",
    "split_advice",
    "stack_correlation",
    "transform_battery",
    "transform_points",
    "transforms",
    "use_backend",
    "use_threads",
    "warp",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value  # also where a module has the same name as its function, as phantom does
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
