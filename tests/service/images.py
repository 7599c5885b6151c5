"""Images as bytes and as pixels, for the tests of the service."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.preprocessing import Pixels

CARRIED = Path(__file__).parents[1] / "data/fashion-mnist"
"""300 images of the test split."""
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
"""All of it, where Debian's package is installed."""


def fashion_images(folder: Path = CARRIED) -> tuple[Pixels, NDArray[np.uint8]]:
    """Give images of Fashion-MNIST's test split: uint8 (N, 28, 28), targets (N,)."""
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    targets = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(targets, np.uint8, offset=8),
    )


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    """Write an image as a file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def grey(value: int, side: int = 4) -> bytes:
    """Give a PNG file of one colour."""
    return encode(Image.new("L", (side, side), value))


WHITE, BLACK, GREY = grey(255), grey(0), grey(128)


def striped(width: int = 40, height: int = 30) -> Image.Image:
    """An image in which no two columns are alike, nor its halves."""
    columns = np.linspace(0, 250, width).astype(np.uint8)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = columns
    pixels[: height // 2, :, 1] = 200
    return Image.fromarray(pixels)


def filled(*values: int) -> Pixels:
    """Images of one grey each: uint8 (N, 4, 4, 1)."""
    return np.array(values, np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)


def png_by_hand(width: int, height: int, depth: int, colour_type: int, row: bytes) -> bytes:
    """Write a PNG whose rows are all the same, without Pillow and without much memory."""
    deflate = zlib.compressobj(9)
    line = b"\0" + row  # filter 0
    rows = b"".join(deflate.compress(line) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_with(*chunks: tuple[bytes, bytes], pixels: Pixels | None = None) -> bytes:
    """Put chunks of a name and a content before the pixels of a PNG; 8 x 8 black ones if None."""
    image = Image.new("L", (8, 8)) if pixels is None else Image.fromarray(pixels)
    png, header = encode(image), 33
    return png[:header] + b"".join(chunk(*parts) for parts in chunks) + png[header:]


def chunk(name: bytes, content: bytes) -> bytes:
    """Write a chunk of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_of_16_bits(values: NDArray[np.uint16], kind: int, *extra: tuple[bytes, bytes]) -> bytes:
    """Write a PNG of 16 bits a channel, which Pillow cannot do in colour.

    Args:
        values: (H, W, C).
        kind: PNG's colour type: 2 RGB, 4 grey and alpha, 6 RGBA.
        extra: Further chunks.
    """
    height, width = values.shape[:2]
    about = struct.pack(">2I5B", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = (b"IDAT", zlib.compress(rows))
    chunks = [chunk(*one) for one in ((b"IHDR", about), *extra, pixels, (b"IEND", b""))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
