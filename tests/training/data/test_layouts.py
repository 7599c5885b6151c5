"""How folders are laid out: which are splits, which are labels, and what is neither."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from training.data.dataset import DatasetError
from training.data.listing import Listing, list_images

Lay = Callable[..., Path]
BOTH = ("cat", "dog")


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Lay empty files: a name with a dot is a file, `name/` a folder, any other holds an image."""

    def lay(*names: str) -> Path:
        root = tmp_path / "set"
        root.mkdir(exist_ok=True)
        for name in names:
            path = root / name
            if name.endswith("/"):
                path.mkdir(parents=True)
            else:
                path = path if "." in path.name else path / "1.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return root

    return lay


def _labels_of(listing: Listing) -> dict[str, list[str]]:
    """Each split with the labels of its images."""
    return {
        split: sorted({listing.labels[image.target] for image in images})
        for split, images in listing.splits.items()
        if images
    }


def _within(places: Iterable[str], labels: Iterable[str] = BOTH) -> list[str]:
    return [f"{place}/{label}" for place in places for label in labels]


def _refusal(root: Path) -> str:
    with pytest.raises(DatasetError) as refused:
        list_images(root)

    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "valid", "test"), ("train", "validation", "test")),
        (("Training", "Testing"), ("train", "test")),
        (("TRAIN", "VAL", "TEST"), ("train", "validation", "test")),
        (("train_images", "dev-images"), ("train", "validation")),
        (("TrainSet", "Validation Set", "tests"), ("train", "validation", "test")),
        (("train2017", "val2017"), ("train", "validation")),
        (("seg_train/seg_train", "seg_test/seg_test"), ("train", "test")),
        (("set/train", "set/val"), ("train", "validation")),
        (("archive/images/train", "archive/images/test"), ("train", "test")),
        (("train/images", "test/images"), ("train", "test")),
        (("train", "eval"), ("train", "validation")),
        (("train", "val", "eval"), ("train", "validation", "test")),
        (("train", "holdout"), ("train", "test")),
        (("训练集", "测试集"), ("train", "test")),
        (("train",), ("train",)),
    ],
)
def test_splits_are_understood_as_people_name_them_and_told(
    lay: Lay, names: tuple[str, ...], splits: tuple[str, ...]
) -> None:
    listing = list_images(lay(*_within(names), "readme.txt"))

    assert listing.labels == BOTH
    assert _labels_of(listing) == {split: ["cat", "dog"] for split in splits}
    told = " ".join(listing.notes)
    for name in names:
        assert f"{name.split('/')[-1]}` as the " in told


@pytest.mark.parametrize("around", ["", "archive/", "archive/pictures/"])
def test_splits_within_labels_are_understood(lay: Lay, around: str) -> None:
    names = [f"{around}{label}/{split}" for label in BOTH for split in ("Train", "val")]

    listing = list_images(lay(*names))

    assert listing.labels == BOTH
    assert _labels_of(listing) == {split: ["cat", "dog"] for split in ("train", "validation")}
    assert "`Train` in each label as the training split" in listing.notes[-1]


@pytest.mark.parametrize(
    "names",
    [
        ("pictures/cat", "pictures/dog", "__MACOSX/pictures/cat/._1.jpg"),
        ("cat/cat", "dog/dog"),  # unpacked twice
        ("cat/images", "dog/images"),
        ("cat", "cat/older", "dog"),
        ("archive/101_Objects/cat", "archive/101_Objects/dog", "archive/cover.txt"),
    ],
)
def test_folders_around_labels_and_within_them_are_read_through(
    lay: Lay, names: tuple[str, ...]
) -> None:
    listing = list_images(lay(*names))

    assert listing.labels == BOTH
    assert _labels_of(listing) == {"train": ["cat", "dog"]}


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (("train/cat.0.jpg", "train/dog.0.jpg", "test1/1.jpg"), "2 images that are in no label's"),
        (("dogs-vs-cats/train/cat.0.jpg",), "1 images that are in no label's folder"),
        (("train", "val"), "images that are in no label's folder"),
        (("train", "valid", "Testing"), "images that are in no label's folder"),
        (("images/train", "images/val", "labels/train/1.txt"), "images that are in no label's"),
        (("1.jpg", "2.jpg"), "2 images that are in no label's folder"),
        ((*_within(("train", "val")), "bird"), "images of `bird` beside the splits"),
        ((*BOTH, "test"), "`test` beside `cat`, `dog`"),
        ((*BOTH, *_within(("val",))), "`val` beside `cat`, `dog`"),
        (("cat/train", "cat/val", "dog"), "splits (`train`, `val`) within `cat`"),
        (("cat", "cat/train", "dog"), "splits (`train`) within `cat`"),
        (_within(("a/train", "a/val", "b/train")), "splits (`train`, `val`) within `a`, `b`"),
        (_within(("fold1", "fold2")), "(`cat`, `dog` within `fold1`, `fold2`)"),
        ((*BOTH, "other/bird"), "(`bird` within `other`)"),
        (_within(("train/train", "train/val")), "(`cat`, `dog` within `train`, `val`)"),
        (_within(("train", "val", "validation")), "`val`, `validation`, which would both be"),
        (("bus", "train"), "`train` beside `bus`"),
        (("images", "masks"), "images in `images`, `masks`, which are not names of labels"),
        (("fold1", "fold2"), "images in `fold1`, `fold2`, which are not names of labels"),
        (("seg_train/seg_train", "seg_test/seg_test"), "images in `seg_train`, `seg_test`"),
        (_within(("Dataset", "Other")), "If one of them is the data set, name it: --data /"),
        (("cat",), "found: `cat`"),
        (("cat", "dog/"), "found: `cat`"),
        (("train/images/1.jpg", "valid/images/1.jpg"), "images in `images`, which are not"),
        ((), "found: none"),
    ],
)
def test_what_makes_no_sense_as_labels_is_refused_with_what_was_seen_and_what_is_wanted(
    lay: Lay, names: tuple[str, ...], seen: str
) -> None:
    refusal = _refusal(lay(*names))

    assert seen in refusal
    assert refusal.endswith("or a table of files and labels (--labels-csv).")


def test_images_below_a_label_beside_its_own_are_told(lay: Lay) -> None:
    (note,) = list_images(lay(*BOTH, "dog/0", "dog/1")).notes

    assert note.endswith("folder count for this label: `0`, `1` in `dog`")


def test_images_without_labels_beside_splits_are_left_out(lay: Lay) -> None:
    root = lay(*_within(("seg_train", "seg_test")), "seg_pred/seg_pred")

    listing = list_images(root)

    assert _labels_of(listing) == {split: ["cat", "dog"] for split in ("train", "test")}
    assert listing.left_out == [
        f"{root / 'seg_pred'}: ignored: it is beside the splits, and in none of them"
    ]


@pytest.mark.parametrize("names", [("bus", "car", "train"), ("valid", "invalid")])
def test_a_word_for_a_split_may_be_a_label(lay: Lay, names: tuple[str, ...]) -> None:
    assert list_images(lay(*names)).labels == tuple(sorted(names))


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ((*BOTH, "test"), (*BOTH, "test")),
        (("cat/2019", "cat/2020", "dog/2019"), BOTH),
        (("A", "a"), ("A", "a")),
    ],
)
def test_the_labels_of_a_run_are_not_doubted_again(
    lay: Lay, names: tuple[str, ...], known: tuple[str, ...]
) -> None:
    root = lay(*names)

    assert list_images(root, known).labels == known
    _refusal(root)


def test_what_systems_and_tools_leave_is_no_label_and_no_image(lay: Lay) -> None:
    folders = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
    hidden = (".ipynb_checkpoints", "__pycache__", "cat/@eaDir", ".Trash-1000")
    files = ("cat/Thumbs.db", "cat/.DS_Store", "cat/._1.jpg", "desktop.ini")

    listing = list_images(lay(*BOTH, *folders, *hidden, *files))

    assert listing.labels == BOTH
    assert [image.path.name for image in listing.splits["train"]] == ["1.jpg", "1.jpg"]
    assert (listing.left_out, listing.without) == ([], ())


def test_a_folder_without_images_is_no_label_and_is_named(lay: Lay) -> None:
    listing = list_images(lay(*BOTH, "bird/", "fish/1.txt"))

    assert listing.labels == BOTH
    assert listing.without == ("bird", "fish")
    assert "1 file of kind .txt" in listing.left_out[0]


def test_links_to_folders_are_followed_but_in_no_circle(lay: Lay) -> None:
    root = lay("cat/1.jpg", "far/dog/1.jpg")
    (root / "dog").symlink_to(root / "far" / "dog")
    (root / "far").rename(root / ".far")
    (root / "dog").unlink()
    (root / "dog").symlink_to(root / ".far" / "dog")
    for place, target in (("", "."), ("cat", ".."), ("cat", "../.far"), (".far", "../cat")):
        os.symlink(target, root / place / f"to-{len(target)}")  # noqa: PTH211  # as it is written

    listing = list_images(root)

    assert listing.labels == BOTH
    assert f"{root / 'to-1'}: a link that leads back to a folder above it" in listing.left_out
    assert (
        f"{root / 'cat' / 'to-2'}: a link that leads back to a folder above it" in listing.left_out
    )


def test_a_pipe_is_no_image(lay: Lay) -> None:
    root = lay(*BOTH)
    os.mkfifo(root / "cat" / "2.jpg")

    listing = list_images(root)

    assert len(listing.splits["train"]) == 2
    assert listing.left_out == [f"{root / 'cat' / '2.jpg'}: not a regular file"]
