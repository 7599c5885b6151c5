"""Labels from a table: what is read of it, what is reported, what is refused, by line."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.conftest import MakeImages
from training.data.dataset import DatasetError
from training.data.folder import read_image_folder
from training.data.listing import Listing, list_images

Write = Callable[..., Path]
FILES = ("a.jpg", "b.jpg", "in/c.jpg", "in/d.png")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Lay empty files, and a table of them below `set`."""

    def write(table: str | bytes) -> Path:
        for name in FILES:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        path = tmp_path / "set" / "pictures.csv"
        path.write_bytes(table if isinstance(table, bytes) else table.encode())
        return path

    return write


def _listed(table: Path) -> Listing:
    return list_images(table.parent, labels_csv=table)


def _labelled(listing: Listing, root: Path) -> dict[str, dict[str, str]]:
    """Each split's files with their labels."""
    return {
        split: {str(file.path.relative_to(root)): listing.labels[file.target] for file in files}
        for split, files in listing.splits.items()
    }


PLAIN = {"a.jpg": "cat", "b.jpg": "dog", "in/c.jpg": "cat", "in/d.png": "dog"}
ROWS = "a.jpg,cat\nb.jpg,dog\nin/c.jpg,cat\nin/d.png,dog\n"


@pytest.mark.parametrize(
    "table",
    [
        ROWS,
        "path,label\n" + ROWS,
        "\n\nlabel;ignored;File Name\ncat;,;a.jpg\ndog;1;b.jpg\ncat;;in/c.jpg\ndog;;in/d.png",
        ("path,label\n" + ROWS).replace(",", "\t").replace("\n", "\r\n"),
        "id,breed\na,cat\nb,dog\nin/c,cat\nin/d,dog\n",
        'image , kind\n"a.jpg", "cat"\n./b.jpg,dog\nin\\c.jpg,cat\nin/../in/d.png,dog\n',
        b"\xef\xbb\xbf" + ("path,label\n" + ROWS).encode(),
        ("path\tlabel\n" + ROWS.replace(",", "\t")).encode("utf-16"),
    ],
)
def test_tables_are_read_as_programs_write_them(write: Write, table: str | bytes) -> None:
    path = write(table)

    listing = _listed(path)

    assert listing.labels == ("cat", "dog")
    assert _labelled(listing, path.parent) == {"train": PLAIN}
    assert listing.notes[0].startswith(f"read {path}: 4 rows; ")


def test_splits_and_paths_from_the_root_or_from_below_it(write: Write, tmp_path: Path) -> None:
    root = write("").parent
    table = tmp_path / "pictures.csv"
    table.write_text(
        f"{root}/a.jpg,cat,Train\nb.jpg,dog,train\nin/c.jpg,cat,valid\nin/d.png,dog,test\n"
    )

    listing = list_images(root, labels_csv=table)

    assert _labelled(listing, root) == {
        "train": {"a.jpg": "cat", "b.jpg": "dog"},
        "validation": {"in/c.jpg": "cat"},
        "test": {"in/d.png": "dog"},
    }


def test_rows_that_cannot_be_read_are_told_with_their_lines(write: Write) -> None:
    rows = ROWS + "gone.jpg,cat\na.jpg,cat\n,dog\nlost.jpg,dog\n"

    listing = _listed(write(f"path,label\n{rows}"))

    assert sum(map(len, listing.splits.values())) == 4
    empty, missing = (line.split(": ", 1)[1] for line in listing.left_out)
    assert empty == "ignored rows without a path or a label: line 8"
    assert missing == "ignored files that do not exist: 2 missing, the first gone.jpg: lines 6, 9"
    assert listing.notes[1] == "note: repeated rows count once: line 7"


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ("path,label\na.jpg,cat\nb.jpg,dog\n./a.jpg,dog\n", "`cat` in line 2, `dog` in line 4."),
        (ROWS + "../x.jpg,cat\n/etc/x.jpg,dog\n", "outside {root}, such as ../x.jpg (lines 5, 6)"),
        (
            "path,label\nx/a.jpg,cat\nx/b.jpg,dog\n",
            "none of its 2 files exists in {root}; the first",
        ),
        (
            "a.jpg,cat,train\nb.jpg,dog,A\n",
            "line 2: the split `A` must be train, validation, calibration or",
        ),
        ("a.jpg,cat,train\na.jpg,cat,test\nb.jpg,dog,test\n", "two splits: `train` in line 1"),
        ("path,label\na.jpg,cat\nb.jpg\n", "fewer than 2 columns, line 3"),
        ("width,height\n1,2\n", "line 1, must name the columns `path`, `label`"),
        ("a.jpg train\nb.jpg test\n", "line 1, has one column"),
        ("a.jpg,train\nb.jpg,test\n", "has the labels test, train, which are words for splits"),
        ("a.jpg,cat\nb.jpg,cat\n", "at least two labels; found: `cat`, in {root}/pictures.csv"),
        ("path,label\na.jpg,Cat\nb.jpg,cat\n", "look the same"),
        (b"PK\x03\x04 a spreadsheet", "is not UTF-8 text. Save it as CSV in UTF-8"),
        ("path,label\na.jpg,\u72d7\n".encode("gbk"), "is not UTF-8 text"),
        ("", "is empty; expected rows of a path and a label"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_in_one_line(
    write: Write, table: str | bytes, cause: str
) -> None:
    path = write(table)

    with pytest.raises(DatasetError) as refused:
        _listed(path)

    assert cause.format(root=path.parent) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_table_gives_the_splits_that_folders_give(make_images: MakeImages) -> None:
    root = make_images(labels={"boot": 12, "coat": 12}, image_size=8)
    table = root / "pictures.csv"
    names = sorted(path.relative_to(root) for path in root.glob("*/*.png"))
    table.write_text("".join(f"{name},{name.parent}\n" for name in names))
    folders = read_image_folder(root)

    listed = read_image_folder(root, labels_csv=table)
    table.write_text(table.read_text().replace("0.png,boot", "0.png,coat", 1))
    changed = read_image_folder(root, labels_csv=table)

    assert {name: set(files) for name, files in listed.files.items()} == {
        name: set(files) for name, files in folders.files.items()
    }
    assert listed.is_drawn
    assert listed.labels_csv == str(table)
    assert changed.sha256 != listed.sha256
