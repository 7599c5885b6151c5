"""What a file is that is none of the formats that are read, and what its sender can do.

Files are known by their first bytes, whatever they are called.
"""

import codecs
import re
from types import MappingProxyType
from typing import NamedTuple

CONVERT = "Convert it to JPEG or PNG."
RENDER = "Save it as a PNG."
FRAME = "Send one of its frames as JPEG or PNG."
UNPACK = "Unpack it, and send the image in it."
BINARY = "Send its bytes unchanged (with curl: --data-binary, not --data)."
NO_IMAGE = "Send an image file."


class Kind(NamedTuple):
    """What a file is, as in "a PDF document", and the way out in a sentence."""

    name: str
    advice: str


HEIC = Kind("a HEIC file (the photo format of iPhones)", CONVERT)
HEIF = Kind("a HEIF file", CONVERT)
AVIF = Kind("an AVIF file", CONVERT)
VIDEO = Kind("an MP4 video", FRAME)
BRANDS = MappingProxyType(
    {
        **dict.fromkeys((b"avif", b"avis"), AVIF),
        **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), HEIC),
        b"crx ": Kind("a Canon raw photo (CR3)", CONVERT),
        b"qt  ": Kind("a QuickTime video", FRAME),
        **dict.fromkeys((b"M4A ", b"M4B "), Kind("an MP4 sound file", NO_IMAGE)),
        **dict.fromkeys((b"mif1", b"mif2", b"msf1", b"miaf"), HEIF),
    }
)
"""Of a file in boxes (ISO/IEC 14496-12), the more telling ones first."""

TIFF = Kind("a TIFF file, or a camera's raw photo (DNG, NEF, ARW)", CONVERT)
JPEG_2000 = Kind("a JPEG 2000 file", CONVERT)
JPEG_XL = Kind("a JPEG XL file", CONVERT)
TEXT_MODE = "was changed on its way, as text is"
MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (8, b"CR\2\0", Kind("a Canon raw photo (CR2)", CONVERT)),
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"II+\0", TIFF),
    (0, b"MM\0+", TIFF),
    (0, b"IIRO", Kind("an Olympus raw photo (ORF)", CONVERT)),
    (0, b"IIU\0", Kind("a Panasonic raw photo (RW2)", CONVERT)),
    (0, b"FUJIFILMCCD-RAW", Kind("a Fujifilm raw photo (RAF)", CONVERT)),
    (0, b"\0\0\0\x0cjP  \r\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"\0\0\0\x0cJXL \r\n", JPEG_XL),
    (0, b"\xff\x0a", JPEG_XL),
    (0, b"8BPS", Kind("a Photoshop file (PSD)", CONVERT)),
    (0, b"gimp xcf", Kind("a GIMP file (XCF)", CONVERT)),
    (0, b"\0\0\1\0", Kind("a Windows icon (ICO)", CONVERT)),
    (0, b"\0\0\2\0", Kind("a Windows cursor, or a TGA file", CONVERT)),
    (0, b"icns", Kind("an Apple icon (ICNS)", CONVERT)),
    (0, b"DDS ", Kind("a DDS texture", CONVERT)),
    (0, b"v/1\1", Kind("an OpenEXR file", CONVERT)),
    (0, b"#?R", Kind("a Radiance HDR file", CONVERT)),
    (0, b"qoif", Kind("a QOI file", CONVERT)),
    (0, b"\x8aMNG", Kind("an MNG animation", FRAME)),
    (0, b"\x0a\5\1", Kind("a PCX file", CONVERT)),
    (0, b"\1\xda", Kind("an SGI file", CONVERT)),
    (0, b"\xd7\xcd\xc6\x9a", Kind("a Windows metafile (WMF)", RENDER)),
    (40, b" EMF", Kind("a Windows metafile (EMF)", RENDER)),
    (0, b"AT&TFORM", Kind("a DjVu document", RENDER)),
    (128, b"DICM", Kind("a DICOM file", CONVERT)),
    (0, b"SIMPLE  =", Kind("a FITS file", CONVERT)),
    (0, b"\x93NUMPY", Kind("a NumPy array (.npy)", "Save the array as a PNG.")),
    (0, b"\x89HDF\r\n", Kind("an HDF5 file", NO_IMAGE)),
    (0, b"CDF\1", Kind("a netCDF file", NO_IMAGE)),
    (0, b"CDF\2", Kind("a netCDF file", NO_IMAGE)),
    (0, b"%PDF", Kind("a PDF document", "Save the page as a PNG.")),
    (0, b"%!PS", Kind("a PostScript file", RENDER)),
    (0, b"\xc5\xd0\xd3\xc6", Kind("a PostScript file (EPS)", RENDER)),
    (0, b"\xd0\xcf\x11\xe0", Kind("a document of an old Office", "Send the image alone.")),
    (0, b"PK\3\4", Kind("a ZIP archive, or a document in one", UNPACK)),
    (0, b"PK\5\6", Kind("an empty ZIP archive", UNPACK)),
    (0, b"\x1f\x8b", Kind("compressed by gzip", UNPACK)),
    (0, b"BZh", Kind("compressed by bzip2", UNPACK)),
    (0, b"\xfd7zXZ\0", Kind("compressed by xz", UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", Kind("compressed by Zstandard", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", UNPACK)),
    (0, b"Rar!", Kind("a RAR archive", UNPACK)),
    (257, b"ustar", Kind("a tar archive", UNPACK)),
    (8, b"AVI ", Kind("an AVI video", FRAME)),
    (8, b"WAVE", Kind("a WAVE sound file", NO_IMAGE)),
    (0, b"\x1a\x45\xdf\xa3", Kind("a WebM or Matroska video", FRAME)),
    (0, b"\0\0\1\xba", Kind("an MPEG video", FRAME)),
    (0, b"\0\0\1\xb3", Kind("an MPEG video", FRAME)),
    (0, b"OggS", Kind("an Ogg file", NO_IMAGE)),
    (0, b"ID3", Kind("an MP3 file", NO_IMAGE)),
    (4, b"moov", Kind("a QuickTime video", FRAME)),
    (4, b"mdat", Kind("a QuickTime video", FRAME)),
    (0, b"SQLite format 3\0", Kind("a database (SQLite)", NO_IMAGE)),
    (0, b"\x89PNG", Kind(f"a PNG that {TEXT_MODE}", BINARY)),
    (0, b"\xef\xbf\xbdPNG", Kind(f"a PNG that {TEXT_MODE}", BINARY)),
    (0, b"\xc2\x89PNG", Kind(f"a PNG that {TEXT_MODE}", BINARY)),
    (0, b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", Kind(f"a file that {TEXT_MODE}", BINARY)),
    (0, b"\xc3\xbf\xc3\x98\xc3\xbf", Kind(f"a JPEG that {TEXT_MODE}", BINARY)),
)
"""Where in the file, which bytes, what it is."""

HEAD_BYTES = 1_024
"""Of a text that are compared."""
DECODE = 'Decode it, or send it as JSON: {"images": ["..."]}.'
FETCH = "Send the image itself, not its address."
SVG = Kind("an SVG drawing", RENDER)
TEXTS: tuple[tuple[str, Kind], ...] = (
    (r"version https://git-lfs", Kind("a Git LFS pointer", "Fetch the file: git lfs pull.")),
    (r"(<\?xml|<!--|<!doctype svg|<svg)(?s:.*?)<svg\b|<svg\b", SVG),
    (
        r"(<\?xml(?s:.*?))?<(!doctype html|html|head|body)\b",
        Kind("an HTML page", "Send the image itself, not the page about it, or an error's page."),
    ),
    (r"<\?xml", Kind("an XML document", NO_IMAGE)),
    (r"data:[\w/+.-]*[;,]", Kind("a data: URL", DECODE)),
    (r"/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3]", Kind("an image in base64", DECODE)),
    (r"https?://|file://", Kind("an address", FETCH)),
    (r"b['\"]\\x", Kind("the text of Python's bytes", "Send the bytes, not their `repr`.")),
    (r"--.*\r?\ncontent-disposition:", Kind("a form", "Say so: multipart/form-data.")),
    (r"[{\[]\s*[\"\[{\d}\]]", Kind("JSON", "Say so: application/json.")),
    (r"P[1-7]\s", Kind("a PBM, PGM, PPM or PAM file", CONVERT)),
)
"""How a text begins, after its byte order mark and blanks; what it is."""


def recognise(data: bytes) -> Kind | None:
    """Tell what a file is that none of our decoders reads; None if that is not known."""
    if not data:
        return Kind("an empty file", NO_IMAGE)
    if data[4:8] == b"ftyp":
        return _in_boxes(data)
    if data[-18:-2] == b"TRUEVISION-XFILE":
        return Kind("a TGA file", CONVERT)
    for offset, magic, kind in MAGIC:
        if data.startswith(magic, offset):
            return kind
    return _as_text(data[:HEAD_BYTES])


def _in_boxes(data: bytes) -> Kind:
    """Tell by its brands, the major one first, what a file in boxes holds."""
    end = min(int.from_bytes(data[:4]), HEAD_BYTES)
    brands = (data[8:12], *(data[at : at + 4] for at in range(16, end, 4)))
    known = [BRANDS[brand] for brand in brands if brand in BRANDS]
    return next((kind for kind in known if kind != HEIF), known[0] if known else VIDEO)


def _as_text(head: bytes) -> Kind | None:
    is_utf_16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    decoder = codecs.getincrementaldecoder("utf-16" if is_utf_16 else "utf-8-sig")("replace")
    text = decoder.decode(head).lstrip()  # a character that is cut at the end is left out
    for pattern, kind in TEXTS:
        if re.match(pattern, text, re.IGNORECASE):
            return kind
    is_readable = all(sign.isprintable() or sign.isspace() for sign in text)
    return Kind("a text file", NO_IMAGE) if text and is_readable and "\ufffd" not in text else None
