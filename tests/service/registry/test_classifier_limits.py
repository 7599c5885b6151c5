"""Limits of the classifier: pixels, slots, deadlines, disconnected clients, stalled runs."""

import asyncio
import math
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.cancellation import Disconnect
from service.errors import (
    ClientDisconnectedError,
    DeadlineExceededError,
    ImageTooLargeError,
    OverloadedError,
)
from service.preprocessing import decode, prepare
from service.registry import classifier
from tests.service.classifying import classify, predict, predict_tensors
from tests.service.conftest import Gate, Serve
from tests.service.images import BLACK, WHITE, encode, png_by_hand, striped


@pytest.mark.anyio
async def test_images_of_one_request_share_a_limit_of_pixels(serve: Serve) -> None:
    service = await serve(max_pixels=100)
    hundred = encode(Image.new("L", (10, 10)))

    four = await classify(service, [hundred] * 4)
    with pytest.raises(ImageTooLargeError, match="5 images have 500 pixels together; the limit"):
        await classify(service, [hundred] * 5)

    assert len(four) == 4


@pytest.mark.anyio
async def test_the_shared_limit_is_checked_before_anything_is_decoded(serve: Serve) -> None:
    service = await serve()
    large = png_by_hand(4_900, 4_900, 1, 0, bytes(4_900 // 8 + 1))

    began = time.process_time()
    with pytest.raises(ImageTooLargeError):
        await classify(service, [large] * 64)

    assert time.process_time() - began < 1  # decoded, it would be 1.5 billion pixels


@pytest.mark.anyio
async def test_a_full_queue_refuses_before_it_decodes(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate, max_in_flight=1)
    running = asyncio.create_task(classify(service, [WHITE]))
    await gate.has_entered()

    with pytest.raises(OverloadedError):
        await classify(service, [b"not even an image"])

    gate.let_through()
    assert len(await running) == 1


@pytest.mark.anyio
async def test_a_request_past_its_deadline_is_dropped_and_leaves_its_places(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate, deadline_s=0.15, max_in_flight=3)

    began = time.perf_counter()
    with pytest.raises(DeadlineExceededError, match=r"No answer after [0-4]\.\d+ s"):
        await classify(service, [WHITE])

    assert 0.1 < time.perf_counter() - began < 5
    assert service.classifier.admission.in_flight == 0
    gate.let_through()


@pytest.mark.anyio
async def test_what_waits_past_its_deadline_is_never_run(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate, deadline_s=0.3)
    running = asyncio.create_task(classify(service, [WHITE]))
    await gate.has_entered()
    waiting = asyncio.create_task(classify(service, [BLACK]))

    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    gate.let_through()
    gate.let_through()
    await asyncio.sleep(0.05)

    assert [type(outcome) for outcome in outcomes] == [DeadlineExceededError] * 2
    assert gate.batches == [[255]]


@pytest.mark.anyio
async def test_a_deadline_that_passes_while_images_are_decoded_runs_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()

    def slowly(*given: Any) -> Image.Image:
        time.sleep(0.1)
        return decode.read_image(*given)

    monkeypatch.setattr(prepare, "read_image", slowly)

    with pytest.raises(DeadlineExceededError, match="while the images were decoded"):
        await predict(service, [encode(striped())], timeout_s=0.05)

    assert service.classifier.batcher.executed == 0
    assert service.classifier.admission.in_flight == 0


@pytest.mark.anyio
async def test_a_client_that_left_before_its_turn_is_never_run(serve: Serve) -> None:
    service = await serve()
    disconnect = Disconnect()
    disconnect()

    with pytest.raises(ClientDisconnectedError):
        await predict(service, [WHITE], disconnect=disconnect)
    with pytest.raises(ClientDisconnectedError):
        await predict_tensors(service, [np.zeros((4, 4, 1), np.uint8)], disconnect)

    assert service.classifier.batcher.executed == 0
    assert service.classifier.admission.in_flight == 0


@pytest.mark.anyio
async def test_a_run_that_does_not_end_is_stuck(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STALL_TIMEOUT_S", 0.05)
    gate = Gate()
    service = await serve(run=gate)
    task = asyncio.create_task(classify(service, [WHITE]))
    await gate.has_entered()

    before = service.classifier.is_stalled
    await asyncio.sleep(0.1)
    during = service.classifier.is_stalled
    gate.let_through()
    await task

    assert (before, during, service.classifier.is_stalled) == (False, True, False)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_engine_whose_thread_has_ended_is_stuck(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise SystemError("The thread ends here.")

    service = await serve()
    batcher = service.classifier.batcher
    monkeypatch.setattr("service.inference.batch.Batch.run", end)  # no engine's error ends a thread

    before = await service.client.get("/livez")
    with pytest.raises(DeadlineExceededError):
        await predict(service, [WHITE], timeout_s=0.5)
    after = await service.client.get("/livez")

    assert before.status_code == 200
    assert (after.status_code, after.json()["code"]) == (503, "engine_stalled")
    assert batcher.stalled_s() == math.inf
    await batcher.stop()
    assert not service.classifier.is_stalled
