import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.api.schemas import Health
from service.registry import classifier
from tests.service.conftest import Gate, Serve, Service
from tests.service.images import BLACK, WHITE

pytestmark = pytest.mark.anyio

Labels = frozenset[tuple[str, str]]


async def scrape(service: Service) -> dict[tuple[str, Labels], float]:
    """All samples, by name and labels."""
    response = await service.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: dict[tuple[str, Labels], float], name: str, /, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_service_that_has_started_is_well(path: str, serve: Serve) -> None:
    service = await serve()

    response = await service.client.get(path)

    assert response.status_code == 200
    health = Health.model_validate_json(response.content)
    assert health.status == "ok"
    assert health.model == service.classifier.info


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_stuck_engine_is_neither_alive_nor_ready_until_it_moves(
    path: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STALL_TIMEOUT_S", 0.05)
    gate = Gate()
    service = await serve(run=gate)
    task = asyncio.create_task(service.client.post("/predict", content=WHITE))
    await gate.has_entered()
    await asyncio.sleep(0.1)

    stuck = await service.client.get(path)
    gate.let_through()
    await task
    moving = await service.client.get(path)

    assert (stuck.status_code, stuck.json()["code"]) == (503, "engine_stalled")
    assert moving.status_code == 200


async def test_a_busy_engine_is_well(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    task = asyncio.create_task(service.client.post("/predict", content=WHITE))
    await gate.has_entered()

    statuses = [(await service.client.get(path)).status_code for path in ("/livez", "/readyz")]
    gate.let_through()
    await task

    assert statuses == [200, 200]


async def test_a_draining_service_lives_and_answers_but_is_not_ready(serve: Serve) -> None:
    service = await serve()
    service.app.state.service.draining = True

    ready = await service.client.get("/readyz")
    alive = await service.client.get("/livez")
    answer = await service.client.post("/predict", content=WHITE)

    assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
    assert (alive.status_code, answer.status_code) == (200, 200)
    assert {item.headers["connection"] for item in (ready, alive, answer)} == {"close"}


async def test_a_service_that_does_not_drain_keeps_connections(serve: Serve) -> None:
    response = await (await serve()).client.get("/livez")

    assert "connection" not in response.headers


async def test_metrics_count_what_was_sent(serve: Serve) -> None:
    service = await serve(max_pixels=16)
    ask = service.client.post
    await ask("/predict", content=WHITE)
    await ask("/predict", files=[("file", WHITE), ("file", BLACK)])
    await ask("/predict", content=b"junk")
    await ask("/predict", content=b"junk")
    await service.client.get("/architecture")

    samples = await scrape(service)

    requests = "resnet_requests_total"
    assert value(samples, requests, route="/predict", method="POST", status="200") == 2
    assert value(samples, requests, route="/predict", method="POST", status="422") == 2
    assert value(samples, requests, route="/architecture", method="GET", status="200") == 1
    assert value(samples, "resnet_request_duration_seconds_count", route="/predict") == 4
    assert value(samples, "resnet_request_failures_total", code="invalid_image") == 2
    assert value(samples, "resnet_images_total") == 3
    assert value(samples, "resnet_batch_size_images_count") == 2
    assert value(samples, "resnet_batch_size_images_sum") == 3
    for stage in ("decode", "preprocess", "queue", "infer"):
        assert value(samples, "resnet_stage_duration_seconds_count", stage=stage) == 2
    assert value(samples, "resnet_images_executed_total") == 3
    assert value(samples, "resnet_images_in_flight") == 0
    assert value(samples, "resnet_queue_images") == 0
    assert (
        value(
            samples,
            "resnet_model_info",
            name="tiny",
            version="1",
            precision="float32",
            provider="cpu",
            architecture="mini_resnet",
        )
        == 1
    )


async def test_metrics_show_what_is_under_way(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    task = asyncio.create_task(service.client.post("/predict", files=[("file", WHITE)] * 3))
    await gate.has_entered()

    during = value(await scrape(service), "resnet_images_in_flight")
    gate.let_through()
    await task

    assert during == 3
    assert value(await scrape(service), "resnet_images_in_flight") == 0


async def test_clients_cannot_add_label_values(serve: Serve) -> None:
    service = await serve()

    async def visit(number: int) -> None:
        headers = {"x-request-id": f"id-{number}"}
        await service.client.get(f"/random/{number}", headers=headers)
        await service.client.get(f"/static/{number}.js")
        await service.client.post(f"/predict?top_k=1&x{number}=1", content=WHITE)
        await service.client.request(f"METHOD{number}", "/predict")
        await service.client.request(f"METHOD{number}", "/elsewhere")
        await service.client.post("/predict", content=b"x", headers={"content-type": f"a/{number}"})

    for number in range(3):
        await visit(number)
    await scrape(service)
    before = set(await scrape(service))
    for number in range(3, 20):
        await visit(number)
    after = set(await scrape(service))

    assert after == before


async def test_two_applications_count_apart(serve: Serve) -> None:
    first = await serve()
    second = await serve(overwrite=True)

    await first.client.post("/predict", content=WHITE)

    assert value(await scrape(first), "resnet_images_total") == 1
    assert value(await scrape(second), "resnet_images_total") == 0


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_monitors_may_ask_without_a_body(path: str, serve: Serve) -> None:
    service = await serve()

    response = await service.client.head(path)

    assert response.status_code == 200
