"""The artifact's folder is written whole or not at all, and the newest version is found."""

import re
from pathlib import Path

import pytest

from model.artifact.folder import (
    Artifact,
    ArtifactError,
    ArtifactExistsError,
    ControlFlowError,
    ExternalDataError,
    FileDamagedError,
    read,
    resolve,
)
from model.artifact.writing import write
from tests.conftest import MakeManifest

# graph { initializer { name: "w", data_location: EXTERNAL } }; protobuf merges what is appended
EXTERNAL_TENSOR = b"\x3a\x07\x2a\x05\x42\x01w\x70\x01"
# graph { node { attribute { g { initializer { name: "w", data_location: EXTERNAL } } } } }
HIDDEN_TENSOR = b"\x3a\x0d\x0a\x0b\x2a\x09\x32\x07\x2a\x05\x42\x01w\x70\x01"


def test_an_artifact_can_be_read_by_a_user_other_than_its_writer(tiny: Artifact) -> None:
    assert tiny.folder.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tiny.folder.iterdir()) == [
        "README.md",
        "manifest.json",
        "model.float32.onnx",
    ]


@pytest.mark.parametrize("tensor", [EXTERNAL_TENSOR, HIDDEN_TENSOR], ids=["plain", "in subgraph"])
def test_a_model_with_numbers_in_another_file_is_refused(
    tmp_path: Path, make_manifest: MakeManifest, tiny_onnx: bytes, tensor: bytes
) -> None:
    models = {"float32": tiny_onnx + tensor}

    with pytest.raises(ExternalDataError, match="1 tensors outside the file, such as 'w'"):
        write(tmp_path / "tiny" / "1", make_manifest(models), models)  # type: ignore[arg-type]

    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_model_that_may_run_for_ever_is_refused(
    tmp_path: Path, make_manifest: MakeManifest, tiny_onnx: bytes
) -> None:
    loop = b"\x3a\x0f\x0a\x0d\x22\x04Loop\x2a\x05\x32\x03\x12\x01b"
    models = {"float32": tiny_onnx + loop}  # graph { node { op_type, attribute { g { name } } } }

    with pytest.raises(ControlFlowError, match="has 1 loops or branches"):
        write(tmp_path / "tiny" / "1", make_manifest(models), models)  # type: ignore[arg-type]


def test_a_model_that_is_no_onnx_file_is_refused(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    models = {"float32": b"<html>not found</html>"}

    with pytest.raises(FileDamagedError, match="is not an ONNX file"):
        write(tmp_path / "tiny" / "1", make_manifest(models), models)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{}, {"int8": b"a"}, {"float32": b"a", "int8": b"a"}])
def test_models_other_than_the_manifests_are_refused(
    tmp_path: Path, make_manifest: MakeManifest, tiny_onnx: bytes, given: dict[str, bytes]
) -> None:
    manifest = make_manifest({"float32": tiny_onnx})

    with pytest.raises(ArtifactError, match="the manifest lists float32; the models given are"):
        write(tmp_path / "tiny" / "1", manifest, given)  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_leaves_nothing(
    tmp_path: Path, make_manifest: MakeManifest, tiny_onnx: bytes
) -> None:
    manifest = make_manifest({"float32": tiny_onnx})

    with pytest.raises(FileDamagedError):
        write(tmp_path / "tiny" / "1", manifest, {"float32": tiny_onnx + b"\0"})

    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, make_manifest: MakeManifest, tiny_onnx: bytes
) -> None:
    (tmp_path / "tiny").write_text("a file where a folder should be")

    with pytest.raises(ArtifactError, match="cannot be written") as refused:
        write(
            tmp_path / "tiny" / "1", make_manifest({"float32": tiny_onnx}), {"float32": tiny_onnx}
        )

    assert re.fullmatch(r"[^\n]+", str(refused.value))


def test_a_place_that_is_taken_is_refused_and_left_as_it_was(
    tiny: Artifact, make_manifest: MakeManifest, tiny_onnx: bytes
) -> None:
    models = {"float32": tiny_onnx, "int8": tiny_onnx}

    with pytest.raises(ArtifactExistsError, match=r"already exists.*--overwrite"):
        write(tiny.folder, make_manifest(models), models)  # type: ignore[arg-type]

    assert read(tiny.folder).manifest == tiny.manifest


def test_overwrite_replaces_the_whole_artifact_and_leaves_nothing_beside_it(
    tiny: Artifact, make_manifest: MakeManifest, tiny_onnx: bytes
) -> None:
    models = {"int8": tiny_onnx}

    write(tiny.folder, make_manifest(models), models, overwrite=True)  # type: ignore[arg-type]

    assert list(read(tiny.folder).manifest.files) == ["int8"]
    assert [path.name for path in tiny.folder.parent.iterdir()] == ["1"]
    assert not (tiny.folder / "model.float32.onnx").exists()


def test_a_failed_overwrite_leaves_the_old_artifact(
    tiny: Artifact, make_manifest: MakeManifest, tiny_onnx: bytes
) -> None:
    manifest = make_manifest({"float32": tiny_onnx})
    damaged = {"float32": tiny_onnx[::-1]}

    with pytest.raises(FileDamagedError):
        write(tiny.folder, manifest, damaged, overwrite=True)  # type: ignore[arg-type]

    assert read(tiny.folder).manifest == tiny.manifest
    assert [path.name for path in tiny.folder.parent.iterdir()] == ["1"]


def test_the_newest_version_is_the_largest_number(tiny: Artifact) -> None:
    models = {"float32": tiny.model("float32")}
    for version in ("2", "10"):
        manifest = tiny.manifest.model_copy(update={"version": version})
        write(tiny.folder.with_name(version), manifest, models)  # type: ignore[arg-type]

    assert resolve(tiny.folder.parent) == tiny.folder.with_name("10")
    assert read(tiny.folder.parent).manifest.version == "10"
    assert resolve(tiny.folder) == tiny.folder


def test_folders_that_are_no_finished_version_are_passed_over(tiny: Artifact) -> None:
    for name in ("3", "04", "latest", ".5.tmp"):
        tiny.folder.with_name(name).mkdir()
    for name in ("04", "latest", ".5.tmp"):
        (tiny.folder.with_name(name) / "manifest.json").write_text("{}")

    assert resolve(tiny.folder.parent) == tiny.folder
