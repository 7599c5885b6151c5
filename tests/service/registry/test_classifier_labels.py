"""Which label an image gets: the likeliest, and the same in every mode and size."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.inference.outputs import BatchOutputs
from service.postprocessing.batch import BatchAnswers, read_batch
from service.postprocessing.ranking import rank
from service.postprocessing.schemas import Prediction
from tests.service.classifying import classify
from tests.service.conftest import Service
from tests.service.images import encode, fashion_images

LABELS = ("a", "b", "c", "d")


def answers(probabilities: NDArray[np.float32]) -> BatchAnswers:
    images = np.zeros((len(probabilities), 1, 1, 1), np.uint8)
    return read_batch(BatchOutputs(probabilities, probabilities), images, None)


def ranked(*probabilities: float, top_k: int = 9) -> list[Prediction]:
    return rank(answers(np.array([probabilities], np.float32)), 0, LABELS, top_k)


# rank


def test_the_likeliest_label_comes_first() -> None:
    predictions = ranked(0.25, 0.5, 0.125, 0.125)

    assert [(item["label"], item["index"], item["probability"]) for item in predictions] == [
        ("b", 1, 0.5),
        ("a", 0, 0.25),
        ("c", 2, 0.125),
        ("d", 3, 0.125),
    ]


def test_of_equals_the_first_in_the_labels_comes_first() -> None:
    assert [item["label"] for item in ranked(0.25, 0.25, 0.25, 0.25)] == list(LABELS)
    assert [item["label"] for item in ranked(0.1, 0.4, 0.1, 0.4)] == ["b", "d", "a", "c"]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (4, 4), (5, 4), (1000, 4)])
def test_there_are_no_more_answers_than_labels(top_k: int, count: int) -> None:
    predictions = ranked(0.1, 0.2, 0.3, 0.4, top_k=top_k)

    assert [item["label"] for item in predictions] == ["d", "c", "b", "a"][:count]


@pytest.mark.parametrize("top_k", [1, 5, 999, 2000])
@pytest.mark.parametrize("levels", [1, 3, 100_000])
def test_of_many_labels_the_same_come_first_as_if_all_were_sorted(top_k: int, levels: int) -> None:
    generator = np.random.default_rng(top_k + levels)
    probabilities = (generator.integers(0, levels, 2000) / levels).astype(np.float32)
    labels = [str(index) for index in range(2000)]

    found = [item["index"] for item in rank(answers(probabilities[None]), 0, labels, top_k)]

    assert found == sorted(range(2000), key=lambda index: -probabilities[index])[:top_k]


def test_a_probability_stays_within_its_bounds_despite_rounding() -> None:
    assert [item["probability"] for item in ranked(1.0000001, -1e-9)] == [1, 0]


# One image in many files


Convert = Callable[[Image.Image], bytes]


def grey_with_alpha(image: Image.Image) -> bytes:
    return encode(Image.merge("LA", (image, Image.new("L", image.size, 255))))


def sixteen_bits(image: Image.Image) -> bytes:
    return encode(Image.fromarray(np.asarray(image).astype(np.uint16) * 257))


def lying_on_its_side(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def seen_through(image: Image.Image) -> bytes:
    """Black ink, thin where the image is bright: on white paper it is the image."""
    negative = image.point(lambda value: 255 - value)
    return encode(Image.merge("LA", (Image.new("L", image.size, 0), negative)))


CONVERSIONS: dict[str, Convert] = {
    "L": encode,
    "1": lambda image: encode(image.point(lambda value: 255 * (value > 40)).convert("1")),
    "LA": grey_with_alpha,
    "LA over white": seen_through,
    "P": lambda image: encode(image.convert("RGB").quantize(64)),
    "RGB": lambda image: encode(image.convert("RGB")),
    "RGBA": lambda image: encode(image.convert("RGBA")),
    "I;16": sixteen_bits,
    "BMP": lambda image: encode(image, "BMP"),
    "BMP in RGBA": lambda image: encode(image.convert("RGBA"), "BMP"),
    "GIF": lambda image: encode(image, "GIF"),
    "JPEG in L": lambda image: encode(image, "JPEG", quality=95),
    "JPEG in YCbCr": lambda image: encode(image.convert("RGB"), "JPEG", quality=95),
    "JPEG in CMYK": lambda image: encode(image.convert("CMYK"), "JPEG", quality=95),
    "WebP": lambda image: encode(image.convert("RGB"), "WEBP", lossless=True),
    "WebP in RGBA": lambda image: encode(image.convert("RGBA"), "WEBP", quality=95),
    "EXIF": lying_on_its_side,
}


@pytest.mark.anyio
@pytest.mark.parametrize("mode", CONVERSIONS)
async def test_an_image_gets_the_same_label_in_every_mode(mode: str, shipped: Service) -> None:
    images = [Image.fromarray(pixels) for pixels in fashion_images()[0][:3]]
    if mode == "1":  # black and white dots are another image; it is the same in any mode, too
        images = [image.convert("1").convert("L") for image in images]

    expected = await classify(shipped, [encode(image) for image in images])
    actual = await classify(shipped, [CONVERSIONS[mode](image) for image in images])

    assert [item["predictions"][0]["label"] for item in actual] == [
        item["predictions"][0]["label"] for item in expected
    ]


@pytest.mark.anyio
async def test_a_large_image_is_brought_to_the_networks_size(shipped: Service) -> None:
    image = Image.fromarray(fashion_images()[0][0])
    large = image.resize((1_120, 1_120), Image.Resampling.NEAREST)

    small, big = await classify(shipped, [encode(image), encode(large)])

    assert big["predictions"][0]["label"] == small["predictions"][0]["label"]
    assert abs(big["predictions"][0]["probability"] - small["predictions"][0]["probability"]) < 0.02
