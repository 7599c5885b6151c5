"""What the documents promise is there, and what is there is documented."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import STATUS
from service.settings import Settings
from tests.service.conftest import Service
from tests.service.pictures import WHITE
from tests.service.process import ROOT

DOCS = ROOT / "docs"


def test_every_setting_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `RESNET_(\w+)` \|", (DOCS / "settings.md").read_text(), re.M)

    assert {name.lower() for name in documented} == set(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_settings_default_is_the_documented_one(name: str) -> None:
    row = re.search(
        rf"^\| `RESNET_{name.upper()}` \| (.*?) \|", (DOCS / "settings.md").read_text(), re.M
    )

    default = Settings.model_fields[name].default
    assert row is not None
    assert row[1].strip("`") == ("none" if default is None else str(default))


def test_compose_passes_every_setting_on() -> None:
    """Where to listen is said by the port that the container is published on."""
    passed = re.findall(r"^  RESNET_(\w+):", (ROOT / "docker-compose.yml").read_text(), re.M)

    assert sorted(passed) == sorted(
        {name.upper() for name in Settings.model_fields} - {"HOST", "PORT"}
    )


def test_every_code_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", (DOCS / "api.md").read_text(), re.M)

    assert {code: int(status) for status, code in rows} == {
        kind.code: status.value for kind, status in STATUS.items()
    }


@pytest.mark.anyio
async def test_every_metric_is_documented_and_no_other(shipped: Service) -> None:
    documented = re.findall(r"^\| `(resnet_\w+)` \|", (DOCS / "operations.md").read_text(), re.M)
    await shipped.client.post("/predict", content=WHITE)  # a window of nothing has no figures
    text = (await shipped.client.get("/metrics")).text

    families = text_string_to_metric_families(text)
    there = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("resnet_")
    }
    assert set(documented) == there


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/predict", "/models/{name}/predict"])
async def test_a_lean_route_describes_what_it_reads(path: str, shipped: Service) -> None:
    described = (await shipped.client.get("/openapi.json")).json()

    operation = described["paths"][path]["post"]
    parameters = {(given["in"], given["name"]) for given in operation["parameters"]}
    assert parameters - {("path", "name")} == {
        ("query", "top_k"),
        ("query", "coverage"),
        ("query", "explain"),
        ("query", "features"),
        ("header", "x-request-timeout-ms"),
    }
    assert (("path", "name") in parameters) == ("{name}" in path)
    assert {"200", "400", "413", "503", "504"} <= set(operation["responses"])
