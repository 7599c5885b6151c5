"""The manifest's rules: what it must say, and that it agrees with itself."""

import json
import math
from contextlib import nullcontext
from typing import Any

import pytest
from pydantic import ValidationError

from model.artifact.manifest import FILE_NAMES, NEWEST_SCHEMA, Manifest, parse_manifest
from tests.conftest import MakeManifest


@pytest.fixture(params=range(1, NEWEST_SCHEMA + 1), ids=lambda number: f"schema_{number}")
def fields(
    request: pytest.FixtureRequest, make_manifest: MakeManifest, tiny_onnx: bytes
) -> dict[str, Any]:
    """A good manifest as plain JSON, to be spoiled: the rules hold for every schema."""
    loaded: dict[str, Any] = json.loads(make_manifest({"float32": tiny_onnx}).model_dump_json())
    return loaded | {"schema_version": request.param}


def _parse(text: str) -> Manifest:
    """Read a manifest of which nothing is passed over."""
    manifest, passed_over = parse_manifest(text.encode())
    assert not passed_over
    return manifest


def _spoil(fields: dict[str, Any], path: str, value: object) -> str:
    """Set one field, named by its path, and give the JSON."""
    *way, last = path.split(".")
    place: Any = fields
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[int(last) if last.isdecimal() else last] = value
    return json.dumps(fields)


def test_the_number_of_golden_answers_has_a_limit(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="at most 100 items"):
        _parse(_spoil(fields, "golden", fields["golden"] * 101))


def test_a_manifest_survives_json(make_manifest: MakeManifest, tiny_onnx: bytes) -> None:
    manifest = make_manifest({"float32": tiny_onnx, "int8": tiny_onnx})

    assert _parse(manifest.model_dump_json()) == manifest


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
        ("golden.0.label", "dark", "`labels` has 'bright' where the golden answer has 'dark'"),
        ("labels", ["bright ", "bright"], "`labels` must be 2 different names"),
        ("labels", ["caf\u00e9", "cafe\u0301"], "`labels` must be 2 different names"),
        ("labels", ["bright\u200b", "bright"], "`labels` must be 2 different names"),
        ("architecture.depths", [2, 2, 3], "`summary` must be of `architecture`"),
        ("architecture.width", 33, "`summary` must be of `architecture`"),
        ("summary.stages", [], "`summary` must be of `architecture`"),
        ("summary.parameters", 1, "`summary` must be of `architecture`"),
        ("summary.input_shape", [1, 5, 5], "`summary` must be of `architecture`"),
        ("files.float32.golden_tolerance", 0.0011, "must be at most 0.001"),
        ("files.float32.bytes", 10**8, "`files.float32.bytes` (=100,000,000) must be at most"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    fields: dict[str, Any], path: str, value: object, cause: str
) -> None:
    spoiled = _spoil(fields, path, value)

    with pytest.raises(ValidationError) as refused:
        _parse(spoiled)

    assert cause in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 3),
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
        ("golden.0.label", ""),
        ("labels.0", ""),
        ("labels.0", " "),
        ("labels.0", "\u200b"),
        ("labels.0", "x" * 501),
        ("labels.0", "two\nlines"),
        ("labels.0", "\x1b[31mred"),
        ("labels.0", "\x00"),
        ("labels.0", "\u202eturned"),
        ("labels.0", "\u2028"),
        ("architecture.name", "\x1b[31mred"),
        ("architecture.depths", [10**9] * 3),
        ("architecture.depths", [0, 1]),
        ("architecture.depths", [1] * 9),
        ("architecture.width", 10**9),
        ("architecture.num_classes", 10**9),
        ("architecture.groups", 10**9),
        ("architecture.squeeze", 10**9),
        ("architecture.size", 10**9),
        ("input.size", 10**9),
        ("preprocessing.resize", 10**9),
        ("preprocessing.mean.0", math.nan),
        ("preprocessing.mean.0", 2),
        ("preprocessing.std.0", math.inf),
        ("preprocessing.std.0", -1),
        ("temperature", math.inf),
        ("temperature", 1e31),
        ("files.float32.golden_tolerance", math.nan),
        ("files.float32.max_abs_logit_error", math.inf),
        ("files.float32.bytes", 2**63),
        ("head_bias", [math.nan, 0]),
        ("head_bias", [1e308, 0]),
        ("provenance.seed", 10**30),
        ("provenance.torch", "\x1b[31mred"),
        ("provenance.torch", "x" * 2_001),
        ("provenance.weights", "\x1b[31mred"),
        ("data", {"licence": "\x1b[31mred", "splits": {}}),
        ("provenance.changes", {"learning_rate": math.nan}),
        ("summary.macs", -1),
        ("summary.stem.layers", []),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_by_its_place(
    fields: dict[str, Any], path: str, value: object
) -> None:
    spoiled = _spoil(fields, path, value)

    with pytest.raises(ValidationError) as refused:
        _parse(spoiled)

    places = [".".join(map(str, error["loc"])) for error in refused.value.errors()]
    assert any(place.startswith(path) for place in places)


@pytest.mark.parametrize(
    "label",
    [
        "\u0645\u06cc\u200c\u0631\u0648\u062f",
        "\U0001f468\u200d\U0001f52c",
        "\u00a0d\u00e9j\u00e0 vu",
        "<b>",
        "T-shirt/top",
    ],
    ids=["joined", "emoji", "blank", "markup", "slash"],
)
def test_a_label_of_any_language_is_taken(fields: dict[str, Any], label: str) -> None:
    manifest = _parse(_spoil(fields, "labels.0", label))

    assert manifest.labels[0] == label


def test_golden_answers_that_name_their_label_are_taken(fields: dict[str, Any]) -> None:
    manifest = _parse(_spoil(fields, "golden.0.label", "bright"))

    assert manifest.golden[0].label == "bright"


def test_a_cheaper_precision_may_be_further_off(
    make_manifest: MakeManifest, tiny_onnx: bytes
) -> None:
    manifest = make_manifest({"float32": tiny_onnx, "int8": tiny_onnx})
    fields = json.loads(manifest.model_dump_json())

    for tolerance, is_taken in ((0.5, True), (0.51, False)):
        spoiled = _spoil(fields, "files.int8.golden_tolerance", tolerance)
        with nullcontext() if is_taken else pytest.raises(ValidationError):
            _parse(spoiled)


@pytest.mark.parametrize("key", ["labels", "golden", "files", "provenance", "temperature"])
def test_a_manifest_without_a_part_is_refused(fields: dict[str, Any], key: str) -> None:
    del fields[key]

    with pytest.raises(ValidationError, match=key):
        _parse(json.dumps(fields))


def test_a_manifest_cannot_be_changed(make_manifest: MakeManifest, tiny_onnx: bytes) -> None:
    manifest = make_manifest({"float32": tiny_onnx})

    with pytest.raises(ValidationError, match="frozen"):
        manifest.temperature = 2.0  # type: ignore[misc]
