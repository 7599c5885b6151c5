"""Draw a small set of images to try everything on: `python examples/make_images.py FOLDER`.

Three labels, a folder each: circles, squares and triangles in bright colours, of many sizes.
The images are made by this script, so they belong to whoever runs it.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

LABELS = ("circle", "square", "triangle")
IMAGES, SIZE, SCALE = 120, 40, 4
"""Images a label; side in pixels; drawn so many times larger, for smooth edges."""


def draw(label: str, rng: np.random.Generator) -> Image.Image:
    """Draw one image, RGB."""
    ground, ink = rng.integers(0, 100, 3).tolist(), rng.integers(150, 256, 3).tolist()
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), tuple(ground))
    radius = rng.uniform(0.2, 0.4) * SIZE * SCALE
    x, y = rng.uniform(radius, SIZE * SCALE - radius, 2)
    pen, circle = ImageDraw.Draw(image), ((x, y), radius)
    if label == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(ink))
    else:
        corners, turn = (4 if label == "square" else 3), rng.uniform(-20, 20)
        pen.regular_polygon(circle, corners, rotation=turn, fill=tuple(ink))
    small = image.resize((SIZE, SIZE)).filter(ImageFilter.GaussianBlur(0.5))
    noisy = np.asarray(small) + rng.normal(0, 12, (SIZE, SIZE, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def main(folder: Path) -> None:
    """Write all images, the same ones each time."""
    rng = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES):
            draw(label, rng).save(folder / label / f"{number:03d}.png")
    print(f"{IMAGES * len(LABELS)} images in {folder}: {', '.join(LABELS)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
