"""Folders of images: which folders are labels and splits, and what is held out."""

import shutil
from hashlib import sha256

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from model.images.image_file import open_image_file
from tests.conftest import MakeImages
from tests.training.data.splits import sizes_of
from training.data.folder import read_image_folder


def test_the_names_of_the_folders_are_the_labels_in_order(make_images: MakeImages) -> None:
    root = make_images(labels={"b": 4, "a": 4, "C": 4, "10": 4, "9": 4})

    dataset = read_image_folder(root)

    assert dataset.labels == ("10", "9", "C", "a", "b")
    assert dataset.name == "images"
    assert dataset.source == str(root)


def test_a_flat_folder_holds_images_of_each_label_out_twice(make_images: MakeImages) -> None:
    dataset = read_image_folder(make_images(labels={"boot": 30, "coat": 10}))

    assert sum(sizes_of(dataset)) == 40
    assert sizes_of(dataset)[0] > 24
    assert min(dataset.validation.targets.bincount().tolist()) > 0
    assert min(dataset.test.targets.bincount().tolist()) > 0


def test_no_image_is_in_two_splits_and_none_is_lost(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 12, "coat": 12})
    dataset = read_image_folder(root)

    stored = sorted(np.asarray(Image.open(path)).tobytes() for path in root.rglob("*.png"))
    splits = (dataset.train, dataset.validation, dataset.test)
    read = sorted(image.numpy().tobytes() for split in splits for image in split.images)
    assert read == stored


def test_the_digest_depends_on_the_files_and_not_on_the_splits(make_images: MakeImages) -> None:
    root = make_images()
    whole = read_image_folder(root)
    files = whole.files
    held = {**files, "train": files["test"] + files["train"][1:], "test": files["train"][:1]}

    other = read_image_folder(root, held=held)

    assert other.sha256 == whole.sha256
    assert set(other.other_digests()) != set(whole.other_digests())


def test_the_digest_of_earlier_runs_is_still_known(make_images: MakeImages) -> None:
    root = make_images()

    dataset = read_image_folder(root)

    earlier = sha256()  # names and contents in the order of the splits
    for name in ("train", "validation", "test"):
        for file in dataset.files[name]:
            earlier.update(file.encode() + sha256((root / file).read_bytes()).digest())
    assert dataset.has_digest(earlier.hexdigest())
    assert dataset.has_digest(dataset.sha256)
    assert not dataset.has_digest("0" * 64)


def test_folders_named_as_splits_are_taken_as_they_are(make_images: MakeImages) -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        root = make_images(f"images/{split}", {"boot": count, "coat": count}).parent

    dataset = read_image_folder(root)

    assert sizes_of(dataset) == (12, 6, 8)
    assert dataset.labels == ("boot", "coat")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_with_a_validation_folder_no_training_image_is_held_out(
    make_images: MakeImages, name: str
) -> None:
    make_images("images/train", {"boot": 20, "coat": 20})
    root = make_images(f"images/{name}", {"boot": 3, "coat": 3}).parent

    dataset, to_measure = read_image_folder(root), read_image_folder(root, splits=("test",))

    assert sizes_of(dataset) == (40, 6, 0)
    assert dataset.measuring == "validation"
    assert "no test split: figures will be those of the validation split" in dataset.notes[-1]
    assert torch.equal(to_measure.splits[dataset.measuring].images, dataset.validation.images)


def test_with_a_test_folder_only_validation_is_held_out(make_images: MakeImages) -> None:
    make_images("images/train", {"boot": 20, "coat": 20})
    root = make_images("images/test", {"boot": 3, "coat": 3}).parent

    train, validation, test = sizes_of(read_image_folder(root))

    assert (train + validation, test) == (40, 6)
    assert validation >= 2


def test_a_label_that_one_split_lacks_keeps_its_place_in_the_others(
    make_images: MakeImages,
) -> None:
    make_images("images/train", {"bag": 9, "boot": 9, "coat": 9})
    root = make_images("images/test", {"coat": 2}).parent

    dataset = read_image_folder(root)

    assert dataset.labels == ("bag", "boot", "coat")
    assert dataset.test.targets.tolist() == [2, 2]


def test_each_image_lies_beside_its_own_target(make_images: MakeImages) -> None:
    root = make_images(labels={"dark": 8, "bright": 8})
    for path in root.rglob("*.png"):
        image = Image.new("L", (28, 28), 10 if path.parent.name == "dark" else 240)
        image.putpixel((9, 9), int(path.stem))
        image.save(path)

    dataset = read_image_folder(root)

    for split in (dataset.train, dataset.validation, dataset.test):
        brightness = split.images.flatten(1)[:, 0].tolist()
        assert [dataset.labels[target] for target in split.targets.tolist()] == [
            "dark" if value == 10 else "bright" for value in brightness
        ]


def test_hidden_folders_are_no_labels(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 6, "coat": 6, ".thumbnails": 6})

    assert read_image_folder(root).labels == ("boot", "coat")


@pytest.mark.parametrize(("train", "test"), [("Train", "TEST"), ("training", "testing")])
def test_splits_are_known_by_their_other_names(
    train: str, test: str, make_images: MakeImages
) -> None:
    make_images(f"images/{train}", {"boot": 9, "coat": 9})
    root = make_images(f"images/{test}", {"boot": 3, "coat": 3}).parent

    dataset = read_image_folder(root)

    assert dataset.labels == ("boot", "coat")
    assert len(dataset.test) == 6


def test_what_lies_beside_splits_is_no_label_and_is_named(make_images: MakeImages) -> None:
    make_images("images/train", {"boot": 9, "coat": 9})
    make_images("images/test", {"boot": 3, "coat": 3})
    root = make_images("images/annotations", {"all": 1}).parent

    dataset = read_image_folder(root)

    assert dataset.labels == ("boot", "coat")
    (reason,) = dataset.unreadable
    assert (
        reason == f"{root / 'annotations'}: ignored: it is beside the splits, and in none of them"
    )


@pytest.mark.parametrize("place", ["", "train", "test"])
def test_images_in_no_labels_folder_are_told(make_images: MakeImages, place: str) -> None:
    root = make_images("images/train").parent
    for other in ("val", "test"):
        make_images(f"images/{other}")
    Image.new("L", (14, 14)).save(root / place / "loose.png")

    dataset = read_image_folder(root)

    assert f"{root / place}: ignored 1 images that are in no label's folder" in dataset.unreadable


def test_hidden_folders_within_a_label_are_not_read(make_images: MakeImages) -> None:
    root = make_images()
    make_images("images/boot", {".ipynb_checkpoints": 4})

    dataset = read_image_folder(root)

    assert sum(sizes_of(dataset)) == 20
    assert dataset.unreadable == ()


def test_what_was_held_out_stays_so_when_images_come_and_go(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 30, "coat": 30})
    before = read_image_folder(root)
    (root / before.files["train"][0]).unlink()
    (root / before.files["test"][0]).unlink()
    for label in ("boot", "coat"):
        for number in range(4):
            shutil.copy(root / label / "20.png", root / label / f"000-{number}.png")

    after = read_image_folder(root, held=before.files)

    assert after.files == {
        "train": before.files["train"][1:],
        "validation": before.files["validation"],
        "calibration": (),
        "test": before.files["test"][1:],
    }
    assert torch.equal(after.validation.images, before.validation.images)
    assert after.unreadable == (
        f"{root}: 8 new files since the run started; they are not used",
        f"{root}: 2 files of the run are missing or can no longer be read",
    )


def test_images_that_came_since_do_not_change_what_the_others_become(
    make_images: MakeImages,
) -> None:
    root = make_images(labels={"boot": 10, "coat": 10}, image_size=14)
    before = read_image_folder(root)
    Image.new("RGB", (40, 40), "red").save(root / "boot" / "red.png")

    after = read_image_folder(root, held=before.files)

    assert after.preprocessing == before.preprocessing
    assert after.sha256 == before.sha256


def test_other_images_are_split_by_content_whatever_was_held(
    make_images: MakeImages,
) -> None:
    root = make_images(labels={"boot": 30, "coat": 30})
    held = {"train": [f"sock/{number}.png" for number in range(9)], "test": ["boot/1.png"]}

    assert read_image_folder(root, held=held).files == read_image_folder(root).files


def test_a_split_that_is_not_asked_for_is_hashed_and_not_decoded(
    make_images: MakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_images()
    whole = read_image_folder(root)
    opened: list[bytes] = []

    def note(data: bytes) -> Image.Image:
        opened.append(data)
        return open_image_file(data)

    monkeypatch.setattr("training.data.decode.open_image_file", note)

    part = read_image_folder(root, splits=("test",))

    assert sizes_of(part) == (0, 0, len(whole.test))
    assert sorted(opened) == sorted((root / file).read_bytes() for file in whole.files["test"])
    assert torch.equal(part.test.images, whole.test.images)
    assert torch.equal(part.test.targets, whole.test.targets)
    assert (part.sha256, part.labels, part.files) == (whole.sha256, whole.labels, whole.files)
    assert part.train.images.shape[1:] == whole.train.images.shape[1:]


def test_without_the_training_split_mean_and_deviation_are_not_known(
    make_images: MakeImages,
) -> None:
    spec = read_image_folder(make_images(), splits=("validation", "test")).preprocessing

    assert (spec.mean, spec.std) == ((0.0,), (1.0,))
