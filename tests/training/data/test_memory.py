"""Images that do not fit into memory are in a file, and nothing else changes."""

import tempfile
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from tests.conftest import MakeImages
from training.data import memory
from training.data.dataset import DatasetError
from training.data.folder import read_image_folder


def test_images_in_a_file_are_those_in_memory(
    make_images: MakeImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_images(labels={"boot": 30, "coat": 30})
    in_memory = read_image_folder(root)
    monkeypatch.setattr(memory, "MEMORY_SHARE", 0.0)

    in_a_file = read_image_folder(root)

    assert isinstance(memory.allocate((2, 3, 3, 1)), np.memmap)
    assert in_a_file.preprocessing == in_memory.preprocessing
    for name, split in in_memory.splits.items():
        assert torch.equal(in_a_file.splits[name].images, split.images)


def test_the_file_is_gone_with_its_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    array = memory.allocate((4, 8, 8, 3))
    array[:] = 7

    assert int(array.sum()) == 7 * array.size
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_told_before_anything_is_decoded() -> None:
    with pytest.raises(DatasetError, match=r"take 1,000,000.0 GB, too much for .* Set TMPDIR"):
        memory.allocate((1_000_000, 1_000, 1_000_000, 1))


@pytest.mark.parametrize(
    ("limit", "is_mapped"), [("max\n", False), ("1000\n", True), ("1000000000000000\n", False)]
)
def test_a_containers_memory_counts(
    limit: str, is_mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "CGROUP_LIMIT", tmp_path / "memory.max")

    array = memory.allocate((1, 501, 1, 1))

    assert isinstance(array, np.memmap) == is_mapped
