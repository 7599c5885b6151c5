"""Large files, decoded and resized by ours and by other libraries, in turns in one process.

`python -m benchmarks.peers.decoders FILE... [--rounds 9]`, in an environment of its own that has
simplejpeg, opencv-python-headless, pyvips[binary], pillow, numpy, pydantic and typer. JPEG files
are shrunk while they are decoded, as ours are; each result is 224 x 224 pixels, as for a network
that reads those. Processor time, so `VIPS_CONCURRENCY` does not matter; the least of all rounds.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cv2  # type: ignore[import-not-found]
import numpy as np
import pyvips  # type: ignore[import-not-found]
import simplejpeg  # type: ignore[import-not-found]
import typer
from PIL import Image

from model.images.image_file import open_image_file
from model.preprocessing import Preprocessing, preprocess, shrink_on_load, shrinking, upright

SPEC = Preprocessing(resize=256, crop=224, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def ours(data: bytes) -> Any:
    """Pillow, as in training and in serving."""
    image = open_image_file(data)
    shrink_on_load(image, SPEC)
    return preprocess(upright(image), SPEC)


def libjpeg_turbo(data: bytes) -> Any:
    """The scaled decode of libjpeg-turbo; JPEG only."""
    side = 2 * SPEC.resize
    pixels = simplejpeg.decode_jpeg(data, min_height=side, min_width=side, min_factor=1)
    return preprocess(Image.fromarray(pixels), SPEC)


def opencv(data: bytes) -> Any:
    """OpenCV's reduced decode, and its resize by areas."""
    size = open_image_file(data).size if data.startswith(b"\xff\xd8") else (1, 1)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[shrinking(size, SPEC)])
    height, width = image.shape[:2]
    side = min(height, width) * SPEC.crop // SPEC.resize
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    small = cv2.resize(square, (SPEC.crop, SPEC.crop), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def libvips(data: bytes) -> Any:
    """The thumbnail of libvips."""
    side, edge = SPEC.resize, (SPEC.resize - SPEC.crop) // 2
    image = pyvips.Image.thumbnail_buffer(data, side, height=side, crop="centre")
    return image.crop(edge, edge, SPEC.crop, SPEC.crop).numpy()


DECODERS: tuple[Callable[[bytes], Any], ...] = (ours, libjpeg_turbo, opencv, libvips)


def compare(data: bytes, rounds: int) -> None:
    """Measure each decoder in turns, and print the least time and the difference in pixels."""
    seconds: dict[str, list[float]] = {}
    pixels: dict[str, Any] = {}
    for _ in range(rounds):
        for decode in DECODERS:
            if decode is libjpeg_turbo and not data.startswith(b"\xff\xd8"):
                continue
            began = time.process_time()
            pixels[decode.__name__] = decode(data)
            seconds.setdefault(decode.__name__, []).append(time.process_time() - began)
    own = pixels["ours"].astype(int)
    for name, times in seconds.items():
        difference = np.abs(pixels[name].astype(int) - own).mean()
        ratio = min(seconds["ours"]) / min(times)
        print(
            f"  {name}: {1000 * min(times):.1f} ms, ours takes {ratio:.2f} times as long, "
            f"pixels differ by {difference:.2f} of 255 on average"
        )


def main(
    files: Annotated[list[Path], typer.Argument(help="JPEG and PNG files.")],
    rounds: Annotated[int, typer.Option(min=1)] = 9,
) -> None:
    """Measure each file, and print."""
    cv2.setNumThreads(1)
    for path in files:
        print(path.name)
        compare(path.read_bytes(), rounds)


if __name__ == "__main__":
    typer.run(main)
