"""What lies where an artifact was expected is named, with the command that makes one of it."""

from pathlib import Path

import pytest

from model.artifact.folder import Artifact, ManifestError, read


def _refusal(path: Path) -> str:
    with pytest.raises(ManifestError) as refused:
        read(path)

    assert str(refused.value).startswith(str(path))
    assert str(refused.value).isprintable()
    return str(refused.value)


def _make(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("names", "asked", "way_out"),
    [
        (["run.json"], "", "export-model {path} --out artifacts/NAME/1"),
        (["checkpoints/last.ckpt"], "", "export-model {path} --out artifacts/NAME/1"),
        (["run.json", "checkpoints/best.ckpt"], "checkpoints/best.ckpt", "export-model {path} --o"),
        (["mine/run.json"], "", "export-model {path}/mine --out artifacts/NAME/1"),
        (["resnet18.pth"], "resnet18.pth", "--weights {path}/resnet18.pth --out artifacts/NAME/1"),
        (["net.safetensors", "config.json"], "", "--weights {path}/net.safetensors --out"),
        (["lightning.ckpt"], "lightning.ckpt", "--weights {path}/lightning.ckpt --out"),
        (["model.onnx"], "model.onnx", "export-model --architecture NAME --weights FILE"),
        (["model.onnx"], "", "export-model --architecture NAME --weights FILE"),
        (["net.keras"], "net.keras", "Save its weights as .safetensors or .pth"),
        (["artifact.tar.gz"], "artifact.tar.gz", "Unpack it"),
        (["notes.txt"], "notes.txt", "an artifact is a folder with manifest.json"),
        (["cat/1.jpg", "dog/1.JPG"], "", "train-model --data {path} --out runs/NAME && export-mo"),
        (["1.png"], "", "train-model --data {path}"),
        (
            ["tiny/1/manifest.json"],
            "",
            "Name one, such as {path}/tiny; to serve all, use RESNET_MODEL_REPOSITORY",
        ),
        (["v1/manifest.json"], "", "'v1' is not a version; versions are whole numbers from 1"),
        (["01/manifest.json"], "", "name {path}/01 itself"),
        (["notes.txt"], "", "there is no manifest.json in it or in a version folder"),
        ([], "", "it is empty"),
        ([], "nothing", "there is no such file or folder"),
        ([], "resnet18.pth", "--weights {path}/resnet18.pth --out artifacts/NAME/1"),
        ([], "model.onnx", "there is no such file or folder. Also, an ONNX file alone"),
        ([], "runs/mine", "export-model {path}/runs/mine --out artifacts/NAME/1"),
    ],
)
def test_what_is_no_artifact_is_named_with_the_way_to_one(
    tmp_path: Path, names: list[str], asked: str, way_out: str
) -> None:
    path = _make(tmp_path, *names)

    assert way_out.format(path=path) in _refusal(path / asked)


@pytest.mark.parametrize("name", ["manifest.json", "model.float32.onnx", "README.md"])
def test_a_file_of_an_artifact_names_its_folder(tiny: Artifact, name: str) -> None:
    refusal = _refusal(tiny.folder / name)

    assert f"it is a file of the artifact {tiny.folder}; name that folder" in refusal


def test_a_path_with_a_blank_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    path = _make(tmp_path / "my run", "run.json")

    assert f"export-model '{path}' --out" in _refusal(path)


def test_what_may_not_be_read_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)

    assert _refusal(tmp_path) == f"{tmp_path} cannot be read: Permission denied."
