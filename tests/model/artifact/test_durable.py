"""Files and folders that take the place of older ones, and what is left where they cannot."""

import errno
import os
from pathlib import Path

import pytest

from model.artifact.durable import replace_synced
from model.artifact.folder import Artifact, ArtifactError, read
from model.artifact.writing import write
from tests.conftest import MakeManifest


def test_an_artifact_that_cannot_take_its_place_leaves_the_old_one_there(
    tiny: Artifact, make_manifest: MakeManifest, tiny_onnx: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"int8": tiny_onnx}
    rename = Path.rename

    def refuse_the_new_one(self: Path, target: Path) -> Path:
        if target == tiny.folder and (self / "model.int8.onnx").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(ArtifactError, match="cannot be written: Input/output error"):
        write(tiny.folder, make_manifest(models), models, overwrite=True)  # type: ignore[arg-type]

    assert read(tiny.folder).manifest == tiny.manifest
    assert [path.name for path in tiny.folder.parent.iterdir()] == ["1"]


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for content in (b"old and longer", b"new"):
        replace_synced(tmp_path / "run.json", content)

    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").read_bytes() == b"new"
    assert (tmp_path / "run.json").stat().st_mode & 0o444 == 0o444


def test_a_file_that_the_disk_refuses_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "run.json").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        replace_synced(tmp_path / "run.json", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").read_bytes() == b"old"
