"""Keys, hosts, origins and prefixes, asked over every route of the application."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.api import recorder
from service.errors import StartError
from tests.service.api.access.conftest import ADMIN, KEY, PNG, PREDICTS, READS, Keyed, bearer
from tests.service.api.routes.refusals import httpx_scope
from tests.service.conftest import Gate as Engine
from tests.service.conftest import Serve, Service
from tests.service.images import WHITE

pytestmark = pytest.mark.anyio


def every_path(service: Service) -> set[tuple[str, str]]:
    """Methods and paths of all routes, with values for their parameters."""
    found = {
        (method.upper(), path.format(name="tiny", version="1", index="0"))
        for path, operations in service.app.openapi()["paths"].items()
        for method in operations
    }
    assert len(found) > 25
    others = {
        "/",
        "/docs",
        "/static/page.js",
        "/openapi.json",
        "/nothing",
        "/livez/",
        "//livez",
        "/livez%20",
    }
    return found | {
        ("GET", path) for path in others | {"/livez/../card", "/%2e%2e/livez", "/LIVEZ"}
    }


async def test_nothing_but_health_answers_without_a_valid_key(keyed: Keyed) -> None:
    service = await keyed(allowed_hosts=("example.com",))  # the host is judged after the key
    wrong: list[Mapping[str, Any] | list[tuple[str, str]]] = [
        {},
        bearer(""),
        bearer(KEY[:-1]),
        bearer(KEY + "0"),
        bearer(KEY.upper()),
        bearer("0" * 20_000),
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": f"Bearer {KEY} {KEY}"},
        {"authorization": b"Bearer \xff\xe9"},
        {"x-api-key": ""},
        {"x-api-key": f"shop:{KEY}"},
        {"x-api-key": KEY, **bearer(KEY)},
        [("x-api-key", KEY), ("x-api-key", "other")],
        {"host": "livez", "x-forwarded-for": "127.0.0.1", "x-original-url": "/livez"},
    ]

    answered = {}
    for method, path in every_path(service) - {("GET", "/livez"), ("GET", "/readyz")}:
        for verb in {method, "HEAD", "OPTIONS"}:
            for headers in wrong if verb == method else wrong[:2]:
                response = await service.client.request(verb, path, headers=headers)
                answered[verb, path, str(headers)] = response.status_code
                assert response.headers["www-authenticate"].startswith("Bearer realm=")

    assert set(answered.values()) == {401}, {key for key, is_ in answered.items() if is_ != 401}


async def test_health_needs_no_key(keyed: Keyed) -> None:
    service = await keyed()

    assert [(await service.client.get(path)).status_code for path in ("/livez", "/readyz")] == [
        200,
        200,
    ]


@pytest.mark.parametrize(
    "headers", [bearer(KEY), {"authorization": f"bearer  {KEY}"}, {"X-Api-Key": KEY}]
)
async def test_a_valid_key_is_answered(headers: dict[str, str], keyed: Keyed) -> None:
    service = await keyed()

    response = await service.client.post("/predict", content=WHITE, headers=PNG | headers)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/predict", "predict"),
        ("POST", "/models/tiny/predict", "predict"),
        ("POST", "/v2/models/tiny/infer", "predict"),
        ("GET", "/card", "read"),
        ("GET", "/metrics", "read"),
        ("GET", "/v2/models/tiny", "read"),
        ("POST", "/v2/repository/models/tiny/load", "admin"),
        ("POST", "/v2/repository/models/tiny/unload/", "admin"),
        ("GET", "/v2/repository/models/tiny/load", "admin"),
    ],
)
async def test_a_key_opens_what_its_scopes_say(
    method: str, path: str, scope: str, keyed: Keyed
) -> None:
    service = await keyed()

    for name, key in {"predict": PREDICTS, "read": READS, "admin": ADMIN}.items():
        response = await service.client.request(method, path, headers=bearer(key))
        if name == scope:
            assert response.status_code not in {401, 403}
        else:
            assert response.status_code == 403
            assert f'scope="{scope}"' in response.headers["www-authenticate"]


async def test_the_description_says_which_scope_a_route_needs(
    keyed: Keyed, serve: Serve, tmp_path: Path
) -> None:
    settings = {"public_routes": ("metrics",), "model_repository": tmp_path / "models"}
    (tmp_path / "models").mkdir()
    described = (await keyed(**settings)).app.openapi()["paths"]
    open_to_all = (await serve(overwrite=True)).app.openapi()["paths"]

    def scopes(method: str, path: str) -> list[str]:
        security = described[path][method].get("security", [{}])
        return list(security[0].get("bearer", []))

    load = "/v2/repository/models/{name}/load"
    assert [scopes("get", path) for path in ("/livez", "/metrics", "/card")] == [[], [], ["read"]]
    assert (scopes("post", "/predict"), scopes("post", load)) == (["predict"], ["admin"])
    assert load not in open_to_all
    assert "security" not in open_to_all["/card"]["get"]


async def test_metrics_and_page_can_be_opened(keyed: Keyed) -> None:
    service = await keyed(public_routes=("metrics", "page"))

    paths = ("/metrics", "/", "/static/page.css", "/docs", "/openapi.json", "/card")
    found = [(await service.client.get(path)).status_code for path in paths]

    assert found == [200, 200, 200, 200, 401, 401]


async def test_the_key_is_judged_before_the_load(keyed: Keyed) -> None:
    engine = Engine()
    service = await keyed(run=engine, max_in_flight=1)
    asks = service.client.post("/predict", content=WHITE, headers=PNG | bearer(KEY))
    running = asyncio.create_task(asks)
    await engine.has_entered()

    without_key = await service.client.post("/predict", content=WHITE, headers=PNG)
    full = await service.client.post("/predict", content=WHITE, headers=PNG | bearer(KEY))
    engine.let_through()

    assert (without_key.status_code, full.status_code) == (401, 503)
    assert (await running).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/predict", {"content-length": "99999999999"}),
        ("/predict", {"transfer-encoding": "chunked"}),
        ("/predict", {"expect": "100-continue", "content-length": "10"}),
        ("/predict", {"content-type": "text/html"}),
        ("/predict", {"content-encoding": "br"}),
        ("/predict", {"x-request-timeout-ms": "1"}),
        ("/predict", {"x-request-timeout-ms": "soon"}),
        ("/predict?top_k=none", {}),
        ("/models/none/predict", {}),
        ("/v2/models/none/infer", {"inference-header-content-length": "x"}),
        ("/v2/repository/index", {"content-length": "99999999999"}),
    ],
)
async def test_no_fault_of_a_request_is_told_before_its_key_is_judged_and_no_body_is_read(
    path: str, headers: dict[str, str], keyed: Keyed
) -> None:
    service = await keyed(client_requests_s=1000)
    bare, _, query = path.partition("?")
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body is read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = httpx_scope(bare) | {"method": "POST", "query_string": query.encode()}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    await service.app(scope, receive, send)

    assert sent[0]["status"] == 401


async def test_log_and_metrics_have_the_name_of_the_key_alone(
    keyed: Keyed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "service")
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(recorder, "log_request", lambda _, fields: logged.append(fields))
    service = await keyed()

    await service.client.post("/predict", content=WHITE, headers=PNG | bearer(KEY))
    await service.client.get("/card", headers=bearer("a wrong secret".replace(" ", "-")))
    metrics = (await service.client.get("/metrics", headers=bearer(READS))).text

    assert [(line.get("key"), line.get("code")) for line in logged[:2]] == [
        ("shop", None),
        (None, "unauthorized"),
    ]
    assert 'resnet_key_requests_total{key="shop"} 1.0' in metrics
    told = str(logged) + caplog.text + metrics
    assert not [key for key in (KEY, READS, "wrong-secret") if key in told]


async def test_keys_are_read_again_with_the_models(
    keyed: Keyed, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "service")
    service = await keyed()
    keys.write_text("shop: another-key")  # noqa: ASYNC240  # a short one
    await service.app.state.service.reload()
    after = await service.client.get("/card", headers=bearer("another-key"))
    before = await service.client.get("/card", headers=bearer(KEY))
    keys.write_text("malformed")  # noqa: ASYNC240
    await service.app.state.service.reload()
    await service.app.state.service.reload()
    still = await service.client.get("/card", headers=bearer("another-key"))

    assert (after.status_code, before.status_code, still.status_code) == (200, 401, 200)
    said = [line for line in caplog.messages if line.startswith("keys")]
    assert said == ["keys read", "keys refused"]


async def test_an_empty_file_of_keys_stops_the_start(keyed: Keyed, keys: Path) -> None:
    keys.write_text("")  # noqa: ASYNC240

    with pytest.raises(StartError, match="has no key"):
        await keyed()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("example.com", 200),
        ("EXAMPLE.com:8080", 200),
        ("a.b.example.org", 200),
        ("[::1]:80", 200),
        ("example.org", 400),
        ("evilexample.org", 400),
        ("example.com.evil", 400),
        ("", 400),
    ],
)
async def test_other_hosts_are_refused(host: str, status: int, serve: Serve) -> None:
    service = await serve(allowed_hosts=("example.com", "*.example.org", "[::1]"))

    assert (await service.client.get("/card", headers={"host": host})).status_code == status
    assert (await service.client.get("/readyz", headers={"host": host})).status_code == 200


async def test_scripts_of_a_named_origin_may_ask_with_a_key(keyed: Keyed) -> None:
    service = await keyed(cors_origins=("https://shop.example",))
    preflight = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-request-timeout-ms",
    }

    async def ask(origin: str) -> list[Any]:
        asked = await service.client.options("/predict", headers={"origin": origin, **preflight})
        headers = PNG | bearer(KEY) | {"origin": origin}
        answered = await service.client.post("/predict", content=WHITE, headers=headers)
        refused = await service.client.post("/predict", headers={"origin": origin})
        name = "access-control-allow-origin"
        return [(each.status_code, each.headers.get(name)) for each in (asked, answered, refused)]

    ours, theirs = "https://shop.example", "https://evil.example"
    assert await ask(ours) == [(200, ours), (200, ours), (401, ours)]
    assert await ask(theirs) == [(401, None), (200, None), (401, None)]
    response = await service.client.get("/livez", headers={"origin": ours})
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert {"Server-Timing", "Retry-After", "X-Request-Id"} <= exposed
    assert "access-control-allow-credentials" not in response.headers


async def test_a_prefix_of_the_proxy_changes_no_answer(serve: Serve) -> None:
    service = await serve(root_path="/resnet", client_requests_s=100)

    for path in ("/resnet/predict", "/predict"):
        answer = await service.client.post(path, content=WHITE, headers=PNG)
        assert answer.status_code == 200
    assert (await service.client.get("/resnet/livez/")).status_code == 200
    assert (await service.client.get("/resnet/v2/models/no")).json().keys() == {"error"}
    assert (await service.client.get("/resnet/static/index.html")).status_code == 200
