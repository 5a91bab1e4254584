"""The voxel size that a TIFF file states, in nm: OME, ImageJ, or the plain resolution fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from gpu_stackcorr.volumes.checks import VoxelSize, simplify_voxel_size

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_NM = {
    "pm": 1e-3,
    "å": 0.1,
    "angstrom": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "centimetre": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
    "inch": 2.54e7,
    "inches": 2.54e7,
    "in": 2.54e7,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}

# Pixels per inch or centimetre are usually those of a screen or a printer (72, 96, 300 an inch), which say nothing of
# the specimen: 300 an inch are 85 um a pixel. No screen has less than 10 um (2540 an inch); that is taken to be meant.
_SCREEN_PIXEL = 1e4


def read_voxel_size(tif: TiffFile) -> VoxelSize | None:
    """(z, y, x) in nm from the first of OME, ImageJ and plain TIFF that states any; None where none does."""
    page = tif.pages.first
    for found in (_ome(tif.ome_metadata), _imagej(tif.imagej_metadata, page), _plain(page)):
        known = simplify_voxel_size(found)
        if known is not None:
            return known
    return None


def _ome(xml: str | None) -> VoxelSize | None:
    """PhysicalSizeZ, Y and X of the first image; their unit is the micrometre unless another is given."""
    if not xml:
        return None
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    pixels = next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return None
    z, y, x = (
        _length(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"
    )
    return z, y, x


def _imagej(meta: dict[str, Any] | None, page: TiffPage) -> VoxelSize | None:
    """`unit` and `spacing` of the description; pixels a unit from the resolution fields."""
    if not meta or "unit" not in meta:
        return None
    unit = str(meta["unit"])
    y, x = _length(_pixel(page, 283), unit), _length(_pixel(page, 282), unit)
    if _is_screen(unit, y, x):
        return None
    return _length(meta.get("spacing"), unit), y, x


def _plain(page: TiffPage) -> VoxelSize | None:
    """XResolution and YResolution in pixels an inch or a centimetre, where that is no screen's."""
    tag = page.tags.get(296)
    unit = _RESOLUTION_UNITS.get(int(tag.value)) if tag is not None and tag.value is not None else "inch"
    if unit is None:
        return None
    y, x = _length(_pixel(page, 283), unit), _length(_pixel(page, 282), unit)
    return None if _is_screen(unit, y, x) else (None, y, x)


def _is_screen(unit: str, y: float | None, x: float | None) -> bool:
    """Whether pixel sizes in inches or centimetres are those of a screen or a printer."""
    sizes = [size for size in (y, x) if size is not None]
    return _NM.get(_plain_unit(unit), 0.0) >= _NM["cm"] and max(sizes, default=math.inf) >= _SCREEN_PIXEL


def _pixel(page: TiffPage, code: int) -> float | None:
    """Units a pixel from a resolution field, which holds pixels a unit as a fraction."""
    tag = page.tags.get(code)
    value = None if tag is None else tag.value
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    return float(value[1]) / float(value[0])


def _length(value: Any, unit: str) -> float | None:
    """A length in nm, to twelve digits, for it comes from fractions; None unless positive and of a known unit."""
    factor = _NM.get(_plain_unit(unit))
    try:
        size = float(value) * factor if factor is not None and value is not None else math.nan
    except (TypeError, ValueError):
        return None
    return float(f"{size:.12g}") if math.isfinite(size) and size > 0 else None


def _plain_unit(unit: str) -> str:
    """A unit in lower case, with one kind of micro sign and of angstrom; ImageJ may write the sign as an escape."""
    text = unit.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\u03bc", "µ").replace("\u212b", "Å")
    return text.lower().removesuffix("s") if len(text) > 3 else text.lower()
