"""Draw what deformation does to a phantom: docs/deformation.png and docs/deformation_3d.png.

python -m bench.deformation_pictures [--folder docs]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from gpu_stackcorr import displacement_field, elastic_transform, fold_report, limit_folds, phantom, warp
from gpu_stackcorr.deformation_plots import jacobian_map, labels_over_image, orthogonal_cuts
from gpu_stackcorr.notebook import grid_lines

SEED = 1
SIDE = 192
FIELDS = ((250.0, 20.0), (250.0, 10.0), (250.0, 5.0))
"""alpha and sigma of the fields, the last of which tears the image."""


def segments(image: Any) -> Any:
    """Return labels of the bright regions of an image, as 64-bit identifiers."""
    smooth = ndimage.gaussian_filter(np.asarray(image, np.float64), 3)
    labels, _ = ndimage.label(smooth > np.quantile(smooth, 0.7))
    return labels.astype(np.uint64) + np.where(labels > 0, np.uint64(2**63), np.uint64(0))


def planes(image: Any) -> Figure:
    """Draw fields over a grid, their Jacobian maps, and labels before and after."""
    figure = Figure(figsize=(12, 9.2), layout="constrained")
    rows = figure.subplots(3, 4)
    marked = grid_lines(image, 26, 1)
    low, high = np.percentile(image, (0.5, 99.5))
    rows[0, 0].imshow(marked, cmap="gray", vmin=low, vmax=high)
    rows[0, 0].set_title("Original")
    labels = segments(image)
    for column, (alpha, sigma) in enumerate(FIELDS, 1):
        field = displacement_field(image.shape, alpha, sigma, seed=SEED)
        rows[0, column].imshow(warp(marked, field), cmap="gray", vmin=low, vmax=high)
        rows[0, column].set_title(f"alpha {alpha:g}, sigma {sigma:g}\n{fold_report(field).words}")
        jacobian_map(field, ax=rows[1, column])
    kept, scale = limit_folds(field)
    rows[1, 0].imshow(warp(marked, kept), cmap="gray", vmin=low, vmax=high)
    rows[1, 0].set_title(f"sigma {sigma:g} after limit_folds\nalpha {scale * alpha:.3g}")
    labels_over_image(image, labels, ax=rows[2, 0]).set_title("Labels over the original")
    for column, (alpha, sigma) in enumerate(FIELDS, 1):
        moved = elastic_transform(image, alpha, sigma, labels=labels, seed=SEED, check_folds=False)
        labels_over_image(*moved, ax=rows[2, column]).set_title(f"alpha {alpha:g}, sigma {sigma:g}")
    for ax in rows.flat:
        ax.set(xticks=[], yticks=[])
    return figure


def volumes() -> Figure:
    """Draw three cuts of a volume before and after a deformation in three dimensions."""
    volume = phantom((96, 160, 160), correlation_length=12.0, seed=SEED)
    marked = volume.copy()
    for axis in range(3):
        np.moveaxis(marked, axis, 0)[4::24] = volume.max()
    figure = Figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    moved = elastic_transform(marked, (400.0, 800.0, 800.0), 9.0, seed=SEED)
    for part, shown, title in ((left, marked, "Original"), (right, moved, "alpha (400, 800, 800), sigma 9")):
        orthogonal_cuts(shown, figure=part)
        part.suptitle(title)
    return figure


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.deformation_pictures", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    folder = parser.parse_args().folder
    image = phantom((2, SIDE, SIDE), correlation_length=12.0, seed=SEED)[0]
    planes(image).savefig(folder / "deformation.png", dpi=72)
    volumes().savefig(folder / "deformation_3d.png", dpi=72)


if __name__ == "__main__":
    main()
