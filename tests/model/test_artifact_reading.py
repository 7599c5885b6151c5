"""The artifact's folder is read with every check: its files, its manifest, its golden pictures."""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.artifact import (
    Artifact,
    ArtifactError,
    FileDamagedError,
    FileMissingError,
    ManifestError,
    pack,
    read,
)


def _refusal(path: Path) -> ArtifactError:
    """What `read` raises, after a look at its form."""
    with pytest.raises(ArtifactError) as refused:
        read(path)

    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return refused.value


def _change_manifest(artifact: Artifact, **changes: object) -> None:
    path = artifact.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Files


def test_what_was_written_is_read_back(tiny: Artifact, tiny_onnx: bytes) -> None:
    artifact = read(tiny.folder)

    assert artifact.manifest == tiny.manifest
    assert artifact.model("float32") == tiny_onnx
    assert np.array_equal(artifact.golden_images(), np.full((1, 4, 4, 1), 255, np.uint8))


@pytest.mark.parametrize("place", ["nowhere", ".", "file"])
def test_a_place_without_an_artifact_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")

    refusal = _refusal(tmp_path / place)

    assert isinstance(refusal, ManifestError)
    assert "holds no artifact" in str(refusal)


def test_one_flipped_bit_is_found(tiny: Artifact, tiny_onnx: bytes) -> None:
    path = tiny.folder / "model.float32.onnx"
    for position in (0, len(tiny_onnx) // 2, len(tiny_onnx) - 1):
        damaged = bytearray(tiny_onnx)
        damaged[position] ^= 1
        path.write_bytes(damaged)

        refusal = _refusal(tiny.folder)

        assert isinstance(refusal, FileDamagedError)
        assert "SHA-256" in str(refusal)


def test_a_truncated_model_is_found_by_its_length(tiny: Artifact, tiny_onnx: bytes) -> None:
    (tiny.folder / "model.float32.onnx").write_bytes(tiny_onnx[:-1])

    refusal = _refusal(tiny.folder)

    assert isinstance(refusal, FileDamagedError)
    assert f"has {len(tiny_onnx) - 1} bytes; the manifest says {len(tiny_onnx)}" in str(refusal)


def test_a_missing_model_is_named(tiny: Artifact) -> None:
    (tiny.folder / "model.float32.onnx").unlink()

    refusal = _refusal(tiny.folder)

    assert isinstance(refusal, FileMissingError)
    assert "model.float32.onnx" in str(refusal)


def test_a_model_that_changes_after_reading_is_found_when_it_is_loaded(tiny: Artifact) -> None:
    artifact = read(tiny.folder)

    (tiny.folder / "model.float32.onnx").write_bytes(b"another")

    with pytest.raises(FileDamagedError):
        artifact.model("float32")


def test_a_precision_that_the_artifact_lacks_is_refused_with_those_it_has(tiny: Artifact) -> None:
    with pytest.raises(FileMissingError, match="has no int8 model; it has float32"):
        tiny.model("int8")


# The manifest


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"comment": "hello"}, "comment: Extra inputs are not permitted"),
        ({"two\nlines": 1}, "two lines: Extra inputs are not permitted"),
        ({"labels": ["dark", "dark"]}, "`labels` must be 2 different names"),
        ({"version": "latest"}, "version: String should match pattern"),
        ({"schema_version": 3}, "schema_version: Input should be 1 or 2"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_in_one_line(
    tiny: Artifact, change: dict[str, object], cause: str
) -> None:
    _change_manifest(tiny, **change)

    refusal = _refusal(tiny.folder)

    assert isinstance(refusal, ManifestError)
    assert cause in str(refusal)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"name": "a", "name"'])
def test_a_manifest_that_is_no_json_object_is_refused_in_one_line(
    tiny: Artifact, content: bytes
) -> None:
    (tiny.folder / "manifest.json").write_bytes(content)

    assert isinstance(_refusal(tiny.folder), ManifestError)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_manifest_that_cannot_be_read_is_refused_in_one_line(tiny: Artifact) -> None:
    path = tiny.folder / "manifest.json"
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a file whose first byte nobody may read

    refusal = _refusal(tiny.folder)

    assert isinstance(refusal, ManifestError)
    assert "cannot be read" in str(refusal)


# Golden pictures


def _as_png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("png", "cause"),
    [
        (_as_png(np.zeros((5, 4), np.uint8)), r"has shape \(5, 4\), not \(4, 4, 1\)"),
        (_as_png(np.zeros((4, 4, 3), np.uint8)), r"has shape \(4, 4, 3\), not \(4, 4, 1\)"),
        ("bm8gcGljdHVyZQ==", "is no PNG file"),
        ("!", "is no PNG file"),
        (_as_png(np.zeros((4, 4), np.uint8))[:60], "is no PNG file"),
    ],
)
def test_a_golden_picture_of_another_shape_or_kind_is_refused(
    tiny: Artifact, png: str, cause: str
) -> None:
    golden = tiny.manifest.golden[0].model_copy(update={"png": png})
    _change_manifest(tiny, golden=[golden.model_dump()])
    artifact = read(tiny.folder)

    with pytest.raises(ManifestError, match=cause) as refused:
        artifact.golden_images()

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_packed_picture_comes_back_bit_for_bit(tiny: Artifact, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    golden = tiny.manifest.golden[0].model_copy(update={"png": pack(pixels)})
    border = tiny.manifest.input.model_copy(update={"channels": channels})
    changed = tiny.manifest.model_copy(update={"golden": (golden,), "input": border})

    images = Artifact(tiny.folder, changed).golden_images()

    assert np.array_equal(images, pixels[None])
