"""Is a TIFF file whole? A walk along its directories, before anything trusts them.

tifffile reads what it can of a damaged file and logs the rest, so that a stack cut short in the copying would come out
as a shorter stack. Here every directory, and every value that a volume needs, has to lie within the file. The layout is
that of the TIFF 6.0 specification (Adobe, 1992), section 2, and of its BigTIFF extension.
"""

from __future__ import annotations

import struct
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from gpu_stackcorr.errors import VolumeError
from gpu_stackcorr.volumes.raw import unreadable

# Bytes of the field types 1 to 18; 14 and 15 are not assigned.
_TYPE_BYTES = dict(zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), strict=True))

# Sizes, sample format, description, where the data are, resolution, and ImageJ's metadata. A private field may be
# broken without harm.
_NEEDED = frozenset({256, 257, 258, 270, 273, 277, 278, 279, 282, 283, 322, 323, 324, 325, 339, 50838, 50839})


class _Flavour(NamedTuple):
    """What differs between classic TIFF and BigTIFF."""

    first: int
    counter: struct.Struct
    entry: struct.Struct
    offset: struct.Struct


def count_directories(path: Path) -> int:
    """How many images the chain of directories lists; an error where any of it lies beyond the end of the file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            flavour = _flavour(path, file)
            offsets: set[int] = set()
            offset = flavour.offset.unpack(_take(path, file, flavour.first, flavour.offset.size, size, 0))[0]
            while offset:
                if offset in offsets:
                    raise VolumeError(f"'{path}' is damaged: its page {len(offsets)} points back to an earlier one")
                offsets.add(offset)
                offset = _walk(path, file, flavour, offset, size, len(offsets) - 1)
    except OSError as error:
        if isinstance(error, VolumeError):
            raise
        raise unreadable(path, error) from error
    if not offsets:
        raise VolumeError(f"'{path}' holds no image")
    return len(offsets)


def _flavour(path: Path, file: BufferedReader) -> _Flavour:
    """Byte order and field widths from the first bytes."""
    file.seek(0)
    header = file.read(4)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    version = struct.unpack(order + "H", header[2:])[0] if order and len(header) == 4 else None
    if version == 42:
        return _Flavour(4, struct.Struct(f"{order}H"), struct.Struct(f"{order}HHI4s"), struct.Struct(f"{order}I"))
    if version == 43:
        return _Flavour(8, struct.Struct(f"{order}Q"), struct.Struct(f"{order}HHQ8s"), struct.Struct(f"{order}Q"))
    raise VolumeError(f"'{path}' is not a TIFF file: it begins with {header!r}")


def _walk(path: Path, file: BufferedReader, flavour: _Flavour, offset: int, size: int, page: int) -> int:
    """Check one directory, and return where the next one begins."""
    count = flavour.counter.unpack(_take(path, file, offset, flavour.counter.size, size, page))[0]
    if count > 4096:
        raise VolumeError(f"'{path}' is damaged: page {page} claims to have {count} fields")
    table = _take(
        path, file, offset + flavour.counter.size, count * flavour.entry.size + flavour.offset.size, size, page
    )
    for position in range(count):
        tag, kind, items, value = flavour.entry.unpack_from(table, position * flavour.entry.size)
        length = items * _TYPE_BYTES.get(kind, 0)
        if tag in _NEEDED and length > flavour.offset.size:
            check_within(path, flavour.offset.unpack(value)[0] + length, size, page)
    following: int = flavour.offset.unpack_from(table, count * flavour.entry.size)[0]
    return following


def _take(path: Path, file: BufferedReader, offset: int, length: int, size: int, page: int) -> bytes:
    """Bytes that have to be there."""
    check_within(path, offset + length, size, page)
    file.seek(offset)
    return file.read(length)


def check_within(path: Path, end: int, size: int, page: int) -> None:
    """Refuse a file that ends before what page `page` needs."""
    if end > size:
        raise VolumeError(f"'{path}' is truncated or damaged: page {page} needs bytes up to {end}, the file has {size}")
