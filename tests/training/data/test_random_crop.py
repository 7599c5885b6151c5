"""Random resized crops that are cut from the file."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.preprocessing import Preprocessing
from training.data.random_crop import RATIOS, RandomCrop, random_box

SPEC = Preprocessing(resize=18, crop=16, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def _file(width: int, height: int, orientation: int = 1) -> bytes:
    """A colour gradient: red across, green down, as the image is seen upright."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([across, down, 0 * down], 2).round().astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation == 6:  # stored lying on its side; a viewer turns it clockwise
        image = image.transpose(Image.Transpose.ROTATE_90)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def _ends(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where the crop begins and ends across and down, as shares of the image."""
    red, green = pixels[..., 0].mean(0) / 255, pixels[..., 1].mean(1) / 255
    return np.array([red[0], red[-1], green[0], green[-1]])


def test_boxes_have_the_areas_and_ratios_that_were_asked_for() -> None:
    rng = np.random.default_rng(0)

    boxes = np.array([random_box(300, 200, 0.25, rng.random((10, 4))) for _ in range(2_000)])

    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 300
    assert boxes[:, 3].max() <= 200
    area, ratio = width * height / 60_000, width / height
    assert area.min() == pytest.approx(0.25, abs=0.01)
    assert 0.8 < area.max() < 0.9  # a larger one would be too high, or too wide for its height
    assert (ratio.min(), ratio.max()) == pytest.approx(RATIOS, abs=0.01)


@pytest.mark.parametrize(
    ("size", "box"), [((1000, 30), (480, 0, 520, 30)), ((30, 1000), (0, 480, 30, 520))]
)
def test_an_image_that_no_box_fits_gives_its_centre(
    size: tuple[int, int], box: tuple[float, ...]
) -> None:
    assert random_box(*size, 1.0, np.full((10, 4), 0.5)) == box


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_crop_shows_the_box_that_was_drawn(orientation: int) -> None:
    """Also of a JPEG that is shrunk eightfold while it is decoded, or turned by its EXIF data."""
    data, crop = _file(400, 300, orientation), RandomCrop(0.3, seed=7)
    for epoch in range(3):
        draws = np.random.default_rng((7, epoch, 11)).random((10, 4))
        left, top, right, bottom = random_box(400, 300, 0.3, draws)

        pixels = crop.decode(data, SPEC, epoch, 11)

        assert pixels.shape == (16, 16, 3)
        half = np.array([right - left, left - right, bottom - top, top - bottom]) / 32
        ends = np.array([left, right, top, bottom]) + half  # centres of the outer pixels
        assert _ends(pixels) == pytest.approx(ends / (400, 400, 300, 300), abs=0.02)


def test_a_crop_depends_on_seed_epoch_and_position_alone() -> None:
    data = _file(64, 48)

    def cut(seed: int, epoch: int, position: int) -> bytes:
        return RandomCrop(0.3, seed).decode(data, SPEC, epoch, position).tobytes()

    assert cut(1, 2, 3) == cut(1, 2, 3)
    assert len({cut(1, 2, 3), cut(0, 2, 3), cut(1, 0, 3), cut(1, 2, 0)}) == 4
