"""Decode run-length encoded BMP files (RLE8, RLE4).

Pillow's own decoder reads them through Python byte by byte: 10 MB take it two seconds, and some
kilobytes of line ends three. Here runs take 60 ns each. Pixels that a file skips are of colour 0.

Source:
    https://learn.microsoft.com/en-us/windows/win32/gdi/bitmap-compression
"""

import re
from typing import IO, cast

from PIL import BmpImagePlugin, Image

END_OF_LINE, END_OF_BITMAP, DELTA = 0, 1, 2
"""The second byte of a code whose first byte is 0; from 3 on, so many single pixels follow."""
MAX_CODES = 2_000_000
"""Of such codes in a file, and of runs in a row as one. So many take a second, and a file of 10 MB
could hold five million that draw nothing. Encoders write one a row, or one for some pixels."""
RUNS = re.compile(rb"(?:[^\0].)*+", re.DOTALL)
NIBBLES = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))
RUNS_OF_BYTES = tuple(128 * bytes((value, value)) for value in range(256))
RUNS_OF_NIBBLES = tuple(128 * bytes((value >> 4, value & 15)) for value in range(256))


class RleDecoder(BmpImagePlugin.BmpRleDecoder):
    """Reads the whole rest of the file at once."""

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:  # noqa: ARG002  # Pillow's
        """Decode what follows in the file.

        Raises:
            ValueError: If the file ends before the image does.
        """
        data = cast(IO[bytes], self.fd).read()
        _, is_rle4, direction = self.args
        pixels = unpack(data, self.state.xsize, self.state.ysize, is_rle4=is_rle4)
        self.set_as_raw(pixels, "L" if self.mode in ("1", "L") else "P", (0, direction))
        return -1, 0


def unpack(data: bytes, width: int, height: int, *, is_rle4: bool) -> bytearray:
    """Unpack the codes into one byte a pixel, in the file's order of rows.

    Raises:
        ValueError: If the data ends before the image does, or has too many codes.
    """
    pixels = bytearray(width * height)
    long_runs = RUNS_OF_NIBBLES if is_rle4 else RUNS_OF_BYTES
    length = len(data)
    data += bytes(4)  # so that a code that is cut off can be read
    at = x = row = 0  # `row` is the offset in `pixels` at which the row begins
    for _ in range(MAX_CODES):
        if at >= length:
            break
        if data[at]:
            end = RUNS.match(data, at).end()  # type: ignore[union-attr]  # it is there
            # each run has a pixel or more; those beyond the row's end need no unpacking
            runs = data[at : min(end, at + 2 * max(0, width - x))]
            x = _draw(pixels, _unpack_runs(runs, long_runs), row, x, width)
            at = end
            continue
        code = data[at + 1]
        at += 2
        if code > DELTA:
            size = (code + 1) // 2 if is_rle4 else code
            some = data[at : at + size]
            if is_rle4:
                some = some.hex().encode().translate(NIBBLES)
            x = _draw(pixels, some[:code], row, x, width)
            at += size + size % 2
        elif code == END_OF_LINE:
            x, row = 0, row + width
        elif code == DELTA:
            x, row = x + data[at], row + width * data[at + 1]
            at += 2
        if row >= len(pixels) or code == END_OF_BITMAP:
            return pixels
    else:
        raise ValueError(f"more than {MAX_CODES:,} codes among the run-length encoded pixels")
    if at > length + 1 or row + min(x, width) < len(pixels):  # one byte of padding may be missing
        raise ValueError("the run-length encoded pixels end too early")
    return pixels


def _unpack_runs(runs: bytes, long_runs: tuple[bytes, ...]) -> bytes:
    if len(runs) == 2:
        return long_runs[runs[1]][: runs[0]]
    return b"".join([long_runs[v][:n] for n, v in zip(runs[::2], runs[1::2], strict=True)])


def _draw(pixels: bytearray, some: bytes, row: int, x: int, width: int) -> int:
    """Write what fits into a row from `x` on, and give the place after it."""
    some = some[: max(0, width - x)]
    pixels[row + x : row + x + len(some)] = some
    return x + len(some)


# in the place of Pillow's own, which importing its plugin registered
Image.register_decoder("bmp_rle", RleDecoder)
