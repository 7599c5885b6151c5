"""Take the metadata out of image files, before a decoder reads them.

Texts, colour profiles, comments, previews and animations say nothing that a network reads. A
decoder would unpack and parse them, refuse the file for their size or their faults, or keep them in
memory. What may give the image's orientation is returned beside the file's bytes. Where a file
breaks its format, the rest of it stays as it is: its decoder says what is wrong.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from model.images.metadata_png import strip_png
from model.images.orientation import EXIF, XMP
from model.images.pieces import Stripped, Stripper

MAX_EXIF_SEGMENTS = 16
"""Of a JPEG, 64 KB each. The orientation is in the first."""
SCANNED_CHANNELS = "scanned_channels"
"""Key in a JPEG's `info`: how many channels its first scan has; 0 if no scan was found."""


# JPEG (ITU-T T.81, B.1; Exif, CIPA DC-008, 4.5.4; XMP, part 3, 1.1.3)

SCAN, COMMENT, END_OF_IMAGE = 0xDA, 0xFE, 0xD9
APPLICATION = range(0xE0, 0xF0)
ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Markers without a length; 0 is none."""
EXIF_HEAD, XMP_HEAD = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def _strip_jpeg(data: bytes) -> Stripped:
    stripper = Stripper(data)
    stripper.info[SCANNED_CHANNELS] = 0
    exif: list[bytes] = []
    for marker, at, end in _segments(stripper):
        if marker == SCAN:
            stripper.info[SCANNED_CHANNELS] = int.from_bytes(data[at + 4 : at + 5])
        elif marker == COMMENT or marker in APPLICATION:
            head = data[at + 4 : at + 4 + len(XMP_HEAD)]
            if not _tells_colours(marker, head, end - at - 4):
                stripper.drop(at, end)
            if head.startswith(EXIF_HEAD):
                exif.append(data[at + 10 : end])
            elif head == XMP_HEAD:
                stripper.info[XMP] = data[at + 4 + len(head) : end]
    if exif:
        stripper.info[EXIF] = b"".join(exif[:MAX_EXIF_SEGMENTS])
    return stripper.result()


def _segments(stripper: Stripper) -> Iterator[tuple[int, int, int]]:
    """Give marker, start and end of each segment, up to the header of the first scan."""
    data, at = stripper.data, 2
    while 0 <= at <= len(data) - 4:
        stripper.count()
        marker = data[at + 1]
        if data[at] != 0xFF:  # neither a marker nor part of a segment
            end = data.find(b"\xff", at)
            stripper.drop(at, end if end > 0 else len(data))
            at = end
        elif marker == 0xFF:  # padding
            at += 1
        elif marker in ALONE:
            at += 2
        else:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
            yield marker, at, end
            if marker in (SCAN, END_OF_IMAGE) or end < at + 4:
                return
            at = end


def _tells_colours(marker: int, head: bytes, length: int) -> bool:
    """Whether a decoder learns from a segment how the colours are stored."""
    if marker == 0xE0:
        return head.startswith(b"JFIF\0") and length >= 14
    return marker == 0xEE and head.startswith(b"Adobe") and length >= 12


# WebP (RFC 9649, 2.7)

NEEDED_CHUNKS = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
ICC_EXIF_XMP = 0x20 | 0x08 | 0x04
"""The flags in VP8X that announce them."""


def _strip_webp(data: bytes) -> Stripped:
    stripper = Stripper(data)
    at, file_end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= file_end:
        stripper.count()
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        if name not in NEEDED_CHUNKS:
            stripper.drop(at, end)
            if name in (b"EXIF", b"XMP "):
                stripper.info.setdefault(
                    EXIF if name == b"EXIF" else XMP, data[at + 8 : at + 8 + length]
                )
        at = end
    if not stripper.has_dropped:
        return stripper.result()
    stripper.drop(at, len(data))  # what follows the file
    bare, info = stripper.result()
    whole = bytearray(bare)
    whole[4:8] = (len(whole) - 8).to_bytes(4, "little")
    if whole[12:16] == b"VP8X" and len(whole) > 20:
        whole[20] &= ~ICC_EXIF_XMP
    return Stripped(bytes(whole), info)


# GIF (GIF89a, 15 to 26)

EXTENSION, CONTROL = 0x21, 0xF9
"""The control extension tells which colour is transparent."""


def _strip_gif(data: bytes) -> Stripped:
    stripper = Stripper(data)
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while at + 2 < len(data) and data[at] == EXTENSION:
        stripper.count()
        start, label, first = at, data[at + 1], data[at + 2]
        at += 2
        while at < len(data) and (size := data[at]):
            stripper.count()
            at += 1 + size
        at += 1
        if label != CONTROL or first < 4:
            stripper.drop(start, at)
    return stripper.result()


_STRIPPERS: Mapping[str, Callable[[bytes], Stripped]] = MappingProxyType(
    {"PNG": strip_png, "JPEG": _strip_jpeg, "WEBP": _strip_webp, "GIF": _strip_gif}
)


def without_metadata(data: bytes, file_format: str) -> Stripped:
    """Take out what is not needed for the pixels.

    Args:
        data: A whole file.
        file_format: One of `FORMATS`; BMP has no metadata before its pixels.

    Raises:
        ValueError: If the file has very many tiny pieces.
    """
    take_out = _STRIPPERS.get(file_format)
    return Stripped(data, {}) if take_out is None else take_out(data)
