"""Alerts and dashboard of `deploy/monitoring` ask for what `/metrics` has."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.service import v2
from tests.service.process import ROOT

pytestmark = pytest.mark.anyio

FOLDER = ROOT / "deploy/monitoring"
OF_PROMETHEUS = {"instance", "job", "le"}
NAME = re.compile(r"\b(resnet_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)=~?"([^"]*)"')
LABELS = re.compile(r"\bby \(([^)]*)\)|\{\{(\w+)\}\}|\$labels\.(\w+)")

Seen = dict[str, dict[str, set[str]]]
"""Sample -> label -> values."""


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What `/metrics` has after answers, with a key, and enough images for the drift."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.touch(mode=0o600)
    keys.write_text("shop: a-key")
    found: Seen = {}
    async with v2.serving(api_keys_file=keys) as service:
        service.client.headers["x-api-key"] = "a-key"
        await service.client.post("/predict", content=v2.png())
        content = v2.asking([50, 28, 28, 1], "UINT8")
        body, headers = v2.binary(content, v2.pixels(50).tobytes())
        for _ in range(4):
            await service.client.post(v2.INFER, content=body, headers=headers)
        text = (await service.client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def rules() -> Iterator[Any]:
    for alert in (FOLDER / "rules.yml").read_text().split("- alert: ")[1:]:
        yield pytest.param(alert, id=alert.partition("\n")[0])


def panels() -> Iterator[Any]:
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            question = f"{target['expr']} {target['legendFormat']}"
            yield pytest.param(question, id=f"{panel['title']} {target['refId']}")


@pytest.mark.parametrize("question", [*rules(), *panels()])
async def test_each_metric_label_and_value_that_is_asked_for_is_there(
    question: str, seen: Seen
) -> None:
    named = NAME.findall(question)
    labels = OF_PROMETHEUS.union(*(seen[name] for name, _ in named))

    assert named or "up{" in question
    for name, matchers in named:
        for label, value in MATCHER.findall(matchers):
            assert label in seen[name].keys() | OF_PROMETHEUS
            for part in value.split("|") if label not in OF_PROMETHEUS else ():
                assert any(re.fullmatch(part, each) for each in seen[name][label]), part
    for found in LABELS.findall(question):
        assert {each.strip() for each in "".join(found).split(",")} <= labels


def test_the_rules_fire_as_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing (apt-get install prometheus)")

    tested = subprocess.run(
        [promtool, "test", "rules", FOLDER / "rules_test.yml"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_is_seen_to_fire_and_not_to_fire() -> None:
    alerts = re.findall(r"- alert: (\w+)", (FOLDER / "rules.yml").read_text())
    text = (FOLDER / "rules_test.yml").read_text()

    fire = re.findall(r"alertname: (\w+)\n *exp_alerts:", text)
    quiet = re.findall(r"\{eval_time: \w+, alertname: (\w+)\}", text)

    assert set(alerts) == set(fire) == set(quiet)
