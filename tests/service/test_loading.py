from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StartError
from service.loading import load_classifier
from service.settings import Settings
from tests.service import graphs
from tests.service.conftest import SHIPPED, MakeArtifact

# load_classifier


def test_the_newest_version_of_an_artifact_is_taken(make_artifact: MakeArtifact) -> None:
    make_artifact(version="9")
    folder = make_artifact(version="10").parent

    loaded = load_classifier(Settings(artifact=folder, threads=1))

    assert loaded.info.model_dump() == {
        "name": "tiny",
        "version": "10",
        "precision": "float32",
        "provider": "cpu",
    }


def tampered(folder: Path) -> None:
    content = (folder / "model.float32.onnx").read_bytes()
    (folder / "model.float32.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def longer(folder: Path) -> None:
    with (folder / "model.float32.onnx").open("ab") as file:
        file.write(b"\0")


def without_model(folder: Path) -> None:
    (folder / "model.float32.onnx").unlink()


def without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def broken_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"name": "\n"}')


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (tampered, "SHA-256"),
        (longer, "bytes; the manifest says"),
        (without_model, "cannot be read"),
        (without_manifest, "holds no artifact"),
        (broken_manifest, "manifest.json: "),
    ],
)
def test_a_damaged_artifact_is_refused_in_one_line(
    damage: Callable[[Path], None], cause: str, make_artifact: MakeArtifact
) -> None:
    folder = make_artifact()
    damage(folder)

    with pytest.raises(StartError, match=cause) as refused:
        load_classifier(Settings(artifact=folder))

    assert str(refused.value).isprintable()
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (graphs.swapped(), "golden"),
        (graphs.nan_always(), "golden"),
        (graphs.one_row(), "answers for a batch"),
        (graphs.plain(labels=3), "inputs and outputs"),
        (b"\x08\x08", "cannot load"),
    ],
)
def test_a_model_that_cannot_be_trusted_is_refused_in_one_line(
    model: bytes, cause: str, make_artifact: MakeArtifact
) -> None:
    folder = make_artifact(model)

    with pytest.raises(StartError, match=cause) as refused:
        load_classifier(Settings(artifact=folder))

    assert str(refused.value).isprintable()


def test_a_precision_that_the_artifact_lacks_is_refused(make_artifact: MakeArtifact) -> None:
    with pytest.raises(StartError, match="has no int8 model; it has float32"):
        load_classifier(Settings(artifact=make_artifact(), precision="int8"))


def test_a_precision_is_loaded_by_its_name(make_artifact: MakeArtifact) -> None:
    loaded = load_classifier(
        Settings(artifact=make_artifact(precision="int8"), precision="int8", threads=1)
    )

    assert loaded.info.precision == "int8"


def test_the_shipped_artifact_is_whole() -> None:
    loaded = load_classifier(Settings(artifact=SHIPPED.parent, threads=1))

    assert loaded.info.name == "fashion-mnist"
    assert loaded.manifest.labels[9] == "Ankle boot"
