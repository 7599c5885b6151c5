"""The artifact's folder is read with every check: its files, its manifest, its golden images."""

import base64
import contextlib
import io
import json
import os
import re
import socket
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.artifact.folder import (
    Artifact,
    ArtifactError,
    FileDamagedError,
    FileMissingError,
    ManifestError,
    read,
)
from model.artifact.golden import pack


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


def test_a_manifest_of_a_newer_version_is_named_as_such(tiny: Artifact) -> None:
    _change_manifest(tiny, schema_version=99)

    assert "made by a newer version of this software" in str(_refusal(tiny.folder))


def test_what_is_refused_is_shown_without_control_characters(tiny: Artifact) -> None:
    _change_manifest(tiny, **{"\x1b[31m\u202eevil" * 1_000: 1})

    refusal = _refusal(tiny.folder)

    assert str(refusal).isprintable()
    assert len(str(refusal)) < 700


# Files that are none


def _as_fifo(path: Path) -> None:
    os.mkfifo(path)


def _as_folder(path: Path) -> None:
    path.mkdir()


def _as_link_out(path: Path) -> None:
    elsewhere = path.parents[1] / "elsewhere"
    elsewhere.write_bytes(b"{}")
    path.symlink_to(elsewhere)


def _as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _as_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(path.parent):
        listening.bind(path.name)  # a longer path would be too long for a socket


@pytest.mark.parametrize("name", ["manifest.json", "model.float32.onnx"])
@pytest.mark.parametrize(
    ("replace", "cause"),
    [
        (_as_fifo, "it is a FIFO"),
        (_as_folder, "it is a folder"),
        (_as_link_out, "it is a link out of its folder"),
        (_as_device, "it is a link out of its folder"),
        (_as_loop, "Too many levels of symbolic links"),
        (_as_socket, "it is a socket"),
    ],
)
def test_what_is_no_file_of_the_folder_is_refused_at_once(
    tiny: Artifact, name: str, replace: Callable[[Path], None], cause: str
) -> None:
    (tiny.folder / name).unlink()
    replace(tiny.folder / name)

    refusal = _refusal(tiny.folder)

    assert f"{name} cannot be read: {cause}" in str(refusal)


def test_a_device_that_takes_the_place_of_a_file_is_found_after_it_is_opened(
    tiny: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    monkeypatch.setattr(
        "os.open", lambda path, *flags: opened("/dev/null" if "json" in str(path) else path, *flags)
    )

    assert "it is a device" in str(_refusal(tiny.folder))


def test_links_within_the_folder_are_followed_as_kubernetes_makes_them(tiny: Artifact) -> None:
    data = tiny.folder / "..2026_01_01"
    data.mkdir()
    (tiny.folder / "..data").symlink_to(data.name)
    for name in ("manifest.json", "model.float32.onnx"):
        (tiny.folder / name).rename(data / name)
        (tiny.folder / name).symlink_to(f"..data/{name}")
    linked = tiny.folder.with_name("2")
    linked.symlink_to(tiny.folder.name)

    assert read(tiny.folder).manifest == read(linked).manifest == tiny.manifest


@pytest.mark.parametrize("name", ["manifest.json", "model.float32.onnx"])
def test_a_file_of_gigabytes_is_refused_unread(tiny: Artifact, name: str) -> None:
    os.truncate(tiny.folder / name, 2**31 + 5)
    tracemalloc.start()
    try:
        refusal = _refusal(tiny.folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "2,147,483,653 bytes" in str(refusal)
    assert peak < 4 * 2**20


def test_a_declared_length_beyond_what_the_network_has_numbers_for_is_refused_unread(
    tiny: Artifact,
) -> None:
    path = tiny.folder / "manifest.json"
    path.write_text(re.sub(r'"bytes": \d+', '"bytes": 1900000000', path.read_text()))
    os.truncate(tiny.folder / "model.float32.onnx", 1_900_000_000)

    refusal = _refusal(tiny.folder)

    assert "`files.float32.bytes` (=1,900,000,000) must be at most" in str(refusal)


# Golden images


def _as_png(pixels: "np.ndarray[tuple[int, ...], np.dtype[Any]]") -> str:
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
        (_as_png(np.zeros((4, 4), np.uint16)), "has mode I;16, not L"),
        (_as_png(np.zeros((4000, 4000), np.uint8))[:60], r"has shape \(4000, 4000\)"),
    ],
)
def test_a_golden_image_of_another_shape_or_kind_is_refused(
    tiny: Artifact, png: str, cause: str
) -> None:
    golden = tiny.manifest.golden[0].model_copy(update={"png": png})
    _change_manifest(tiny, golden=[golden.model_dump()])
    artifact = read(tiny.folder)

    with pytest.raises(ManifestError, match=cause) as refused:
        artifact.golden_images()

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_packed_image_comes_back_bit_for_bit(tiny: Artifact, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    golden = tiny.manifest.golden[0].model_copy(update={"png": pack(pixels)})
    border = tiny.manifest.input.model_copy(update={"channels": channels})
    changed = tiny.manifest.model_copy(update={"golden": (golden,), "input": border})

    images = Artifact(tiny.folder, changed).golden_images()

    assert np.array_equal(images, pixels[None])
