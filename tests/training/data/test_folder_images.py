"""Folders of images: channels, modes, sizes, statistics and the digest."""

import zlib

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from PIL import Image

from model.preprocessing import Preprocessing
from tests.conftest import MakeImages
from tests.service.images import chunk, png_of_16_bits
from tests.training.data.splits import sizes_of
from training.data.folder import read_image_folder


def test_grey_images_give_one_channel(make_images: MakeImages) -> None:
    dataset = read_image_folder(make_images())

    assert dataset.preprocessing.channels == 1
    assert dataset.train.images.shape[1:] == (28, 28, 1)


def test_one_coloured_image_among_grey_ones_gives_three_channels(
    make_images: MakeImages,
) -> None:
    root = make_images()
    Image.new("RGB", (28, 28), (200, 10, 10)).save(root / "boot" / "red.png")

    dataset = read_image_folder(root)

    assert dataset.preprocessing.channels == 3
    assert dataset.train.images.shape[1:] == (28, 28, 3)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGB", "RGBA", "I;16"])
def test_images_of_every_mode_are_read(make_images: MakeImages, mode: str) -> None:
    root = make_images()
    image = Image.new("L", (30, 20), 77)
    image.convert(mode).save(root / "boot" / "other.png")

    dataset = read_image_folder(root)

    assert dataset.unreadable == ()
    assert sum(sizes_of(dataset)) == 21


def test_small_images_keep_their_usual_size(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 10, "coat": 10})
    Image.new("L", (300, 200)).save(root / "boot" / "large.jpg")

    spec = read_image_folder(root).preprocessing

    assert (spec.resize, spec.crop) == (28, 28)


def test_large_images_come_to_224_pixels_by_way_of_256(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 4, "coat": 4})
    for shade, path in enumerate(root.rglob("*.png")):
        Image.new("RGB", (500, 375), (9, 9, shade)).save(path)

    dataset = read_image_folder(root)

    assert (dataset.preprocessing.resize, dataset.preprocessing.crop) == (256, 224)
    assert dataset.train.images.shape == (4, 224, 224, 3)


def test_the_size_asked_for_wins(make_images: MakeImages) -> None:
    root = make_images()

    assert read_image_folder(root, size=16).train.images.shape[1:] == (16, 16, 1)
    assert read_image_folder(root, size=112).preprocessing.resize == 128


def test_mean_and_std_are_those_of_the_training_split(make_images: MakeImages) -> None:
    dataset = read_image_folder(make_images())

    pixels = dataset.train.images.numpy() / 255
    assert dataset.preprocessing.mean == pytest.approx((pixels.mean(),), abs=1e-4)
    assert dataset.preprocessing.std == pytest.approx((pixels.std(),), abs=1e-4)


def test_the_digest_changes_with_a_image_and_not_with_the_place(
    make_images: MakeImages,
) -> None:
    root, moved = make_images("here"), make_images("there/below")
    before = read_image_folder(root).sha256

    assert read_image_folder(moved).sha256 == before
    Image.new("L", (28, 28)).save(root / "boot" / "0.png")
    assert read_image_folder(root).sha256 != before


def test_metadata_leaves_no_image_out_and_changes_none(make_images: MakeImages) -> None:
    root = make_images()
    before = read_image_folder(root)
    texts = (b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(2_000_000))), (b"zTXt", b"k\0\7")
    for path in root.rglob("*.png"):
        png = path.read_bytes()
        extra = b"".join(chunk(*text) for text in texts)
        path.write_bytes(png[:33] + extra + png[33:-12] + extra + png[-12:])

    after = read_image_folder(root, held=before.files)

    assert not after.unreadable
    assert torch.equal(after.train.images, before.train.images)


def test_a_photograph_over_pillows_limit_is_shrunk_and_read(make_images: MakeImages) -> None:
    root = make_images()
    Image.new("L", (10_000, 9_000), 200).save(root / "boot" / "large.jpg")

    assert not read_image_folder(root).unreadable


@pytest.mark.parametrize(("largest", "bits"), [(200, 8), (1000, 10), (4095, 12), (40_000, 16)])
def test_greys_of_16_bits_are_scaled_by_the_bits_that_they_use(
    make_images: MakeImages, largest: int, bits: int
) -> None:
    root = make_images(labels={"boot": 3, "coat": 3})
    slope = np.linspace(0, largest, 28 * 28).reshape(28, 28).astype(np.uint16)
    for shade, path in enumerate(sorted(root.rglob("*.png"))):
        Image.fromarray(slope - slope // (9 + shade)).save(path)  # the largest is 8/9 at least
    Image.fromarray(slope).save(root / "boot" / "0.png")

    dataset = read_image_folder(root)

    assert dataset.preprocessing.grey_bits == bits
    assert any(f"of which {bits} are used" in note for note in dataset.notes) == (bits < 16)
    whitest = max(int(split.images.max()) for split in dataset.splits.values() if len(split))
    assert whitest == largest >> (bits - 8)
    assert ("grey_bits" in dataset.preprocessing.model_dump()) == (bits < 16)


def test_colours_of_16_bits_are_scaled_like_greys(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 3, "coat": 3})
    for path in root.rglob("*.png"):
        values = np.full((28, 28, 3), 4095 - int(path.stem), np.uint16)
        path.write_bytes(png_of_16_bits(values, 2))

    dataset = read_image_folder(root)

    assert dataset.preprocessing.grey_bits == 12
    assert any("6 images have 16 bits, of which 12 are used" in note for note in dataset.notes)
    assert int(dataset.train.images.min()) == 4095 >> 4


def test_images_for_a_network_that_is_there_are_resized_and_scaled_as_it_expects(
    make_images: MakeImages,
) -> None:
    like = Preprocessing(resize=232, crop=224, channels=1, mean=(0,), std=(1,), grey_bits=12)

    spec = read_image_folder(
        make_images(labels={"boot": 3, "coat": 3}), 224, like=like
    ).preprocessing

    assert (spec.resize, spec.crop, spec.grey_bits) == (232, 224, 12)
