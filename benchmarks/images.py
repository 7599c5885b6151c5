"""Images to send: made here, so that a measurement needs no data."""

import io

import numpy as np
from PIL import Image


def make_image(image_size: int, file_format: str = "PNG", target_bytes: int | None = None) -> bytes:
    """Draw soft blots with some grain; as a file.

    Args:
        image_size: In pixels; RGB over 64, grey below.
        file_format: Pillow's name.
        target_bytes: For JPEG: raise the quality until the file is about so large.
    """
    random = np.random.default_rng(0)
    channels = 3 if image_size > 64 else 1
    coarse = random.integers(0, 256, (8, 8, channels), dtype=np.uint8)
    size = (image_size, image_size)
    image = Image.fromarray(coarse.squeeze()).resize(size, Image.Resampling.BICUBIC)
    grain = random.normal(0, 6, (*size, channels))
    pixels = np.asarray(image, dtype=np.float64).reshape(*size, channels) + grain
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).squeeze())
    for quality in range(50, 96, 3) if target_bytes else (90,):
        file = io.BytesIO()
        image.save(file, file_format, quality=quality)
        if target_bytes and file.tell() >= target_bytes:
            break
    return file.getvalue()


def form(payload: bytes, count: int = 1) -> tuple[bytes, str]:
    """Wrap a file, so many times, as multipart/form-data: the body, and its content type."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
    kind = b"Content-Type: image/png\r\n\r\n"
    part = head + kind + payload + b"\r\n"
    return count * part + b"--x--\r\n", "multipart/form-data; boundary=x"
