"""The options that commands share, and how their words are read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gpu_stackcorr.transforms import Transform
    from gpu_stackcorr.volumes import Volume

SELECTION, COMPUTING = "What is read", "How it is computed"
"""Panels of the help."""

CI_METHODS = ("tiles", "effective", "fisher", "none")
DEFAULT_MEMORY = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Span:
    """START:STOP along an axis; None where an end is left open."""

    start: int | None
    stop: int | None

    def pair(self) -> tuple[int | None, int | None]:
        """Return the ends as a volume takes them."""
        return self.start, self.stop


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of the slices."""

    y: Span
    x: Span


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Lengths of a voxel in nm."""

    z: float
    y: float
    x: float


def read_span(text: Any) -> Span:
    """Return the range that START:STOP names."""
    match = re.fullmatch(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*", str(text))
    if not match:
        raise typer.BadParameter(f"{text!r} is not a range: write START:STOP, such as 10:200, 10: or :200")
    start, stop = (None if end is None else int(end) for end in match.groups())
    return Span(start, stop)


def read_crop(text: Any) -> Crop:
    """Return the rectangle that Y0:Y1,X0:X1 names."""
    parts = str(text).split(",")
    if len(parts) != 2 or not all(":" in part for part in parts):
        raise typer.BadParameter(f"{text!r} is not a rectangle: write Y0:Y1,X0:X1, such as 0:512,100:612")
    return Crop(read_span(parts[0]), read_span(parts[1]))


def read_voxel_size(text: Any) -> VoxelSize:
    """Return the lengths that Z,Y,X or one number for all three names."""
    try:
        lengths = [float(part) for part in str(text).split(",")]
    except ValueError:
        lengths = []
    if len(lengths) not in (1, 3) or not all(0 < length < math.inf for length in lengths):
        raise typer.BadParameter(f"{text!r} is not a size in nm: write Z,Y,X, such as 50,4.6,4.6, or one number")
    z, y, x = lengths * (3 // len(lengths))
    return VoxelSize(z, y, x)


def read_bytes(text: Any) -> int:
    """Return the number of bytes that "2GB", "512MiB" or "4096" names."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(?:([kmgt]?)(i?)b?)\s*", str(text).lower())
    count = 0.0
    if match:
        number, prefix, binary = match.groups()
        count = float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix or " ")
    if count < 1:
        raise typer.BadParameter(f"{text!r} is not an amount of memory: write it as 512MB, 2GB or 2GiB")
    return int(count)


def check_backend(name: str | None) -> str | None:
    """Refuse a name that is not a backend's."""
    from gpu_stackcorr.backends import PREFERENCE

    if name is not None and name not in PREFERENCE:
        raise typer.BadParameter(f"{name!r} is not a backend: allowed are {', '.join(PREFERENCE)}")
    return name


def whole(lowest: int, highest: int | None = None) -> Callable[[Any], int]:
    """Return what reads an integer from `lowest` to `highest`."""
    allowed = f"of {lowest} or more" if highest is None else f"from {lowest} to {highest}"

    def read_whole(text: Any) -> int:
        try:
            value = int(str(text))
        except ValueError:
            value = lowest - 1
        if value < lowest or (highest is not None and value > highest):
            raise typer.BadParameter(f"{text!r} is not a whole number {allowed}")
        return value

    return read_whole


def number(lowest: float, highest: float = math.inf) -> Callable[[Any], float]:
    """Return what reads a finite number from `lowest` to `highest`."""
    allowed = f"of {lowest:g} or more" if highest == math.inf else f"from {lowest:g} to {highest:g}"

    def read_number(text: Any) -> float:
        try:
            value = float(str(text))
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest or math.isinf(value):
            raise typer.BadParameter(f"{text!r} is not a number {allowed}")
        return value

    return read_number


def check_ci(name: str) -> str:
    """Return the name of a method for intervals."""
    if name not in CI_METHODS:
        raise typer.BadParameter(f"{name!r} is not a method: allowed are {', '.join(CI_METHODS)}")
    return name


def read_confidence(text: Any) -> float:
    """Return a level between 0 and 1."""
    value = number(0, 1)(text)
    if value in (0, 1):
        raise typer.BadParameter(f"{text!r} is not a confidence level: allowed are numbers between 0 and 1")
    return value


read_seed = whole(0, 2**64 - 1)


def read_transform(text: str) -> Transform:
    """Return the transform that a word names; parts joined by + are done one after the other."""
    from gpu_stackcorr.transforms import Compose

    parts = [_read_part(part.strip(), text) for part in text.split("+")]
    return parts[0] if len(parts) == 1 else Compose(*parts)


def _read_part(part: str, text: str) -> Transform:
    """Return the transform of one word, ``name`` or ``name=numbers``."""
    from gpu_stackcorr.transforms import AddNoise, Elastic, flip_right_left, flip_up_down, identity, rotate_90

    plain = {p.name: p for p in (identity, flip_right_left, flip_up_down, rotate_90)}
    name, equals, values = part.replace("-", "_").partition("=") if "=" not in part else part.partition("=")
    try:
        numbers = [float(value) for value in values.split(",")] if equals else []
    except ValueError:
        numbers = [math.nan]
    if all(0 <= number < math.inf for number in numbers):
        if not equals and name in plain:
            return plain[name]
        if name == "noise" and len(numbers) == 1:
            return AddNoise(numbers[0])
        if name == "elastic" and len(numbers) == 2:
            return Elastic(numbers[0], numbers[1])
    words = ", ".join(name.replace("_", "-") for name in plain)
    raise typer.BadParameter(
        f"{text!r}: allowed are {words}, noise=MAGNITUDE, elastic=ALPHA,SIGMA (numbers of 0 or more), joined by +",
        param_hint="'--transform'",
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a file is read."""

    channel: int | None = None
    z: Span | None = None
    crop: Crop | None = None
    voxel_size: VoxelSize | None = None

    def open(self, path: Path | str) -> Volume:
        """Return the volume, or the part of it that was chosen."""
        from gpu_stackcorr.volumes import open_volume

        size = self.voxel_size
        volume = open_volume(path, channel=self.channel, voxel_size=None if size is None else (size.z, size.y, size.x))
        if self.z is None and self.crop is None:
            return volume
        return volume.crop(
            z=self.z.pair() if self.z else None,
            y=self.crop.y.pair() if self.crop else None,
            x=self.crop.x.pair() if self.crop else None,
        )


VolumePath = Annotated[
    str,
    typer.Argument(
        metavar="VOLUME",
        help="An NPY file, a multi-page TIFF, or a folder or quoted pattern of numbered TIFF or PNG images.",
        show_default=False,
    ),
]
Channel = Annotated[
    int | None,
    typer.Option(
        parser=whole(0),
        metavar="N",
        help="Channel to read, from 0, where the file has several.",
        rich_help_panel=SELECTION,
    ),
]
ZRange = Annotated[
    Span | None,
    typer.Option(
        "--z",
        parser=read_span,
        metavar="START:STOP",
        help="Slices to read: 10:200 is 10 to 199; negative ends count from the last.",
        rich_help_panel=SELECTION,
    ),
]
CropRange = Annotated[
    Crop | None,
    typer.Option(
        "--crop",
        parser=read_crop,
        metavar="Y0:Y1,X0:X1",
        help="Rectangle of each slice to read, in pixels.",
        rich_help_panel=SELECTION,
    ),
]
VoxelSizeOption = Annotated[
    VoxelSize | None,
    typer.Option(
        "--voxel-size",
        parser=read_voxel_size,
        metavar="Z,Y,X",
        help="Size of a voxel in nm, or one number for a cube; stands in place of what the file says.",
        rich_help_panel=SELECTION,
    ),
]
Reference = Annotated[
    int,
    typer.Option(
        parser=whole(0), metavar="N", help="Slice that the others are compared with, from 0, among those read."
    ),
]
Confidence = Annotated[
    float, typer.Option(parser=read_confidence, metavar="LEVEL", help="Level of the intervals, between 0 and 1.")
]
Ci = Annotated[
    str,
    typer.Option(
        "--ci",
        callback=check_ci,
        metavar="METHOD",
        help="How intervals are found: tiles holds for images whose neighbouring pixels are alike; effective for "
        "Gaussian fields only; fisher takes all pixels as independent; none.",
    ),
]
BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend",
        callback=check_backend,
        metavar="NAME",
        help="Where to compute: cuda, numba or numpy; the best that can run here unless given.",
        rich_help_panel=COMPUTING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        parser=whole(1), metavar="N", help="Threads to compute with; all cores unless given.", rich_help_panel=COMPUTING
    ),
]
Memory = Annotated[
    int,
    typer.Option(
        parser=read_bytes,
        metavar="SIZE",
        help="Memory to hold slices in, such as 2GB; 512MiB unless given.",
        show_default=False,
        rich_help_panel=COMPUTING,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        parser=read_seed,
        metavar="N",
        help="Seed of noise and elastic fields, which repeats a result; drawn and recorded unless given.",
        rich_help_panel=COMPUTING,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else to standard output.")]
