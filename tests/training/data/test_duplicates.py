"""The same image twice: found by its pixels, named by its places."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from tests.conftest import MakeImages
from training.data.dataset import Dataset, MemorySplit
from training.data.duplicates import across_splits, find_duplicates, name_places, with_two_labels
from training.data.folder import read_image_folder


def test_the_same_image_in_two_splits_is_found_whatever_its_files_format(
    make_images: MakeImages,
) -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        root = make_images(f"images/{split}", {"boot": count, "coat": count}).parent
        random = np.random.default_rng(count)
        for path in sorted((root / split).rglob("*.png")):
            Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)).save(path)
    with Image.open(root / "train/boot/1.png") as image:
        image.save(root / "test/boot/copy.bmp")
        image.save(root / "train/coat/other.gif")

    dataset = read_image_folder(root)
    groups = find_duplicates(dataset)

    (group,) = across_splits(groups)
    assert name_places(group, dataset) == (
        "train train/boot/1.png = train train/coat/other.gif = test test/boot/copy.bmp"
    )
    assert with_two_labels(groups, dataset) == [group]


def test_images_without_files_are_named_by_their_position(small_fashion: Dataset) -> None:
    images = small_fashion.test.images.clone()
    images[7] = small_fashion.train.images[3]
    dataset = replace(small_fashion, test=MemorySplit(images, small_fashion.test.targets))

    found = [name_places(group, dataset) for group in across_splits(find_duplicates(dataset))]

    assert found == ["train 3 = test 7"]
