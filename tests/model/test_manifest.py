"""The manifest's rules: what it must say, and that it agrees with itself."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from model.manifest import FILE_NAMES, Manifest
from tests.conftest import MakeManifest


@pytest.fixture
def fields(make_manifest: MakeManifest, tiny_onnx: bytes) -> dict[str, Any]:
    """A good manifest as plain JSON, to be spoiled."""
    loaded: dict[str, Any] = json.loads(make_manifest({"float32": tiny_onnx}).model_dump_json())
    return loaded


def _spoil(fields: dict[str, Any], path: str, value: object) -> str:
    """Set one field, named by its path, and give the JSON."""
    *way, last = path.split(".")
    place: Any = fields
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[last] = value
    return json.dumps(fields)


def test_a_manifest_survives_json(make_manifest: MakeManifest, tiny_onnx: bytes) -> None:
    manifest = make_manifest({"float32": tiny_onnx, "int8": tiny_onnx})

    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_every_precision_has_a_file_name_of_its_own() -> None:
    assert len(set(FILE_NAMES.values())) == len(FILE_NAMES) == 3


@pytest.mark.parametrize(
    ("path", "value", "cause"),
    [
        ("labels", ["dark"], "`labels` must be 2 different names"),
        ("labels", ["dark", "grey", "bright"], "`labels` must be 2 different names"),
        ("labels", ["dark", "dark"], "`labels` must be 2 different names"),
        ("input.channels", 3, "differ in channels"),
        ("architecture.in_channels", 3, "differ in channels"),
        ("input.size", 5, "`input.size` must be `preprocessing.crop`"),
        ("golden.0.probabilities", [1.0], "`golden` answers must be for 2 labels"),
        ("golden.0.probabilities", [0.0, 0.5, 0.5], "`golden` answers must be for 2 labels"),
        ("golden.0.top1", 2, "`golden` answers must be for 2 labels"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    fields: dict[str, Any], path: str, value: object, cause: str
) -> None:
    spoiled = _spoil(fields, path, value)

    with pytest.raises(ValidationError) as refused:
        Manifest.model_validate_json(spoiled)

    assert cause in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 3),
        ("comment", "hello"),
        ("provenance.host", "here"),
        ("files.float32.mode", "fast"),
        ("name", "two words"),
        ("name", ""),
        ("name", "n" * 65),
        ("version", "latest"),
        ("version", "0"),
        ("version", "01"),
        ("version", "1" * 10),
        ("temperature", 0),
        ("files", {}),
        ("files.float32.path", "../model.onnx"),
        ("files.float32.path", "folder/model.onnx"),
        ("files.float32.sha256", "ab" * 31),
        ("files.float32.sha256", "AB" * 32),
        ("files.float32.bytes", 0),
        ("files.float32.golden_tolerance", 0),
        ("files.float32.top1_agreement", 1.5),
        ("files.bfloat16", {}),
        ("golden", []),
        ("golden.0.probabilities", [-0.5, 1.5]),
        ("golden.0.top1", -1),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_by_its_place(
    fields: dict[str, Any], path: str, value: object
) -> None:
    spoiled = _spoil(fields, path, value)

    with pytest.raises(ValidationError) as refused:
        Manifest.model_validate_json(spoiled)

    places = [".".join(map(str, error["loc"])) for error in refused.value.errors()]
    assert any(place.startswith(path) for place in places)


@pytest.mark.parametrize("key", ["labels", "golden", "files", "provenance", "temperature"])
def test_a_manifest_without_a_part_is_refused(fields: dict[str, Any], key: str) -> None:
    del fields[key]

    with pytest.raises(ValidationError, match=key):
        Manifest.model_validate_json(json.dumps(fields))


def test_a_manifest_cannot_be_changed(make_manifest: MakeManifest, tiny_onnx: bytes) -> None:
    manifest = make_manifest({"float32": tiny_onnx})

    with pytest.raises(ValidationError, match="frozen"):
        manifest.temperature = 2.0  # type: ignore[misc]
