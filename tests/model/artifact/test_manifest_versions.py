"""Manifests of an earlier schema are read as far as they go; the present one is read exactly."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model.artifact.folder import Artifact, ManifestError, read
from model.artifact.manifest import (
    ESSENTIAL,
    MAX_PASSED_OVER,
    NEWEST_SCHEMA,
    Manifest,
    parse_manifest,
)

SHIPPED = Path(__file__).parents[3] / "artifacts/fashion-mnist/1/manifest.json"
FIRST = Path(__file__).parents[2] / "data/manifest-schema-1.json"
"""What the first artifact of this repository had, before there was a second schema."""


def _changed(path: str, value: object, **changes: object) -> bytes:
    """Set one field, named by its path, in the shipped manifest."""
    fields: Any = json.loads(SHIPPED.read_bytes())
    *way, last = path.split(".")
    inside = fields
    for step in way:
        inside = inside[int(step) if step.isdecimal() else step]
    inside[last] = value
    return json.dumps(fields | changes).encode()


def test_the_shipped_manifest_is_of_the_present_schema_and_read_whole() -> None:
    manifest, passed_over = parse_manifest(SHIPPED.read_bytes())

    assert manifest.schema_version == NEWEST_SCHEMA
    assert passed_over == ()


def test_the_first_manifest_that_there_was_is_read_whole() -> None:
    manifest, passed_over = parse_manifest(FIRST.read_bytes())

    assert passed_over == ()
    assert manifest.schema_version == 1
    assert (manifest.name, len(manifest.labels), manifest.summary.parameters) == (
        "fashion-mnist",
        10,
        696_042,
    )
    assert (manifest.data, manifest.calibration, manifest.head_bias) == (None, None, None)


@pytest.mark.parametrize(
    "path",
    [
        "comment",
        "metrics.f1",
        "metrics.reliability.during",
        "provenance.host",
        "provenance.cost.joules",
        "data.url",
        "calibration.seed",
        "refusal.seed",
        "reference.contrast",
        "reference.confidence.unit",
    ],
)
def test_an_unknown_field_of_an_earlier_schema_is_passed_over_and_named(path: str) -> None:
    whole = Manifest.model_validate_json(SHIPPED.read_bytes())

    manifest, passed_over = parse_manifest(_changed(path, {"a": [1]}, schema_version=1))

    assert passed_over == (path,)
    assert manifest == whole.model_copy(update={"schema_version": 1})


@pytest.mark.parametrize("path", ["comment", "metrics.f1", "provenance.host"])
@pytest.mark.parametrize("version", [NEWEST_SCHEMA, NEWEST_SCHEMA + 1, None, True, 1.0, 0, -1])
def test_an_unknown_field_of_any_other_schema_is_refused(path: str, version: object) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        parse_manifest(_changed(path, 1, schema_version=version))


@pytest.mark.parametrize(
    "path",
    [
        "architecture.attention",
        "summary.flops",
        "summary.stages.0.flops",
        "input.layout",
        "preprocessing.gamma",
        "files.float32.mode",
        "files.float32.speed",
        "golden.0.comment",
    ],
)
def test_nothing_is_passed_over_in_what_decides_an_answer(path: str) -> None:
    with pytest.raises(ValidationError):
        parse_manifest(_changed(path, {"a": 1}, schema_version=1))


@pytest.mark.parametrize("key", sorted(ESSENTIAL - {"schema_version"}))
def test_an_essential_field_cannot_be_left_out(key: str) -> None:
    fields = json.loads(SHIPPED.read_bytes()) | {"schema_version": 1, "comment": 1}
    del fields[key]

    with pytest.raises(ValidationError, match=key):
        parse_manifest(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("head_bias", "none"),
        ("provenance.weights", "\x1b[31mred"),
        ("metrics.confusion", [[-1]]),
        ("reference.out_of_distribution", 2),
        ("labels", ["same"] * 10),
    ],
)
def test_an_unknown_field_does_not_excuse_a_value_that_breaks_a_rule(
    path: str, value: object
) -> None:
    with pytest.raises(ValidationError):
        parse_manifest(_changed(path, value, schema_version=1, comment=1))


def test_more_unknown_fields_than_any_version_had_are_refused() -> None:
    unknown = {f"field {number}": 1 for number in range(MAX_PASSED_OVER + 1)}

    with pytest.raises(ValidationError):
        parse_manifest(_changed("comment", 1, schema_version=1, **unknown))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"schema_version": 1}', b"\xff"])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ValidationError):
        parse_manifest(content)


def test_the_artifact_names_what_was_passed_over_in_one_line_each(tiny: Artifact) -> None:
    path = tiny.folder / "manifest.json"
    fields = json.loads(path.read_bytes())
    path.write_text(json.dumps(fields | {"schema_version": 1, "two\nlines" * 100: 1}))

    (named,) = read(tiny.folder).passed_over

    assert named.startswith("two linestwo lines")
    assert len(named) == 500
    assert tiny.passed_over == ()
    path.write_text(json.dumps(fields | {"two\nlines": 1}))
    with pytest.raises(ManifestError, match="two lines: Extra inputs are not permitted"):
        read(tiny.folder)
