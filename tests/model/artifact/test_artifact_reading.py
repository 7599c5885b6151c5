"""The artifact's folder is read with every check: its files and its manifest."""

import sys
from pathlib import Path

import numpy as np
import pytest

from model.artifact.folder import (
    Artifact,
    FileDamagedError,
    FileMissingError,
    ManifestError,
    read,
)
from tests.model.artifact.refusals import change_manifest, refusal_of

# Files


def test_what_was_written_is_read_back(tiny: Artifact, tiny_onnx: bytes) -> None:
    artifact = read(tiny.folder)

    assert artifact.manifest == tiny.manifest
    assert artifact.model("float32") == tiny_onnx
    assert np.array_equal(artifact.golden_images(), np.full((1, 4, 4, 1), 255, np.uint8))


@pytest.mark.parametrize("place", ["nowhere", ".", "file"])
def test_a_place_without_an_artifact_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")

    refusal = refusal_of(tmp_path / place)

    assert isinstance(refusal, ManifestError)
    assert "is not an artifact" in str(refusal)


def test_one_flipped_bit_is_found(tiny: Artifact, tiny_onnx: bytes) -> None:
    path = tiny.folder / "model.float32.onnx"
    for position in (0, len(tiny_onnx) // 2, len(tiny_onnx) - 1):
        damaged = bytearray(tiny_onnx)
        damaged[position] ^= 1
        path.write_bytes(damaged)

        refusal = refusal_of(tiny.folder)

        assert isinstance(refusal, FileDamagedError)
        assert "SHA-256" in str(refusal)


def test_a_truncated_model_is_found_by_its_length(tiny: Artifact, tiny_onnx: bytes) -> None:
    (tiny.folder / "model.float32.onnx").write_bytes(tiny_onnx[:-1])

    refusal = refusal_of(tiny.folder)

    assert isinstance(refusal, FileDamagedError)
    assert f"has {len(tiny_onnx) - 1} bytes; the manifest says {len(tiny_onnx)}" in str(refusal)


def test_a_missing_model_is_named(tiny: Artifact) -> None:
    (tiny.folder / "model.float32.onnx").unlink()

    refusal = refusal_of(tiny.folder)

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
    change_manifest(tiny, **change)

    refusal = refusal_of(tiny.folder)

    assert isinstance(refusal, ManifestError)
    assert cause in str(refusal)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"name": "a", "name"'])
def test_a_manifest_that_is_no_json_object_is_refused_in_one_line(
    tiny: Artifact, content: bytes
) -> None:
    (tiny.folder / "manifest.json").write_bytes(content)

    assert isinstance(refusal_of(tiny.folder), ManifestError)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_manifest_that_cannot_be_read_is_refused_in_one_line(tiny: Artifact) -> None:
    path = tiny.folder / "manifest.json"
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a file whose first byte nobody may read

    refusal = refusal_of(tiny.folder)

    assert isinstance(refusal, ManifestError)
    assert "cannot be read" in str(refusal)


def test_a_manifest_of_a_newer_version_is_named_as_such(tiny: Artifact) -> None:
    change_manifest(tiny, schema_version=99)

    assert "A newer version of this software wrote it" in str(refusal_of(tiny.folder))


def test_what_is_refused_is_shown_without_control_characters(tiny: Artifact) -> None:
    change_manifest(tiny, **{"\x1b[31m\u202eevil" * 1_000: 1})

    refusal = refusal_of(tiny.folder)

    assert str(refusal).isprintable()
    assert len(str(refusal)) < 700
