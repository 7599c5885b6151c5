"""docs/manifest.md lists every field of a manifest, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from model.artifact.manifest import Manifest

PAGE = (Path(__file__).parents[3] / "docs/manifest.md").read_text(encoding="utf-8")
_, *SECTIONS = re.split(r"^### `(.+)`$", PAGE, flags=re.M)
DOCUMENTED = dict(zip(SECTIONS[::2], SECTIONS[1::2], strict=True))


def records(kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type, such as that of a list's elements."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from records(part)


def reached(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """Name a model and all that its fields hold."""
    fields = kind.model_fields.values()
    return {kind}.union(*(reached(each) for field in fields for each in records(field.annotation)))


def at(path: str) -> type[BaseModel]:
    """Give the model at a path such as `files.*.speed`."""
    kind: type[BaseModel] = Manifest
    for name in re.findall(r"[a-z_]\w*", path.removeprefix("manifest")):
        (kind,) = records(kind.model_fields[name].annotation)
    return kind


def test_every_record_of_a_manifest_has_its_section() -> None:
    assert {at(path) for path in DOCUMENTED} == reached(Manifest)
    assert len(DOCUMENTED) == len(reached(Manifest))


@pytest.mark.parametrize("path", DOCUMENTED)
def test_a_section_lists_exactly_the_fields_and_which_may_be_null(path: str) -> None:
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", DOCUMENTED[path], re.M)

    documented = {
        name: "null" in meaning for names, meaning in rows for name in re.findall(r"`(\w+)`", names)
    }
    assert documented == {
        name: type(None) in get_args(field.annotation)
        for name, field in at(path).model_fields.items()
    }
