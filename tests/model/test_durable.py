"""Files and folders that take the place of older ones, and what is left where they cannot."""

import errno
import os
from pathlib import Path

import pytest

from model.artifact import Artifact, ArtifactError, read, write
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
