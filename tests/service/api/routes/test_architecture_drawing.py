"""`GET /architecture` in its two forms."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from model.artifact.manifest import Manifest, Precision
from model.artifact.writing import write
from service.app import create_app
from service.settings import Settings
from tests.in_process import ask, get


class MakeManifest(Protocol):
    def __call__(self, models: Mapping[Precision, bytes]) -> Manifest: ...


Get = Callable[[str], httpx.Response]


@pytest.fixture
def answer_to(tiny_onnx: bytes, make_manifest: MakeManifest, tmp_path: Path) -> Get:
    models: dict[Precision, bytes] = {"float32": tiny_onnx}
    artifact = write(tmp_path / "tiny" / "1", make_manifest(models), models)
    settings = Settings(
        artifact=artifact.folder, provider="cpu", intra_op_threads=1, max_batch_size=2
    )
    app = create_app(settings)
    return lambda path: ask(app, get(path))[0]


def test_json_is_what_is_given_if_nothing_is_asked_for(answer_to: Get) -> None:
    plain, asked = answer_to("/architecture"), answer_to("/architecture?format=json")

    assert plain.headers["content-type"] == "application/json"
    assert plain.json() == asked.json()
    assert plain.json()["architecture"]["name"] == "mini_resnet"


def test_the_drawing_is_an_image_that_a_browser_shows_as_it_is(answer_to: Get) -> None:
    answer = answer_to("/architecture?format=svg")

    assert answer.headers["content-type"] == "image/svg+xml"
    assert "style-src 'unsafe-inline'" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]
    assert ET.fromstring(answer.text).tag.endswith("svg")  # noqa: S314  # our own text


def test_an_unknown_form_is_a_problem_that_names_the_parameter(answer_to: Get) -> None:
    answer = answer_to("/architecture?format=png")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "invalid_parameter"
    assert "format" in answer.json()["detail"]


def test_an_unknown_parameter_is_a_problem_too(answer_to: Get) -> None:
    assert answer_to("/architecture?form=svg").json()["code"] == "invalid_parameter"
