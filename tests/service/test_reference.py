"""What the reference pages list is there, and what is there is listed."""

import re

import pytest
from fastapi.routing import APIRoute
from prometheus_client.parser import text_string_to_metric_families

from service.api.access.control import HEALTH, needed_scopes
from service.api.routes import page
from service.api.v2 import repository
from service.errors import STATUS
from service.observability.drift import drift_metrics
from service.postprocessing.drift import Drift
from service.settings import Settings
from tests.service.conftest import Service
from tests.service.images import WHITE
from tests.service.observations import REFERENCE, observations, observe
from tests.service.process import ROOT

API, V2, SETTINGS, OPERATIONS = (
    (ROOT / f"docs/{name}.md").read_text() for name in ("api", "v2", "settings", "operations")
)
Routes = set[tuple[str, str]]
"""Methods and paths."""


def test_every_setting_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `RESNET_(\w+)` \|", SETTINGS, re.M)

    assert {name.lower() for name in documented} == set(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_settings_default_is_the_documented_one(name: str) -> None:
    row = re.search(rf"^\| `RESNET_{name.upper()}` \| (.*?) \|", SETTINGS, re.M)

    default = Settings.model_fields[name].default
    assert row is not None
    assert row[1].strip("`") == ("none" if default in {None, "", ()} else str(default))


def test_every_code_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", API, re.M)

    assert {code: int(status) for status, code in rows} == {
        kind.code: status.value for kind, status in STATUS.items()
    }


def test_a_code_that_a_page_names_with_its_status_is_that() -> None:
    pages = [ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/how-to").glob("*")]
    named = {
        (code, int(status))
        for page in pages
        for status, code in re.findall(r"\b([45]\d\d) `([a-z_]+)`", page.read_text())
    }

    assert named
    assert not named - {(kind.code, status.value) for kind, status in STATUS.items()}


def documented_routes(text: str) -> Routes:
    """Read a table whose first column has routes; what stands in brackets may be left out."""
    found = set()
    for row in re.findall(r"^\| (`[A-Z]+ /.*?`|`[A-Z]+ \[.*?`) \|", text, re.M):
        for method, path in re.findall(r"`([A-Z]+) (\S+)`", row):
            paths = {path}
            while any("[" in each for each in paths):
                paths = {
                    re.sub(r"\[([^[\]]*)\]", kept, each, count=1)
                    for each in paths
                    for kept in (r"\1", "")
                }
            found |= {(method, each) for each in paths}
    return found


def real_routes(service: Service) -> Routes:
    """Ask the OpenAPI document, and the routers that it leaves out in part."""
    described = service.app.openapi()["paths"]
    left_out = [*page.router.routes, *repository.router.routes]
    return {
        *((method.upper(), path) for path, methods in described.items() for method in methods),
        *(
            (method, route.path)
            for route in left_out
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        ),
        ("GET", "/openapi.json"),
        ("GET", "/static/{file}"),
    }


@pytest.mark.anyio
async def test_every_route_is_documented_and_no_other(shipped: Service) -> None:
    routes = real_routes(shipped)
    of_v2 = {route for route in routes if route[1].startswith("/v2")}

    assert documented_routes(V2) == of_v2
    assert documented_routes(API) == routes - of_v2


def test_the_documented_scope_of_a_route_is_that_which_its_key_needs() -> None:
    rows = re.findall(r"^\| (`[A-Z]+ .*?`) \| `?(\w+)`? \|", API, re.M)

    assert len(rows) > 10
    for row, scope in rows:
        for method, path in documented_routes(f"| {row} |"):
            assert scope == ("none" if path in HEALTH else needed_scopes(method, path)[0]), path


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/predict", "/models/{name}/predict"])
async def test_the_documented_parameters_are_those_that_a_lean_route_reads(
    path: str, shipped: Service
) -> None:
    query = re.findall(r"^\| `(\w+)` \| (?:`?(\w+)`?|\W+) \|", API, re.M)
    header = re.search(r"^The header `(\S+)`", API, re.M)

    operation = shipped.app.openapi()["paths"][path]["post"]
    parameters = {(given["in"], given["name"]): given for given in operation["parameters"]}
    assert header is not None
    assert set(parameters) - {("path", "name")} == {
        *(("query", name) for name, _ in query),
        ("header", header[1].lower()),
    }
    for name, default in query:
        given = parameters["query", name]["schema"].get("default")
        assert default == ("" if given is None else str(given).lower()), name
    assert (("path", "name") in parameters) == ("{name}" in path)
    assert {"200", "400", "413", "503", "504"} <= set(operation["responses"])


@pytest.mark.anyio
async def test_every_metric_is_documented_with_its_labels_and_no_other(shipped: Service) -> None:
    rows = re.findall(r"^\| `(resnet_\w+)` \| (.*?) \|", OPERATIONS, re.M)
    documented = {name: set(re.findall(r"\w+", labels)) for name, labels in rows}

    assert documented == await labels_of_metrics(shipped)


async def labels_of_metrics(service: Service) -> dict[str, set[str]]:
    """Name each metric's labels, once something of each was seen."""
    await service.client.post("/predict", content=WHITE)  # a window of nothing has no figures
    drift = Drift(("a", "b"), REFERENCE, 300)
    observe(drift, observations(300))
    keys = service.app.state.service.telemetry.key_requests
    keys.labels("web-shop")
    text = (await service.client.get("/metrics")).text
    keys.remove("web-shop")
    return {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels
        }
        - {"le"}
        for family in (*text_string_to_metric_families(text), *drift_metrics(drift))
        if family.name.startswith("resnet_")
    }
