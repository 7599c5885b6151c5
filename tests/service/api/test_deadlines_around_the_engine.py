"""The deadline while a body is read, before the engine, and an answer is written, after it."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from service.api.payloads import read_payloads
from service.api.shedding import TIMEOUT_HEADER
from service.api.v2.codec import read_request
from service.api.v2.outputs import write_response
from service.cancellation import Disconnect
from service.errors import ClientDisconnectedError, DeadlineExceededError
from service.postprocessing.trust import PredictOptions
from tests.service.classifying import TOP_1, predict
from tests.service.conftest import Serve, Service
from tests.service.images import WHITE, encode, fashion_images

pytestmark = pytest.mark.anyio

DRAWN = PredictOptions(top_k=1, explain=True, draw=True)
IMAGE = encode(Image.fromarray(fashion_images()[0][0]))
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 1], "data": [255] * 16}
INFER = "/v2/models/tiny/infer"


def slowly(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Do the same, but not so soon."""

    def slow(*given: Any, **more: Any) -> Any:
        time.sleep(seconds)
        return function(*given, **more)

    return slow


async def ask(service: Service, path: str, timeout_ms: int, **more: Any) -> httpx.Response:
    headers = {TIMEOUT_HEADER: str(timeout_ms)}
    return await service.client.post(path, headers=headers, **more)


@pytest.mark.parametrize("size", [100, 100_000])
async def test_a_form_that_takes_too_long_to_read_is_too_late(
    size: int, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.routes.predict.read_payloads", slowly(read_payloads, 0.3))
    service = await serve()

    response = await ask(service, "/predict", 250, files=[("file", WHITE + bytes(size))])

    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert "while the body was read" in response.json()["detail"]
    assert service.classifier.batcher.executed == 0


async def test_what_is_left_of_the_deadline_counts_for_the_engine(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    monkeypatch.setattr("service.api.routes.predict.read_payloads", slowly(read_payloads, 0.3))
    service = await serve()
    submit = service.classifier.batcher.submit

    def note(images: Any, deadline: float, *more: Any, **named: Any) -> Any:
        left.append(deadline - time.perf_counter())
        return submit(images, deadline, *more, **named)

    monkeypatch.setattr(service.classifier.batcher, "submit", note)
    response = await ask(service, "/predict", 5_000, files=[("file", WHITE)])

    assert response.status_code == 200
    assert len(left) == 1
    assert left[0] < 4.7


async def test_a_tensor_that_takes_too_long_to_read_is_too_late(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.v2.infer.read_request", slowly(read_request, 0.3))
    service = await serve()

    response = await ask(service, INFER, 250, json={"inputs": [TENSOR]})
    after = await ask(service, INFER, 5_000, json={"inputs": [TENSOR]})

    assert (response.status_code, after.status_code) == (504, 200)
    assert "while the body was read" in response.json()["error"]
    assert service.classifier.batcher.executed == 1


async def test_an_answer_that_takes_too_long_to_write_is_not_given(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.v2.infer.write_response", slowly(write_response, 1))
    service = await serve()

    response = await ask(service, INFER, 900, json={"inputs": [TENSOR]})

    assert response.status_code == 504
    assert "while the answer was written" in response.json()["error"]
    assert service.classifier.batcher.executed == 1


@pytest.fixture
def drawn(shipped: Service, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is drawn, each in a second."""
    if shipped.classifier.manifest.reference is None:
        pytest.skip("the shipped artifact gives no maps")
    drawings: list[object] = []

    def draw(*given: object) -> bytes:
        drawings.append(given)
        time.sleep(1)
        return b""

    monkeypatch.setattr("service.postprocessing.explain.overlay", draw)
    return drawings


async def test_a_drawing_that_ends_too_late_is_not_given(
    shipped: Service, drawn: list[object]
) -> None:
    content = {"images": [base64.b64encode(IMAGE).decode()]}

    response = await ask(shipped, "/predict?explain=png", 900, json=content)

    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert "while the maps were drawn" in response.json()["detail"]
    assert len(drawn) == 1


async def test_what_is_drawn_is_in_flight_but_no_longer_the_engines(
    shipped: Service, drawn: list[object]
) -> None:
    classifier = shipped.classifier
    outcome = await predict(shipped, [IMAGE], 10, Disconnect(), DRAWN)

    drawing = asyncio.create_task(shipped.classifier.results(outcome, DRAWN))
    await asyncio.sleep(0.1)

    assert (classifier.in_flight, classifier.admission.in_flight, len(drawn)) == (1, 0, 1)
    await drawing
    assert classifier.in_flight == 0


async def test_nothing_is_drawn_for_who_has_left(shipped: Service, drawn: list[object]) -> None:
    disconnect = Disconnect()
    outcome = await predict(shipped, [IMAGE], 10, disconnect, DRAWN)

    disconnect()
    with pytest.raises(ClientDisconnectedError):
        await shipped.classifier.results(outcome, DRAWN)

    assert drawn == []


async def test_an_answer_of_many_labels_is_not_given_too_late(
    shipped: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.registry.classifier.INLINE_LABELS", 0)
    outcome = await predict(shipped, [IMAGE], 5)

    late = outcome._replace(deadline=time.perf_counter())
    with pytest.raises(DeadlineExceededError, match="while the answer was written"):
        await shipped.classifier.results(late, TOP_1)

    assert len(await shipped.classifier.results(outcome, TOP_1)) == 1
