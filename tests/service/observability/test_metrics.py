"""What Prometheus' own checker would say, and what leaves the machine: nothing."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.settings import MULTIPROCESS_FOLDER
from tests.service.conftest import Serve
from tests.service.images import WHITE
from tests.service.process import ROOT, environ

pytestmark = pytest.mark.anyio

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
UNITS = ("seconds", "bytes", "images", "info", "total", "ratio", "pixels", "psi")
OTHERS = re.compile(r"milliseconds|_ms\b|minutes|hours|kilobytes|megabytes|_created\b|percent")
GIVEN = ("process_", "python_")
"""Prefixes of what the client library measures by itself, under names that all programs use."""


@pytest.fixture
async def families(serve: Serve) -> dict[str, Metric]:
    """All metrics after an answer and a refusal."""
    service = await serve()
    await service.client.post("/predict", content=WHITE)
    await service.client.post("/predict", content=b"junk")
    text = (await service.client.get("/metrics")).text
    found = [*text_string_to_metric_families(text)]
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


async def test_every_metric_says_what_it_is(families: dict[str, Metric]) -> None:
    for name, family in families.items():
        assert family.type in {"counter", "gauge", "histogram"}, name
        assert len(family.documentation) > 8, name


async def test_names_are_of_the_fields_habit(families: dict[str, Metric]) -> None:
    ours = [family for name, family in families.items() if not name.startswith(GIVEN)]

    for family in ours:
        assert family.name.startswith("resnet_")
        assert NAME.fullmatch(family.name)
        for sample in family.samples:
            assert not OTHERS.search(sample.name)
            assert (sample.name.endswith("_total")) == (family.type == "counter")
        if family.type != "counter":
            assert {*family.name.split("_")} & {*UNITS}
    assert len(ours) == 19  # and two more where the artifact has a score


async def test_labels_are_plain_and_histograms_are_whole(families: dict[str, Metric]) -> None:
    for family in families.values():
        for sample in family.samples:
            assert all(NAME.fullmatch(label) for label in sample.labels)
        if family.type == "histogram":
            bounds = [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
            assert bounds[-1] == "+Inf"


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_onnxruntimes_reports_are_off_before_it_is_loaded_unless_asked_for(
    given: dict[str, str], kept: str
) -> None:
    code = (
        "import os, sys, service; assert 'onnxruntime' not in sys.modules; "
        "before = os.environ['ORT_DISABLE_TELEMETRY']; "
        "import service.inference.engine; assert 'onnxruntime' in sys.modules; print(before)"
    )
    environment = {name: value for name, value in environ().items() if not name.startswith("ORT_")}

    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, **given},
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.strip() == kept


def _fail(*_: object, **__: object) -> None:
    raise OSError(24, "Too many open files")


async def test_what_cannot_be_read_of_the_machine_ends_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()
    monkeypatch.setattr("service.observability.process.Usage.refresh", _fail)

    service.app.state.service.telemetry.refresh(service.app.state.service.models)
    response = await service.client.get("/metrics")

    assert response.status_code == 200
    assert "resnet_images_in_flight 0.0" in response.text


@pytest.mark.parametrize("folder", ["gone", "/dev/null"])
async def test_metrics_of_all_workers_that_cannot_be_read_are_unavailable_and_nothing_else_is(
    folder: str, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()
    monkeypatch.setattr(service.app.state.service.telemetry._exposition, "_is_shared", True)
    monkeypatch.setenv(MULTIPROCESS_FOLDER, str(tmp_path / folder))

    refused = await service.client.get("/metrics")
    answered = await service.client.post("/predict", content=WHITE)

    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
    assert str(tmp_path) not in refused.text
    assert answered.status_code == 200


async def test_a_model_whose_labels_cannot_be_counted_is_served_and_counted_later(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()
    telemetry, classifier = service.app.state.service.telemetry, service.classifier
    telemetry._predictions._default = None  # as after a reload
    monkeypatch.setattr(telemetry._predictions._predictions, "labels", _fail)
    monkeypatch.setattr(telemetry._info, "labels", _fail)

    telemetry.on_models_changed(classifier, classifier, classifier)
    first = await service.client.post("/predict", content=WHITE)
    monkeypatch.undo()
    telemetry.refresh(service.app.state.service.models)
    second = await service.client.post("/predict", content=WHITE)

    assert (first.status_code, second.status_code) == (200, 200)
    counted = [
        telemetry.registry.get_sample_value("resnet_predictions_total", {"label": label})
        for label in classifier.manifest.labels
    ]
    assert sum(value or 0 for value in counted) == 1


async def test_metrics_are_written_beside_the_event_loop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, threads = await serve(), []

    def note(*_: object) -> bytes:
        threads.append(threading.current_thread())
        return b""

    monkeypatch.setattr("service.observability.exposition.generate_latest", note)
    await service.client.get("/metrics")

    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
