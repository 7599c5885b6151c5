import os
from pathlib import Path

import pytest

from service.offline.folder import ImageFolder, as_text
from tests.service.images import WHITE


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_images_are_found_at_any_depth_in_order_and_others_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "b/2.JPG", "b/1.png", "a.webp", "c.heic", "b/x/y/3.gif", "notes.txt", "z.txt")
    make(tmp_path, ".hidden.jpg", "b/._1.png", "__MACOSX/1.png", "LICENSE", ".git/x.png")
    (tmp_path / "photo").write_bytes(WHITE)
    folder = ImageFolder(tmp_path)

    expected = ["a.webp", "b/1.png", "b/2.JPG", "b/x/y/3.gif", "c.heic", "photo"]
    assert list(folder.files()) == expected
    assert list(folder.files()) == expected
    assert folder.left_out == {"files of kind .txt": 2, "files without a suffix": 1}


def test_links_are_followed_once_and_a_broken_one_is_listed(tmp_path: Path) -> None:
    make(tmp_path, "root/a/1.png", "other/2.png")
    (tmp_path / "root/b").symlink_to(tmp_path / "other")
    (tmp_path / "root/a/loop").symlink_to(tmp_path / "root")
    (tmp_path / "root/gone.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "root/pipe.png")
    folder = ImageFolder(tmp_path / "root")

    assert list(folder.files()) == ["a/1.png", "b/2.png", "gone.png"]
    assert folder.left_out == {"links to a folder above": 1, "no regular files": 1}


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(ImageFolder(tmp_path / "nothing").files())


def test_a_name_that_is_no_unicode_is_written_in_one_that_is() -> None:
    assert as_text(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert as_text("\u00e9t\u00e9.jpg") == "\u00e9t\u00e9.jpg"
