"""Splits by content: what moves an image, and what does not."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.conftest import MakeImages
from training.data.dataset import DatasetError
from training.data.division import Key, content_key, divide, groups_of, keys_of, position
from training.data.folder import read_image_folder
from training.data.splits import LabelledFile

BOTH = ("validation", "test")


def _files(count: int, labels: int = 1) -> list[LabelledFile]:
    return [LabelledFile(Path(f"{number}.png"), number % labels) for number in range(count)]


def _keys(count: int, seed: int = 0) -> list[Key]:
    rng = random.Random(seed)  # noqa: S311  # no secret
    return [rng.randbytes(16) for _ in range(count)]


def _key_at(place: float) -> Key:
    return int(place * 2**64).to_bytes(8, "big") + bytes(8)


def _split_by_file(
    files: Sequence[LabelledFile], keys: Sequence[Key], drawn: Sequence[str] = BOTH
) -> dict[LabelledFile, str]:
    divided = divide(files, keys, drawn)
    return {file: name for name, its in divided.items() for file in its}


def test_about_a_tenth_of_the_images_is_in_each_held_out_split() -> None:
    divided = divide(_files(10_000, labels=10), _keys(10_000), BOTH)

    assert len(divided["test"]) == pytest.approx(1_000, abs=120)  # four standard deviations
    assert len(divided["validation"]) == pytest.approx(1_000, abs=120)
    assert sum(map(len, divided.values())) == 10_000


def test_no_image_changes_its_split_when_images_are_added_to_large_labels() -> None:
    files, keys = _files(2_000, labels=4), _keys(2_000)

    before = _split_by_file(files[:1_000], keys[:1_000])
    after = _split_by_file(files, keys)

    assert {file: after[file] for file in before} == before


def test_the_order_of_the_files_has_no_part_in_the_splits() -> None:
    pairs = list(zip(_files(40, labels=8), _keys(40), strict=True))
    shuffled = sorted(pairs, key=lambda pair: pair[1])

    assert _split_by_file(*zip(*shuffled, strict=True)) == _split_by_file(*zip(*pairs, strict=True))


@pytest.mark.parametrize("count", [3, 4, 5, 10, 30])
def test_each_label_of_three_images_or_more_is_in_every_split(count: int) -> None:
    for seed in range(30):
        files = _files(count)

        counts = Counter(_split_by_file(files, _keys(count, seed)).values())

        assert min(counts[name] for name in ("train", *BOTH)) >= 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_label_of_one_or_two_images_is_for_training_alone(count: int) -> None:
    keys = [_key_at(place) for place in (0.05, 0.15)[:count]]

    assert set(_split_by_file(_files(count), keys).values()) == {"train"}


def test_where_hashing_leaves_a_split_empty_the_nearest_image_moves_there() -> None:
    keys = [_key_at(place) for place in (0.9, 0.3, 0.5, 0.05)]

    names = _split_by_file(_files(4), keys)

    assert [names[file] for file in _files(4)] == ["train", "validation", "train", "test"]


def test_a_split_that_is_there_already_takes_no_image() -> None:
    keys = [_key_at(place) for place in (0.05, 0.15, 0.5)]

    assert list(_split_by_file(_files(3), keys, ["validation"]).values()).count("train") == 2


def test_the_key_of_a_file_is_that_of_its_copies_alone(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    first, copy, end, middle = (tmp_path / name for name in "abcd")
    for path in (first, copy):
        path.write_bytes(content)
    end.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    middle.write_bytes(content[:150_000])

    assert content_key(first) == content_key(copy)
    assert len({content_key(path) for path in (first, end, middle)}) == 3
    assert 0 <= position(content_key(first)) < 1


def test_copies_stay_in_one_split_under_whatever_label_and_name(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 30, "coat": 30})
    for number in range(30):
        shutil.copy(root / "boot" / f"{number}.png", root / "coat" / f"copy-{number}.png")

    files = read_image_folder(root).files

    for its in files.values():
        copies = {name for name in its if "copy" in name}
        assert copies == {f"coat/copy-{Path(name).name}" for name in its if name.startswith("boot")}


def test_a_group_and_the_copies_of_its_images_stay_together(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 40, "coat": 40})
    for path in root.rglob("*.png"):
        path.rename(path.with_name(f"p{int(path.stem) // 4}_{path.name}"))
    shutil.copy(root / "boot" / "p0_1.png", root / "boot" / "p7_99.png")

    files = read_image_folder(root, group_by=r"(p\d+)_").files

    split_of: dict[str, str] = {}
    for split, its in files.items():
        for name in its:
            group = name.split("/")[1].split("_")[0]
            assert split_of.setdefault(group, split) == split
    assert split_of["p0"] == split_of["p7"]
    assert set(split_of.values()) == {"train", *BOTH}


@pytest.mark.parametrize("split", ["drawn", "val", "calibration"])
def test_half_of_many_validation_images_calibrate_unless_the_folders_say_which(
    make_images: MakeImages, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    monkeypatch.setattr("training.data.folder.MIN_TO_HALVE", 6)
    root = make_images("images" if split == "drawn" else "images/train", {"boot": 60, "coat": 60})
    if split != "drawn":
        make_images("images/val", {"boot": 12, "coat": 12})
    if split == "calibration":
        make_images("images/calib", {"boot": 2, "coat": 1})

    root = root if split == "drawn" else root.parent
    whole, divided = (read_image_folder(root, calibrate=each) for each in (False, True))
    again = read_image_folder(root, held=whole.files)

    assert again.files == whole.files  # an earlier run keeps the splits that it had
    assert divided.sha256 == whole.sha256
    assert divided.files["train"] == whole.files["train"]
    assert divided.files["test"] == whole.files["test"]
    if split == "calibration":
        assert divided.files == whole.files
        assert len(divided.calibration) == 3
    else:
        assert not whole.files["calibration"]
        both = [*divided.files["validation"], *divided.files["calibration"]]
        assert sorted(both) == sorted(whole.files["validation"])
        assert len(divided.calibration) == pytest.approx(len(both) / 2, abs=len(both) / 3)
        assert (
            "half of the validation images, chosen by content, are the calibration split"
            in divided.notes[-1]
        )


def test_a_groups_split_does_not_follow_from_the_images_in_it(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 8})
    files = [LabelledFile(path, 0) for path in sorted(root.rglob("*.png"))]

    whole = keys_of(files, root, group_by="boot")

    assert set(whole) == set(keys_of(files[:3], root, group_by="boot"))


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [("([^/]+)_[0-9]+", ["p1", "p1", None]), ("^a", ["a", None, "a"])],
)
def test_a_group_is_what_the_expression_matches(pattern: str, groups: list[str | None]) -> None:
    assert groups_of(["a/p1_1.png", "b/p1_2.png", "a/other.png"], pattern) == groups


@pytest.mark.parametrize(
    ("pattern", "seen"),
    [("(", "is not a valid regular expression"), ("zebra", "searched in paths such as a/1.png")],
)
def test_an_expression_that_makes_no_groups_is_refused(pattern: str, seen: str) -> None:
    with pytest.raises(DatasetError, match=seen):
        groups_of(["a/1.png"], pattern)
