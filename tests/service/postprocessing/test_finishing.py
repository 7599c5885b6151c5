"""Drawing, and writing many labels: bounded, and no other request waits for it."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from PIL import Image

from service.app import create_app
from service.errors import OverloadedError
from service.postprocessing.finishing import Finishing
from service.settings import Settings
from tests.service.classifying import predict
from tests.service.conftest import LEAN, SHIPPED, Service, serving
from tests.service.images import encode, fashion_images

pytestmark = pytest.mark.anyio

IMAGE = encode(Image.fromarray(fashion_images()[0][0]))
SLOTS = 4


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The shipped model, with few slots."""
    given: dict[str, Any] = {"max_in_flight": SLOTS, "max_images": SLOTS, **LEAN}
    settings = Settings(artifact=SHIPPED, **given)
    async with serving(create_app(settings)) as service:
        if service.classifier.manifest.reference is None:
            pytest.skip("the shipped artifact gives no maps")
        yield service


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Lets drawings end."""
    released = threading.Event()

    def draw(*_: object) -> bytes:
        released.wait(20)
        return b""

    monkeypatch.setattr("service.postprocessing.explain.overlay", draw)
    return released


async def ask(service: Service, query: str = "", count: int = 1) -> httpx.Response:
    content = {"images": [base64.b64encode(IMAGE).decode()] * count}
    return await service.client.post(f"/predict{query}", json=content)


async def test_who_wants_no_drawing_is_answered_however_many_wait_for_one(
    service: Service, release: threading.Event
) -> None:
    drawing = [asyncio.create_task(ask(service, "?explain=png", 2)) for _ in range(2)]
    classifier = service.classifier
    while classifier.in_flight < SLOTS or classifier.admission.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    plain = [await ask(service, query) for query in ("", "?explain=true", "?coverage=0.9")]
    executed = service.classifier.batcher.executed
    refused = await ask(service, "?explain=png")
    executed_after = service.classifier.batcher.executed
    service.app.state.service.telemetry.refresh(service.app.state.service.models)
    in_flight = service.app.state.service.telemetry.registry.get_sample_value(
        "resnet_images_in_flight"
    )
    release.set()
    drawn = await asyncio.gather(*drawing)

    assert [each.status_code for each in plain] == [200] * 3
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert "4 images wait to be drawn" in refused.json()["detail"]
    assert executed_after == executed  # refused before the engine ran it
    assert in_flight == SLOTS
    assert [each.status_code for each in drawn] == [200] * 2
    assert service.classifier.in_flight == 0
    assert (await ask(service, "?explain=png")).status_code == 200


async def test_many_labels_are_ranked_and_written_beside_the_event_loop(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    write = service.classifier._write

    def note(*given: object) -> object:
        threads.append(threading.current_thread().name)
        return write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(service.classifier, "_write", note)
    outcome = await predict(service, [IMAGE] * SLOTS)

    await service.classifier.results(outcome)
    monkeypatch.setattr("service.registry.classifier.INLINE_PROBABILITIES", 10 * SLOTS - 1)
    await service.classifier.results(outcome)

    assert threads[0] == threading.current_thread().name
    assert threads[1].startswith("written")


async def test_what_would_be_finished_too_late_is_refused_unless_nothing_waits() -> None:
    finishing = Finishing("drawn", 100)
    finishing._image_s = 2.0

    finishing.check(50, 10)
    with finishing.occupy(3):
        finishing.check(2, 10)
        with pytest.raises(OverloadedError, match="about 12 s; the deadline is in 10 s") as refused:
            finishing.check(3, 10)

    assert refused.value.retry_after_s == 2
    assert finishing.images == 0


async def test_one_slow_drawing_refuses_nobody_for_long() -> None:
    finishing = Finishing("drawn", 100)
    finishing._image_s = 100.0

    for _ in range(60):
        await finishing.run(1, lambda: None)

    with finishing.occupy(1):
        finishing.check(1, 1)
    finishing.pool.shutdown()


async def test_work_that_fails_is_counted_no_longer() -> None:
    finishing = Finishing("drawn", 100)

    def fail() -> None:
        raise OSError("The disk is full.")

    with pytest.raises(OSError, match="disk is full"):
        await finishing.run(3, fail)

    assert finishing.images == 0
    finishing.pool.shutdown()
