"""Folders of images: files that are left out with a reason, folders that are refused."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from tests.conftest import MakeImages
from tests.training.data.splits import sizes_of
from training.data.dataset import DatasetError
from training.data.folder import read_image_folder


def _refusal(root: Path) -> str:
    with pytest.raises(DatasetError) as refused:
        read_image_folder(root)

    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_broken_files_are_left_out_and_named_with_the_reason(
    make_images: MakeImages,
) -> None:
    root = make_images(labels={"boot": 12, "coat": 12})
    (root / "boot" / "text.png").write_text("this is no image")
    (root / "boot" / "empty.jpg").write_bytes(b"")
    (root / "boot" / "notes.txt").write_text("not even named as an image")
    whole = (root / "coat" / "0.png").read_bytes()
    (root / "coat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    fits = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(fits).save(root / "coat" / "cut.jpg")
    (root / "coat" / "cut.jpg").write_bytes((root / "coat" / "cut.jpg").read_bytes()[:2_000])

    dataset = read_image_folder(root)

    others, *named = dataset.unreadable
    read = ".bmp, .gif, .jfif, .jpe, .jpeg, .jpg, .png, .webp"
    assert others == f"{root}: 1 file of kind .txt is not read; images are {read}"
    reasons = dict(reason.split(": ", 1) for reason in named)
    assert {Path(path).name for path in reasons} == {"text.png", "empty.jpg", "cut.png", "cut.jpg"}
    assert reasons[str(root / "boot" / "text.png")].startswith("a text file, not a JPEG, PNG, ")
    assert reasons[str(root / "boot" / "empty.jpg")].startswith("an empty file, not a JPEG, ")
    assert all(reason for reason in reasons.values())
    assert sum(sizes_of(dataset)) == 24


def test_a_image_bomb_is_left_out(make_images: MakeImages) -> None:
    root = make_images()
    Image.new("1", (10_000, 9_500)).save(root / "boot" / "bomb.png")  # over Pillow's 89 million

    (reason,) = read_image_folder(root).unreadable

    assert reason.startswith(f"{root / 'boot' / 'bomb.png'}: the image has 10,000 x 9,500 pixels")


def test_a_link_to_nothing_is_left_out_with_a_reason(make_images: MakeImages) -> None:
    root = make_images()
    (root / "boot" / "gone.png").symlink_to(root / "nowhere.png")

    (reason,) = read_image_folder(root).unreadable

    assert reason.startswith(f"{root / 'boot' / 'gone.png'}: ")


def test_names_that_are_no_unicode_are_told_in_it(make_images: MakeImages) -> None:
    root = make_images()
    Path(os.fsdecode(bytes(root / "boot") + b"/bad\xe9.png")).write_bytes(b"broken")

    (reason,) = read_image_folder(root).unreadable

    assert reason.encode().startswith(bytes(root / "boot") + b"/bad\\xe9.png: ")


def test_a_label_that_is_no_unicode_is_refused(make_images: MakeImages) -> None:
    root = make_images()
    (root / "boot").rename(os.fsdecode(bytes(root) + b"/caf\xe9"))

    assert _refusal(root) == "The label caf\\xe9 must be valid UTF-8; rename it."


def test_a_path_that_is_no_unicode_is_refused(make_images: MakeImages) -> None:
    root = make_images()
    moved = root.rename(os.fsdecode(bytes(root.parent) + b"/caf\xe9"))

    assert _refusal(moved) == f"The path {root.parent}/caf\\xe9 must be valid UTF-8; rename it."


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a folder one that may not be read; root, who may, would read it all the same."""
    scan = os.scandir

    def closed(place: Path) -> None:
        def scan_or_refuse(path: str | Path) -> Any:
            if Path(path) == place:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", scan_or_refuse)

    return closed


@pytest.mark.parametrize("place", ["boot", "boot/older"])
def test_a_folder_of_images_that_may_not_be_read_is_left_out_and_named(
    make_images: MakeImages, close: Callable[[Path], None], place: str
) -> None:
    root = make_images(labels={"boot/older": 4, "boot": 4, "coat": 8, "sock": 3})
    close(root / place)

    dataset = read_image_folder(root)

    assert dataset.labels == (("coat", "sock") if place == "boot" else ("boot", "coat", "sock"))
    assert dataset.unreadable == (f"{root / place}: the folder cannot be read: Permission denied",)
    assert sum(sizes_of(dataset)) == 11 + 4 * (place == "boot/older")


def test_a_closed_folder_without_which_labels_are_too_few_is_named(
    make_images: MakeImages, close: Callable[[Path], None]
) -> None:
    root = make_images()
    close(root / "boot")

    assert f"{root / 'boot'}: the folder cannot be read: Permission denied" in _refusal(root)


@pytest.mark.parametrize("place", ["", "train"])
def test_a_folder_of_labels_that_may_not_be_read_is_refused(
    make_images: MakeImages, close: Callable[[Path], None], place: str
) -> None:
    make_images("images/train")
    root = make_images("images/test").parent
    close(root / place)

    assert _refusal(root) == (
        f"{root / place} cannot be read: Permission denied. Change its permissions, or move it "
        "away."
    )


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in _refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("labels", [{}, {"boot": 5}])
def test_under_two_labels_are_refused(
    make_images: MakeImages, tmp_path: Path, labels: dict[str, int]
) -> None:
    root = make_images(labels=labels) if labels else tmp_path

    assert "at least two" in _refusal(root)


def test_a_folder_with_broken_files_alone_is_refused_with_the_first(
    make_images: MakeImages,
) -> None:
    root = make_images()
    for path in root.rglob("*.png"):
        path.write_text("broken")

    refusal = _refusal(root)

    assert "has no readable image" in refusal
    assert f"Left out: {root / 'boot' / '0.png'}" in refusal
    assert refusal.endswith("Send an image file; and 19 more such lines.")


def test_a_folder_whose_images_break_while_they_are_decoded_is_refused(
    make_images: MakeImages,
) -> None:
    root = make_images()
    for path in root.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])  # the header is whole

    refusal = _refusal(root)

    assert "has no readable images for" in refusal
    assert refusal.endswith("image file is truncated; and 19 more such lines.")


def test_too_few_images_to_hold_any_out_are_refused(make_images: MakeImages) -> None:
    assert (
        "no readable images for the split validation. One image per split is taken from each label"
        in _refusal(make_images(labels={"boot": 2, "coat": 2}))
    )


def test_a_training_folder_that_is_missing_is_refused(make_images: MakeImages) -> None:
    make_images("images/val", {"boot": 4, "coat": 4})
    root = make_images("images/test", {"boot": 4, "coat": 4}).parent

    assert "no readable images for the split train" in _refusal(root)
