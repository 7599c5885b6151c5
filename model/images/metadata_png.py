"""Take the metadata out of PNG files; see `model.images.metadata`.

Source:
    https://www.w3.org/TR/png-3
"""

import struct
import zlib
from collections.abc import Iterator
from types import MappingProxyType

from model.images.orientation import EXIF, EXIF_AS_TEXT, XMP_AS_TEXT
from model.images.pieces import Stripped, Stripper

CHUNK = struct.Struct(">I4s")
PIXELS, TRANSPARENCY, END, FRAME = b"IDAT", b"tRNS", b"IEND", b"fcTL"
PLAIN_BYTES = 57
"""Of a file with no other chunk than IHDR, one IDAT, and IEND, beside its pixels."""
MAX_UNPACKED_BYTES = 262_144
"""Of a packed text that may tell the orientation; XMP usually has some kilobytes."""
TEXTS = MappingProxyType(
    {
        b"exif": EXIF,
        b"Raw profile type exif": EXIF_AS_TEXT,
        b"XML:com.adobe.xmp": XMP_AS_TEXT,
    }
)
TRANSPARENCY_BYTES = MappingProxyType({0: 2, 2: 6, 3: 1})
"""At least, for each colour type."""


def strip_png(data: bytes) -> Stripped:
    """Keep what the pixels need: critical chunks, and transparency if it is sound.

    Raises:
        ValueError: If there are very many tiny chunks.
    """
    if data[37:41] == PIXELS and int.from_bytes(data[33:37]) + PLAIN_BYTES == len(data):
        return Stripped(data, {})
    stripper = Stripper(data)
    texts: dict[str, tuple[bytes, bytes]] = {}
    for name, at, end in _ancillary_chunks(stripper):
        if name != TRANSPARENCY or not _is_sound_transparency(data, at, end):
            stripper.drop(at, end)
        if name == b"eXIf" and _has_its_checksum(data, at, end):
            stripper.info[EXIF] = data[at + 8 : end - 4]
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = data[at + 8 : min(at + 88, end - 4)].partition(b"\0")[0]
            if keyword in TEXTS:
                texts[TEXTS[keyword]] = name, data[at + 9 + len(keyword) : end - 4]
    for key, text in texts.items():
        stripper.info.setdefault(key, _unpacked(*text))
    return stripper.result()


def _ancillary_chunks(stripper: Stripper) -> Iterator[tuple[bytes, int, int]]:
    """Give name, start and end of each chunk that one can do without.

    The last may be all that follows the first image of an animation.
    """
    data, at, has_pixels = stripper.data, 8, False
    while at + 12 <= len(data):
        stripper.count()
        length, name = CHUNK.unpack_from(data, at)
        end = at + 12 + length
        has_pixels = has_pixels or name == PIXELS
        if name == END:
            return
        if name == FRAME and has_pixels:
            yield name, at, len(data)
            return
        if name[0] & 0x20 and name.isalpha():
            yield name, at, end
        at = end


def _has_its_checksum(data: bytes, at: int, end: int) -> bool:
    return zlib.crc32(memoryview(data)[at + 4 : end - 4]).to_bytes(4) == data[end - 4 : end]


def _is_sound_transparency(data: bytes, at: int, end: int) -> bool:
    colour_type = int.from_bytes(data[25:26])
    needed = TRANSPARENCY_BYTES.get(colour_type, 0)
    return end - at - 12 >= needed and _has_its_checksum(data, at, end)


def _unpacked(name: bytes, text: bytes) -> bytes:
    """Give the text of a PNG's chunk without its keyword; none if it is large or broken."""
    if name == b"tEXt":
        return text
    is_packed = name == b"zTXt" or text[:1] != b"\0"
    packed = text[1:] if name == b"zTXt" else text[2:].split(b"\0", 2)[-1]
    if not is_packed:
        return packed
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error:
        return b""
    return b"" if unpacking.unconsumed_tail else unpacked
