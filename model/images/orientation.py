"""The orientation of an image, from the metadata in its file.

Only this one number is read: a full parser of EXIF copies whatever a directory refers to, and
a directory of some kilobytes may refer to gigabytes.
"""

import re
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from PIL import ExifTags, Image

TURNS = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
"""What stands an image up, for each value of EXIF's Orientation (CIPA DC-008, 4.6.4)."""

EXIF, EXIF_AS_TEXT = "exif", "Raw profile type exif"
XMP, XMP_AS_TEXT = "xmp", "XML:com.adobe.xmp"
DESCRIPTIONS = frozenset({EXIF, EXIF_AS_TEXT, XMP, XMP_AS_TEXT})
"""Keys of `image.info` under which Pillow, and `model.images.image_file`, keep what may tell it."""

BYTE_ORDERS = MappingProxyType({b"II*\0": "<", b"MM\0*": ">"})
WHOLE_NUMBERS = MappingProxyType({3: "H", 4: "L", 8: "h", 9: "l"})
"""Types of a directory's entry (TIFF 6.0, section 2)."""
IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation(info: Mapping[Any, Any]) -> int:
    """Give EXIF's Orientation from an image's `info`, or XMP's; 1 if neither tells it.

    Broken metadata tells nothing.
    """
    if DESCRIPTIONS.isdisjoint(info):  # most images say nothing about themselves
        return 1
    found = _in_exif(info.get(EXIF) or _from_text(info.get(EXIF_AS_TEXT)))
    if found is None:
        match = IN_XMP.search(_as_bytes(info.get(XMP_AS_TEXT) or info.get(XMP)))
        found = int(match[1]) if match else 1
    return found


def _as_bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _from_text(profile: str | bytes | None) -> bytes:
    """Read ImageMagick's text of EXIF: a name, a length, and lines of hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(_as_bytes(profile).split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _in_exif(exif: bytes) -> int | None:
    """Find the orientation in the first directory; None if it is not there."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = BYTE_ORDERS.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack_from(order + "L", exif, 4)
    count = int.from_bytes(exif[start : start + 2], "little" if order == "<" else "big")
    entries = exif[start + 2 : start + 2 + 12 * count]
    found = None
    for tag, kind, number, value in struct.iter_unpack(
        order + "HHL4s", entries[: len(entries) // 12 * 12]
    ):
        if tag == ExifTags.Base.Orientation and number == 1 and kind in WHOLE_NUMBERS:
            (found,) = struct.unpack_from(order + WHOLE_NUMBERS[kind], value)
    return found
