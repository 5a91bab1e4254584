"""Where the slices of a TIFF file lie: from tifffile's series and axes to (z, channel, y, x)."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_stackcorr.errors import VolumeError
from gpu_stackcorr.volumes.tiff_directories import check_within

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

_log = logging.getLogger(__name__)

_CHANNEL_AXES = "CS"
# Letters by which tifffile says that it does not know what an axis means.
_NAMELESS = "QI"


@dataclass(frozen=True)
class Layout:
    """The array of a TIFF file, cut into pages.

    `sizes` are the sizes of all its axes in the order of the file, the first `lead` of which count pages and the rest
    lie within a page; `depth_axis` and `channel_axes` say which axes z and the channel run along.
    """

    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    lead: int
    depth_axis: int | None
    channel_axes: tuple[int, ...]
    y_axis: int
    x_axis: int

    @property
    def depth(self) -> int:
        """Slices."""
        return 1 if self.depth_axis is None else self.sizes[self.depth_axis]

    @property
    def channels(self) -> int:
        """Channels, of all the axes that count them."""
        return math.prod(self.sizes[axis] for axis in self.channel_axes)

    @property
    def plane(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.sizes[self.y_axis], self.sizes[self.x_axis]

    @property
    def within(self) -> tuple[int, ...]:
        """Sizes of the axes inside a page."""
        return self.sizes[self.lead :]

    def locate(self, z: int, channel: int) -> tuple[int, tuple[int, ...]]:
        """The page that holds a slice of a channel, and its index on each axis inside the page (0 along y and x)."""
        index = [0] * len(self.sizes)
        if self.depth_axis is not None:
            index[self.depth_axis] = z
        for axis in reversed(self.channel_axes):
            channel, index[axis] = divmod(channel, self.sizes[axis])
        page = 0
        for position, size in zip(index[: self.lead], self.sizes, strict=False):
            page = page * size + position
        return page, tuple(index[self.lead :])


def read_layout(
    path: Path, tif: TiffFile, directories: int
) -> tuple[Layout, list[TiffPage | TiffFrame], list[int] | None]:
    """The layout of a file's first series, its pages, and each page's byte offset if its data are plain.

    The list of pages is empty where the offsets are known.
    """
    series = _one_series(path, tif)
    axes, sizes = series[0].get_axes(squeeze=False), series[0].get_shape(squeeze=False)
    if len(series) > 1:
        axes, sizes = "I" + axes, (len(series), *sizes)
    _check_imagej(path, tif, series[0], directories)
    keyframe = series[0].keyframe
    if series[0].dtype is None or keyframe.dtype is None:
        raise VolumeError(
            f"'{path}' holds samples of {keyframe.bitspersample} bits in format {keyframe.sampleformat}, "
            "which cannot be read"
        )
    page_size = math.prod(keyframe.shape)
    lead = next((lead for lead in range(len(sizes) + 1) if math.prod(sizes[lead:]) == page_size), None)
    if lead is None or {"Y", "X"} - set(axes[lead:]):
        raise VolumeError(f"'{path}' has pages of {keyframe.shape}, which do not make up its {axes} of {sizes}")
    depth_axis, channel_axes = _assign(path, axes, sizes)
    layout = Layout(
        np.dtype(keyframe.dtype), tuple(sizes), lead, depth_axis, channel_axes, axes.index("Y"), axes.index("X")
    )
    offsets = _contiguous_offsets(path, tif, series, layout)
    if offsets is not None:
        return layout, [], offsets
    pages = _whole_pages(path, tif, series, math.prod(sizes[:lead]))
    if all(page.is_final for page in pages):
        return layout, [], [_page_offset(path, tif, page, number) for number, page in enumerate(pages)]
    return layout, pages, None


def _one_series(path: Path, tif: TiffFile) -> list[TiffPageSeries]:
    """The series to read: the first, or all of them where each is one slice of the same stack.

    A writer that is handed one slice at a time makes a series of each.
    """
    series = [item for item in tif.series if not item.keyframe.is_reduced] or list(tif.series)
    if not series:
        raise VolumeError(f"'{path}' holds no image")
    first = series[0]
    if first.is_multifile or (first.kind == "ome" and None in first[:]):
        raise VolumeError(
            f"'{path}' is one of several files of one OME data set, which cannot be read; write it as a single file"
        )
    generic = first.kind in {"generic", "uniform"}
    slices = first.kind == "shaped" and math.prod(first.shape) == math.prod(first.keyframe.shape)
    if len(series) > 1 and not generic and not slices:
        _log.warning("'%s' holds %d series of images; the first is read, %s", path, len(series), first.shape)
        return series[:1]
    for number, item in enumerate(series):
        if (item.shape, item.dtype, item.axes) != (first.shape, first.dtype, first.axes) or (number and generic):
            page, keyframe = item.keyframe.index, first.keyframe
            raise VolumeError(
                f"'{path}' is not a stack: page {page} is {item.keyframe.shape} {item.dtype}, "
                f"page {keyframe.index} is {keyframe.shape} {first.dtype}"
            )
    return series


def _check_imagej(path: Path, tif: TiffFile, series: TiffPageSeries, directories: int) -> None:
    """Refuse an ImageJ stack whose data end early; tifffile would show its first slice."""
    meta = tif.imagej_metadata if tif.is_imagej and series.kind != "imagej" else None
    if meta:
        promised = max(meta.get("images", 1), math.prod(meta.get(name, 1) for name in ("channels", "slices", "frames")))
        if promised > directories:
            raise VolumeError(f"'{path}' is truncated: ImageJ wrote {promised} images, the file does not hold them all")


def _assign(path: Path, axes: str, sizes: tuple[int, ...]) -> tuple[int | None, tuple[int, ...]]:
    """(depth axis, channel axes): Z, or where there is none the one other axis that is longer than 1."""
    channels = tuple(axis for axis, name in enumerate(axes) if name in _CHANNEL_AXES)
    others = [axis for axis, name in enumerate(axes) if name not in _CHANNEL_AXES + "YX" and sizes[axis] > 1]
    if len(others) == 2 and all(axes[axis] in _NAMELESS for axis in others):
        # As in an NPY file of four axes: (z, channel, y, x).
        return others[0], tuple(sorted((others[1], *channels)))
    if len(others) > 1:
        names = ", ".join(f"{axes[axis]} = {sizes[axis]}" for axis in others)
        raise VolumeError(f"'{path}' has {len(others)} axes beside channel, y and x ({names}); a stack has one, z")
    return (others[0] if others else None), channels


def _contiguous_offsets(path: Path, tif: TiffFile, series: list[TiffPageSeries], layout: Layout) -> list[int] | None:
    """Each page's byte offset where all pages lie one behind the other, uncompressed."""
    first = series[0].dataoffset if len(series) == 1 else None
    if first is None:
        return None
    page_bytes = math.prod(layout.within) * layout.dtype.itemsize
    pages = math.prod(layout.sizes[: layout.lead])
    size = tif.filehandle.size
    present = max(0, size - first) // page_bytes if page_bytes else 0
    check_within(path, first + pages * page_bytes, size, min(present, pages - 1))
    return [first + page * page_bytes for page in range(pages)]


def _whole_pages(path: Path, tif: TiffFile, series: list[TiffPageSeries], expected: int) -> list[TiffPage | TiffFrame]:
    """All pages, once it is known that the data of each lie within the file."""
    pages = [page for item in series for page in item if page is not None]
    if len(pages) != expected:
        raise VolumeError(f"'{path}' is truncated or damaged: it should have {expected} pages and has {len(pages)}")
    for number, page in enumerate(pages):
        if not page.dataoffsets:
            raise VolumeError(f"'{path}' is damaged: page {number} has no data")
        ends = (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False))
        check_within(path, max(ends, default=0), tif.filehandle.size, number)
    return pages


def _page_offset(path: Path, tif: TiffFile, page: TiffPage | TiffFrame, number: int) -> int:
    """Where the plain data of one page begin."""
    offset = page.dataoffsets[0]
    check_within(path, offset + page.nbytes, tif.filehandle.size, number)
    return offset
