"""Fixtures of the model's tests."""

from pathlib import Path

import pytest

from model.artifact.folder import Artifact
from model.artifact.writing import write
from tests.conftest import MakeManifest


@pytest.fixture
def tiny(tmp_path: Path, make_manifest: MakeManifest, tiny_onnx: bytes) -> Artifact:
    """An artifact in a folder of its own, to be spoiled."""
    models = {"float32": tiny_onnx}
    return write(tmp_path / "tiny" / "1", make_manifest(models), models)  # type: ignore[arg-type]
