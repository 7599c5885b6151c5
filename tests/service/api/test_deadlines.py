"""`X-Request-Timeout-Ms` and `RESNET_DEADLINE_S`, from admission to the engine."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model.preprocessing import Preprocessing
from service.api.shedding import TIMEOUT_HEADER
from service.cancellation import Disconnect
from service.cpus import usable_cores
from service.errors import ClientDisconnectedError, DeadlineExceededError
from service.inference.batcher import Batcher
from service.inference.cost import CostModel
from service.preprocessing import prepare
from service.preprocessing.prepare import PreparedImage, read_prepared
from tests.service.classifying import predict
from tests.service.conftest import Gate, Serve, Service, replace_cost
from tests.service.images import BLACK, WHITE, encode

pytestmark = pytest.mark.anyio


async def ask(service: Service, timeout_ms: object, **more: Any) -> httpx.Response:
    headers = {"x-request-timeout-ms": str(timeout_ms)}
    return await service.client.post("/predict", headers=headers, **{"content": WHITE, **more})


def executed(service: Service) -> float | None:
    registry = service.app.state.service.telemetry.registry
    value: float | None = registry.get_sample_value("resnet_images_executed_total")
    return value


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1.5", "", "86400001", "9" * 400])
async def test_a_timeout_out_of_its_bounds_is_refused_by_its_name(
    text: str, shipped: Service
) -> None:
    response = await ask(shipped, text)

    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")
    assert "header.timeout_ms" in response.json()["detail"]


async def test_a_request_that_can_be_answered_in_time_is(shipped: Service) -> None:
    assert (await ask(shipped, 86_400_000)).status_code == 200


@pytest.mark.parametrize(("wanted_ms", "limit_ms"), [(100, 10_000), (60_000, 100)])
async def test_the_nearer_of_both_deadlines_counts(
    wanted_ms: int, limit_ms: int, serve: Serve
) -> None:
    gate = Gate()
    service = await serve(run=gate, deadline_s=limit_ms / 1000)

    began = time.perf_counter()
    response = await ask(service, wanted_ms)
    took_s = time.perf_counter() - began
    gate.let_through()

    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert 0.09 < took_s < 5
    assert service.classifier.admission.in_flight == 0


async def test_what_expires_in_the_queue_never_runs(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    running = asyncio.create_task(ask(service, 20_000, content=BLACK))
    await gate.has_entered()

    late = await asyncio.gather(*(ask(service, 60) for _ in range(10)))
    gate.let_through(99)
    ran = await running
    after = await ask(service, 20_000, content=BLACK)

    assert [response.status_code for response in late] == [504] * 10
    assert (ran.status_code, after.status_code) == (200, 200)
    assert gate.batches == [[0], [0]]
    assert executed(service) == 2


async def test_a_deadline_that_the_rate_cannot_meet_is_refused_at_the_door(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    replace_cost(service.classifier, CostModel({1: 1.5}))
    running = asyncio.create_task(ask(service, 9_000))
    await gate.has_entered()

    began = time.perf_counter()
    refused = await ask(service, 1_900, content=b"not even an image")
    took_s = time.perf_counter() - began
    gate.let_through()

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "2"  # 2 x 1.5 s are needed, 1.9 are there
    about = r"the answer would take about 3 s; the deadline is in 1\.[1-9] s"
    assert re.search(about, refused.json()["detail"])
    assert took_s < 1.5
    assert (await running).status_code == 200
    assert executed(service) == 1


@pytest.mark.parametrize("count", [1, 3])
async def test_images_that_take_longer_than_the_deadline_even_alone_are_refused(
    count: int, serve: Serve
) -> None:
    service = await serve()
    replace_cost(service.classifier, CostModel({1: 0.4}))

    response = await ask(service, 300 * count, content=None, files=[("file", WHITE)] * count)

    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert "retry-after" not in response.headers  # coming back would not help
    smallest = re.search(r"llow at least (\d+) ms", response.json()["detail"])
    assert smallest is not None
    assert executed(service) == 0
    again = await ask(service, smallest[1], content=None, files=[("file", WHITE)] * count)
    assert again.status_code == 200


async def test_a_deadline_that_cannot_be_met_is_told_so_under_v2_too(serve: Serve) -> None:
    service = await serve()
    replace_cost(service.classifier, CostModel({1: 0.4}))
    body = {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": ["AA=="]}]}

    response = await service.client.post(
        "/v2/models/tiny-image/infer", json=body, headers={TIMEOUT_HEADER: "300"}
    )

    assert response.status_code == 504
    assert "retry-after" not in response.headers
    assert "llow at least 600 ms" in response.json()["error"]
    assert executed(service) == 0


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("moment", ["start", "use", "all of use", "decoding"])
async def test_an_idle_service_accepts_whatever_was_measured_at_a_bad_moment(
    moment: str, count: int, serve: Serve
) -> None:
    service = await serve()
    batcher = service.classifier.batcher
    if moment == "start":
        replace_cost(service.classifier, CostModel({1: 100.0, 32: 3_200.0}))
    for _ in range({"use": 1, "all of use": 100}.get(moment, 0)):
        batcher.cost.update(1, 100)
    if moment == "decoding":
        batcher.cost.update_decode(100, 1)
    photograph = encode(Image.new("L", (600, 600)))
    files = [("file", photograph)] * count

    first, second = [
        await ask(service, 10_000, content=None, files=files, data={}) for _ in range(2)
    ]

    assert (first.status_code, second.status_code) == (200, 200)
    assert batcher.cost.estimate_wait_s(2 * count, is_idle=True) < 1


async def test_an_idle_service_tries_a_short_deadline_when_nothing_has_run_for_long(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()
    replace_cost(service.classifier, CostModel({1: 2.0}))
    refused = await ask(service, 1_000)
    monkeypatch.setattr("service.inference.cost.TRUST_S", 0)
    tried = await ask(service, 1_000)
    monkeypatch.undo()
    healed = await ask(service, 1_000)

    assert [each.status_code for each in (refused, tried, healed)] == [504, 200, 200]


async def test_a_rate_spoilt_by_slow_runs_heals(serve: Serve) -> None:
    service = await serve()
    plan = service.classifier.batcher.cost
    for _ in range(100):
        plan.update(1, 10_000)
    spoilt_s = plan.estimate_wait_s(1)

    statuses = {(await ask(service, 5_000)).status_code for _ in range(120)}

    assert statuses == {200}
    assert spoilt_s > 900
    assert plan.estimate_wait_s(1) < 1


async def test_there_is_no_answer_after_the_deadline_even_if_the_timer_is_late() -> None:
    gate = Gate()
    batcher = Batcher(gate, CostModel({1: 1e-4}), max_batch_size=1)
    batcher.start()
    deadline = time.perf_counter() + 1
    request = batcher.submit([np.zeros((1, 1, 1), np.uint8)], deadline)
    await gate.has_entered()
    await asyncio.sleep(deadline - time.perf_counter() + 0.01)
    gate.let_through()

    with pytest.raises(DeadlineExceededError):
        await request.future
    await batcher.stop()

    assert batcher.executed == 1


async def test_what_nobody_waits_for_is_not_decoded(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    release = threading.Event()

    def slow(image: Image.Image, spec: Preprocessing, index: int) -> PreparedImage:
        begun.append(index)
        release.wait(10)
        return read_prepared(image, spec, index)

    monkeypatch.setattr(prepare, "read_prepared", slow)  # what the pool runs
    service = await serve()
    large = encode(Image.new("L", (600, 600)))

    late = await service.client.post(
        "/predict",
        files=[("file", large)] * 20,
        headers={TIMEOUT_HEADER: "300"},
    )
    release.set()
    service.classifier._preprocessor.pool.shutdown()

    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert "while the images were decoded" in late.json()["detail"]
    assert len(begun) <= usable_cores()
    assert executed(service) == 0


async def test_who_leaves_while_decoding_is_no_longer_decoded_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, disconnect = threading.Event(), Disconnect()
    monkeypatch.setattr(prepare, "read_prepared", lambda *_: release.wait(10))
    service = await serve()
    payload = encode(Image.new("L", (600, 600)))

    asked = asyncio.create_task(predict(service, [payload] * 20, disconnect=disconnect))
    await asyncio.sleep(0.2)
    disconnect()
    with pytest.raises(ClientDisconnectedError):
        await asked
    release.set()

    assert service.classifier.admission.in_flight == 0


async def test_bodies_have_a_budget_together(serve: Serve) -> None:
    service = await serve(max_buffered_bytes=3_000, max_body_bytes=2_000)
    more = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(1_900)
        await more.wait()

    first = asyncio.create_task(service.client.post("/predict", content=slow()))
    while not service.app.state.service.budget.buffered:  # noqa: ASYNC110  # no event for it
        await asyncio.sleep(0.01)
    refused = await service.client.post("/predict", content=bytes(1_900))
    more.set()
    await first
    answered = await service.client.post("/predict", content=BLACK)

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert "RESNET_MAX_BUFFERED_BYTES" in refused.json()["detail"]
    assert refused.headers["retry-after"] == "1"
    assert answered.status_code == 200
    assert service.app.state.service.budget.buffered == 0
