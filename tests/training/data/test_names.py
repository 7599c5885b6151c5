"""What a label may be called, and when two names are one label."""

import unicodedata
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.conftest import MakeImages
from training.data.dataset import DatasetError
from training.data.folder import read_image_folder
from training.data.names import check_labels_differ, in_order_of, label_of
from training.data.splits import as_path, as_text, plain

DECOMPOSED = unicodedata.normalize("NFD", "Café")


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("T-shirt, top", "T-shirt, top"),
        (DECOMPOSED, "Café"),
        ("cat ", "cat"),
        ("hot\u00a0 dog", "hot dog"),
        ("猫", "猫"),
        ("\u0645\u06cc\u200c\u0631\u0648\u0645", "\u0645\u06cc\u200c\u0631\u0648\u0645"),
    ],
)
def test_a_label_is_its_folders_name_in_one_form(folder: str, label: str) -> None:
    assert label_of(folder) == label


@pytest.mark.parametrize("character", ["\n", "\t", "\x1b", "\x7f", "\u202e", "\u200b", "\ufeff"])
@pytest.mark.parametrize("at_end", [False, True])
def test_a_label_with_what_cannot_be_seen_is_refused(character: str, at_end: bool) -> None:
    name = f"cat{character}" if at_end else f"c{character}at"

    with pytest.raises(DatasetError, match=rf"contains U\+{ord(character):04X}, which") as refused:
        label_of(name)

    assert character not in str(refused.value)


@pytest.mark.parametrize("folder", [" ", "\u3000", "\u200d"])
def test_a_blank_label_is_refused(folder: str) -> None:
    with pytest.raises(DatasetError, match="is blank; rename it"):
        label_of(folder)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Cat", "cat"),
        ("cat", "cat "),
        ("hot dog", "hot  dog"),
        ("STRASSE", "straße"),
        ("\uff11", "1"),
    ],
)
def test_names_that_look_like_one_label_are_refused_but_where_a_run_had_them(
    first: str, second: str
) -> None:
    with pytest.raises(DatasetError, match="look the same") as refused:
        check_labels_differ([second, "dog", first])

    assert f"`{plain(first)}`" in str(refused.value)
    assert f"`{plain(second)}`" in str(refused.value)
    check_labels_differ([second, "dog", first], known=(first, second))


def test_names_in_two_unicode_forms_are_one_label(make_images: MakeImages) -> None:
    for split, name in (("train", "Café"), ("val", DECOMPOSED), ("test", DECOMPOSED)):
        root = make_images(f"images/{split}", {name: 4, "dog": 5}, image_size=8).parent

    dataset = read_image_folder(root)

    assert dataset.labels == ("Café", "dog")
    for images in (dataset.train, dataset.validation, dataset.test):
        assert images.targets.tolist() == [0] * 4 + [1] * 5


def test_a_label_is_placed_as_the_run_had_it() -> None:
    assert in_order_of(["b", DECOMPOSED, "a"], ["Café", "b"]) == [1, 0]
    assert in_order_of(["A", "a"], ["a"]) == [1]
    assert in_order_of(["a", "b"], ["a", "c"]) is None
    assert in_order_of(["cat"], ["Cat", "cat"]) is None


def test_a_label_without_a_readable_image_is_none_and_is_named(
    make_images: MakeImages,
) -> None:
    root = make_images(labels={"bird": 3, "boot": 9, "coat": 9, "sock": 1}, image_size=8)
    for path in (root / "bird").iterdir():
        path.write_bytes(b"no image")
    (root / "sock" / "0.png").write_bytes((root / "boot" / "0.png").read_bytes()[:60])
    (root / "vest").mkdir()

    dataset = read_image_folder(root)

    assert dataset.labels == ("boot", "coat")
    assert sorted({int(t) for one in dataset.splits.values() for t in one.targets}) == [0, 1]
    assert (
        "warning: no readable image in `vest`, `bird`, `sock`: not used as a label" in dataset.notes
    )


def test_of_two_labels_one_without_a_readable_image_is_refused(
    make_images: MakeImages,
) -> None:
    root = make_images(labels={"boot": 3, "coat": 9}, image_size=8)
    for path in (root / "boot").iterdir():
        path.write_bytes(b"no image")

    with pytest.raises(DatasetError, match="at least two labels; found: `coat`"):
        read_image_folder(root)


def test_a_label_that_is_only_measured_is_refused_but_where_a_run_had_it(
    make_images: MakeImages,
) -> None:
    make_images("images/train", {"boot": 6, "coat": 6}, image_size=8)
    root = make_images("images/val", {"boot": 2, "sock": 2}, image_size=8).parent

    with pytest.raises(DatasetError, match=r"training image for 1 labels .*\(`sock`\)"):
        read_image_folder(root)
    assert read_image_folder(root, known=("boot", "coat", "sock")).labels[2] == "sock"


def test_a_runs_data_keep_its_labels_in_their_order(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 9, "coat": 9}, image_size=8)
    usual = read_image_folder(root)

    again = read_image_folder(root, known=("coat", "__MACOSX", "boot"))

    assert again.labels == ("coat", "__MACOSX", "boot")
    assert again.sha256 == usual.sha256
    assert again.test.targets.tolist() == [2 - 2 * int(target) for target in usual.test.targets]


def test_paths_are_told_in_one_line_and_kept_as_they_are() -> None:
    name = "caf\udce9\n\x1b[31m\u202e.jpg"

    assert plain(name) == "caf\\xe9\\n\\x1b[31m\\u202e.jpg"
    assert as_path(as_text(name)) == Path(name)
