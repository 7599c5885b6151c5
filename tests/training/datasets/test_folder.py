"""Folders of pictures: labels, splits, broken files, mixed kinds."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from training.datasets.dataset import Dataset, DatasetError
from training.datasets.folder import read_picture_folder

MakePictures = Callable[..., Path]


def _refusal(root: Path) -> str:
    with pytest.raises(DatasetError) as refused:
        read_picture_folder(root)

    assert "\n" not in str(refused.value)
    return str(refused.value)


def _sizes(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.validation), len(dataset.test)


def test_the_names_of_the_folders_are_the_labels_in_order(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"b": 4, "a": 4, "C": 4, "10": 4, "9": 4})

    dataset = read_picture_folder(root)

    assert dataset.labels == ("10", "9", "C", "a", "b")
    assert dataset.name == "pictures"
    assert dataset.source == str(root)


def test_a_flat_folder_holds_a_tenth_of_each_label_out_twice(make_pictures: MakePictures) -> None:
    dataset = read_picture_folder(make_pictures(labels={"boot": 30, "coat": 10}))

    assert _sizes(dataset) == (32, 4, 4)
    assert dataset.validation.targets.bincount().tolist() == [3, 1]
    assert dataset.test.targets.bincount().tolist() == [3, 1]


def test_no_picture_is_in_two_splits_and_none_is_lost(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"boot": 12, "coat": 12})
    dataset = read_picture_folder(root)

    stored = sorted(np.asarray(Image.open(path)).tobytes() for path in root.rglob("*.png"))
    splits = (dataset.train, dataset.validation, dataset.test)
    read = sorted(image.numpy().tobytes() for split in splits for image in split.images)
    assert read == stored


def test_what_is_held_out_depends_on_the_seed_alone(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"boot": 20, "coat": 20})

    first, again, other = (read_picture_folder(root, seed) for seed in (1, 1, 2))

    assert torch.equal(first.test.images, again.test.images)
    assert first.sha256 == again.sha256
    assert not torch.equal(first.test.images, other.test.images)


def test_folders_named_as_splits_are_taken_as_they_are(make_pictures: MakePictures) -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        root = make_pictures(f"pictures/{split}", {"boot": count, "coat": count}).parent

    dataset = read_picture_folder(root)

    assert _sizes(dataset) == (12, 6, 8)
    assert dataset.labels == ("boot", "coat")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_only_the_split_without_a_folder_is_held_out(
    make_pictures: MakePictures, name: str
) -> None:
    make_pictures("pictures/train", {"boot": 20, "coat": 20})
    root = make_pictures(f"pictures/{name}", {"boot": 3, "coat": 3}).parent

    assert _sizes(read_picture_folder(root)) == (36, 6, 4)


def test_a_label_that_one_split_lacks_keeps_its_place_in_the_others(
    make_pictures: MakePictures,
) -> None:
    make_pictures("pictures/train", {"bag": 9, "boot": 9, "coat": 9})
    root = make_pictures("pictures/test", {"coat": 2}).parent

    dataset = read_picture_folder(root)

    assert dataset.labels == ("bag", "boot", "coat")
    assert dataset.test.targets.tolist() == [2, 2]


def test_each_picture_lies_beside_its_own_target(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"dark": 8, "bright": 8})
    for path in root.rglob("*.png"):
        Image.new("L", (28, 28), 10 if path.parent.name == "dark" else 240).save(path)

    dataset = read_picture_folder(root)

    for split in (dataset.train, dataset.validation, dataset.test):
        brightness = split.images.flatten(1)[:, 0].tolist()
        assert [dataset.labels[target] for target in split.targets.tolist()] == [
            "dark" if value == 10 else "bright" for value in brightness
        ]


def test_broken_files_are_left_out_and_named_with_the_reason(
    make_pictures: MakePictures,
) -> None:
    root = make_pictures(labels={"boot": 12, "coat": 12})
    (root / "boot" / "text.png").write_text("this is no picture")
    (root / "boot" / "empty.jpg").write_bytes(b"")
    (root / "boot" / "notes.txt").write_text("not even named as a picture")
    whole = (root / "coat" / "0.png").read_bytes()
    (root / "coat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    fits = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(fits).save(root / "coat" / "cut.jpg")
    (root / "coat" / "cut.jpg").write_bytes((root / "coat" / "cut.jpg").read_bytes()[:2_000])

    dataset = read_picture_folder(root)

    others, *named = dataset.unreadable
    assert others == f"{root}: 1 files of kind .txt; read are .bmp, .gif, .jpeg, .jpg, .png, .webp"
    reasons = dict(reason.split(": ", 1) for reason in named)
    assert {Path(path).name for path in reasons} == {"text.png", "empty.jpg", "cut.png", "cut.jpg"}
    assert reasons[str(root / "boot" / "text.png")] == "cannot identify image file"
    assert all(reason for reason in reasons.values())
    assert sum(_sizes(dataset)) == 24


def test_a_picture_bomb_is_left_out(make_pictures: MakePictures) -> None:
    root = make_pictures()
    Image.new("1", (10_000, 9_500)).save(root / "boot" / "bomb.png")  # over Pillow's 89 million

    (reason,) = read_picture_folder(root).unreadable

    assert reason.startswith(f"{root / 'boot' / 'bomb.png'}: Image size (95000000 pixels)")


def test_grey_pictures_give_one_channel(make_pictures: MakePictures) -> None:
    dataset = read_picture_folder(make_pictures())

    assert dataset.preprocessing.channels == 1
    assert dataset.train.images.shape[1:] == (28, 28, 1)


def test_one_coloured_picture_among_grey_ones_gives_three_channels(
    make_pictures: MakePictures,
) -> None:
    root = make_pictures()
    Image.new("RGB", (28, 28), (200, 10, 10)).save(root / "boot" / "red.png")

    dataset = read_picture_folder(root)

    assert dataset.preprocessing.channels == 3
    assert dataset.train.images.shape[1:] == (28, 28, 3)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pictures_of_every_mode_are_read(make_pictures: MakePictures, mode: str) -> None:
    root = make_pictures()
    picture = Image.new("L", (30, 20), 77)
    picture.convert(mode).save(root / "boot" / "other.png")

    dataset = read_picture_folder(root)

    assert dataset.unreadable == ()
    assert sum(_sizes(dataset)) == 21


def test_small_pictures_keep_their_usual_size(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"boot": 10, "coat": 10})
    Image.new("L", (300, 200)).save(root / "boot" / "large.jpg")

    spec = read_picture_folder(root).preprocessing

    assert (spec.resize, spec.crop) == (28, 28)


def test_large_pictures_come_to_224_pixels_by_way_of_256(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"boot": 4, "coat": 4})
    for path in root.rglob("*.png"):
        Image.new("RGB", (500, 375), (9, 9, 9)).save(path)

    dataset = read_picture_folder(root)

    assert (dataset.preprocessing.resize, dataset.preprocessing.crop) == (256, 224)
    assert dataset.train.images.shape == (4, 224, 224, 3)


def test_the_size_asked_for_wins(make_pictures: MakePictures) -> None:
    root = make_pictures()

    assert read_picture_folder(root, size=16).train.images.shape[1:] == (16, 16, 1)
    assert read_picture_folder(root, size=112).preprocessing.resize == 128


def test_mean_and_std_are_those_of_the_training_split(make_pictures: MakePictures) -> None:
    dataset = read_picture_folder(make_pictures())

    pixels = dataset.train.images.numpy() / 255
    assert dataset.preprocessing.mean == pytest.approx((pixels.mean(),), abs=1e-4)
    assert dataset.preprocessing.std == pytest.approx((pixels.std(),), abs=1e-4)


def test_the_digest_changes_with_a_picture_and_not_with_the_place(
    make_pictures: MakePictures,
) -> None:
    root, moved = make_pictures("here"), make_pictures("there/below")
    before = read_picture_folder(root).sha256

    assert read_picture_folder(moved).sha256 == before
    Image.new("L", (28, 28)).save(root / "boot" / "0.png")
    assert read_picture_folder(root).sha256 != before


def test_hidden_folders_are_no_labels(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"boot": 6, "coat": 6, ".thumbnails": 6})

    assert read_picture_folder(root).labels == ("boot", "coat")


@pytest.mark.parametrize(("train", "test"), [("Train", "TEST"), ("training", "testing")])
def test_splits_are_known_by_their_other_names(
    train: str, test: str, make_pictures: MakePictures
) -> None:
    make_pictures(f"pictures/{train}", {"boot": 9, "coat": 9})
    root = make_pictures(f"pictures/{test}", {"boot": 3, "coat": 3}).parent

    dataset = read_picture_folder(root)

    assert dataset.labels == ("boot", "coat")
    assert len(dataset.test) == 6


def test_what_lies_beside_splits_is_no_label_and_is_named(make_pictures: MakePictures) -> None:
    make_pictures("pictures/train", {"boot": 9, "coat": 9})
    make_pictures("pictures/test", {"boot": 3, "coat": 3})
    root = make_pictures("pictures/annotations", {"all": 1}).parent

    dataset = read_picture_folder(root)

    assert dataset.labels == ("boot", "coat")
    (reason,) = dataset.unreadable
    assert reason == f"{root / 'annotations'}: lies beside the splits, in none of them"


def test_a_label_may_be_called_train(make_pictures: MakePictures) -> None:
    assert read_picture_folder(make_pictures(labels={"train": 9, "bus": 9})).labels == (
        "bus",
        "train",
    )


def test_hidden_folders_within_a_label_are_not_read(make_pictures: MakePictures) -> None:
    root = make_pictures()
    make_pictures("pictures/boot", {".ipynb_checkpoints": 4})

    dataset = read_picture_folder(root)

    assert sum(_sizes(dataset)) == 20
    assert dataset.unreadable == ()


def test_a_link_to_nothing_is_left_out_with_a_reason(make_pictures: MakePictures) -> None:
    root = make_pictures()
    (root / "boot" / "gone.png").symlink_to(root / "nowhere.png")

    (reason,) = read_picture_folder(root).unreadable

    assert reason.startswith(f"{root / 'boot' / 'gone.png'}: ")


def test_names_that_are_no_unicode_are_told_in_it(make_pictures: MakePictures) -> None:
    root = make_pictures()
    Path(os.fsdecode(bytes(root / "boot") + b"/bad\xe9.png")).write_bytes(b"broken")

    (reason,) = read_picture_folder(root).unreadable

    assert reason.encode().startswith(bytes(root / "boot") + b"/bad\\xe9.png: ")


def test_a_label_that_is_no_unicode_is_refused(make_pictures: MakePictures) -> None:
    root = make_pictures()
    (root / "boot").rename(os.fsdecode(bytes(root) + b"/caf\xe9"))

    assert _refusal(root) == "The label caf\\xe9 must be valid UTF-8; rename its folder."


def test_what_was_held_out_stays_so_when_pictures_come_and_go(make_pictures: MakePictures) -> None:
    root = make_pictures(labels={"boot": 30, "coat": 30})
    before = read_picture_folder(root)
    (root / before.files["train"][0]).unlink()
    (root / before.files["test"][0]).unlink()
    for label in ("boot", "coat"):
        for number in range(4):
            shutil.copy(root / label / "20.png", root / label / f"000-{number}.png")

    after = read_picture_folder(root, held=before.files)

    assert after.files == {
        "train": before.files["train"][1:],
        "validation": before.files["validation"],
        "test": before.files["test"][1:],
    }
    assert torch.equal(after.validation.images, before.validation.images)
    assert after.unreadable == (
        f"{root}: 8 files came since the run, and are in none of its splits",
        f"{root}: 2 files of the run are gone, or can no longer be read",
    )


def test_other_pictures_are_split_by_the_seed_whatever_was_held(
    make_pictures: MakePictures,
) -> None:
    root = make_pictures(labels={"boot": 30, "coat": 30})
    held = {"train": [f"sock/{number}.png" for number in range(9)], "test": ["boot/1.png"]}

    assert read_picture_folder(root, held=held).files == read_picture_folder(root).files


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in _refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("labels", [{}, {"boot": 5}])
def test_under_two_labels_are_refused(
    make_pictures: MakePictures, tmp_path: Path, labels: dict[str, int]
) -> None:
    root = make_pictures(labels=labels) if labels else tmp_path

    assert "at least two" in _refusal(root)


def test_a_folder_with_broken_files_alone_is_refused_with_the_first(
    make_pictures: MakePictures,
) -> None:
    root = make_pictures()
    for path in root.rglob("*.png"):
        path.write_text("broken")

    refusal = _refusal(root)

    assert "has no readable picture" in refusal
    assert f"20 files were left out, first {root / 'boot' / '0.png'}" in refusal


def test_a_folder_whose_pictures_break_while_they_are_decoded_is_refused(
    make_pictures: MakePictures,
) -> None:
    root = make_pictures()
    for path in root.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])  # the header is whole

    refusal = _refusal(root)

    assert "has no readable picture for" in refusal
    assert "20 files were left out" in refusal


def test_too_few_pictures_to_hold_any_out_are_refused(make_pictures: MakePictures) -> None:
    assert "no readable picture for test and validation" in _refusal(
        make_pictures(labels={"boot": 2, "coat": 2})
    )


def test_a_training_folder_that_is_missing_is_refused(make_pictures: MakePictures) -> None:
    make_pictures("pictures/val", {"boot": 4, "coat": 4})
    root = make_pictures("pictures/test", {"boot": 4, "coat": 4}).parent

    assert "no readable picture for train" in _refusal(root)
