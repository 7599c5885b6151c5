"""Where decoding is slower than the engine, it is what admission goes by."""

import asyncio
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model.preprocessing import Preprocessing
from service.api.shedding import TIMEOUT_HEADER
from service.cancellation import Disconnect
from service.errors import DeadlineExceededError, InvalidImageError, OverloadedError
from service.inference.admission import Admission
from service.inference.cost import DECODE_SAFETY, CostModel
from service.preprocessing import decode, prepare
from service.preprocessing.prepare import INLINE_DECODE_BYTES, Preprocessor
from service.registry.loading import load_classifier
from service.settings import Settings
from tests.service.batching import admission_of, admitted
from tests.service.conftest import MakeArtifact, Serve
from tests.service.decoding import LIMIT, SPEC, within
from tests.service.images import WHITE, encode

pytestmark = pytest.mark.anyio

DECODE_S, TIMEOUT_S, REQUESTS = 0.02, 0.5, 400
LARGE = encode(Image.new("L", (600, 600)))
"""Few bytes, but more pixels than are decoded on the event loop."""
HEAVY = bytes(2 * INLINE_DECODE_BYTES + 1)
"""More bytes than any image has that is decoded there."""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "usable_cores", lambda **_: 1)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is decoded, each in `DECODE_S` and a little more."""
    indices: list[int] = []

    def slow(image: Image.Image, spec: Preprocessing, index: int) -> Image.Image:
        indices.append(index)
        time.sleep(DECODE_S)
        return decode.read_image(image, spec, index)

    monkeypatch.setattr(prepare, "read_image", slow)
    return indices


def preprocessor_for(admission: Admission) -> Preprocessor:
    return Preprocessor(SPEC, LIMIT, on_decoded=admission.cost.update_decode)


def slow_at_decoding(admission: Admission, image_s: float = 1.0) -> None:
    admission.cost.update_decode(image_s, 1)


@pytest.mark.parametrize("images", [1, 3])
async def test_what_cannot_be_decoded_in_time_is_refused_at_once_and_the_rest_is_answered(
    images: int, decoded: list[int]
) -> None:
    admission = admission_of(10_000)
    preprocessor = preprocessor_for(admission)
    refused: list[OverloadedError] = []
    outcomes = {"answered": 0, "expired": 0}

    async def ask() -> None:
        try:
            with admitted(admission, images, TIMEOUT_S):
                await preprocessor.prepare(
                    [LARGE] * images, within(TIMEOUT_S), Disconnect(), admission.decode_slot
                )
            outcomes["answered"] += 1
        except OverloadedError as error:
            refused.append(error)
        except DeadlineExceededError:
            outcomes["expired"] += 1

    asked, at_once, began = [], 0, time.perf_counter()
    for number in range(REQUESTS // images):  # at four times the pool's rate
        await asyncio.sleep(began + number * images * DECODE_S / 4 - time.perf_counter())
        before = len(refused)
        asked.append(asyncio.create_task(ask()))
        await asyncio.sleep(0)
        at_once += len(refused) - before
    await asyncio.gather(*asked)

    assert at_once == len(refused) > len(asked) / 3
    assert all((error.retry_after_s or 0) >= 1 for error in refused)
    assert outcomes["answered"] * images > 0.7 * len(decoded)  # hardly any was in vain
    assert outcomes["expired"] < outcomes["answered"] / 4
    assert (admission.in_flight, admission.decoding_images) == (0, 0)


async def test_a_small_image_does_not_wait_for_the_pool_and_is_not_refused_for_it() -> None:
    admission = admission_of()
    preprocessor = preprocessor_for(admission)
    slow_at_decoding(admission)

    with admitted(admission, 9, 60), admission.decode_slot(9, 60):
        with admitted(admission, 1, 5):
            ready = await preprocessor.prepare(
                [WHITE], within(5), Disconnect(), admission.decode_slot
            )
        with admitted(admission, 1, 5), pytest.raises(OverloadedError) as refused:
            await preprocessor.prepare([LARGE], within(5), Disconnect(), admission.decode_slot)
        assert admission.decoding_images == 9

    assert len(ready) == 1
    assert refused.value.retry_after_s == 11  # 1.5 x 10 s and a run are needed, 5 are there


async def test_an_idle_pool_rejects_nothing_however_slow_the_last_image_was() -> None:
    admission = admission_of()
    preprocessor = preprocessor_for(admission)
    for _ in range(100):
        slow_at_decoding(admission, 1_000)
    spoilt_s = admission.cost.estimate_wait_s(0, 1)

    for _ in range(120):
        with admitted(admission, 1, 5):
            await preprocessor.prepare([LARGE], within(5), Disconnect(), admission.decode_slot)

    assert spoilt_s > 100
    assert admission.cost.estimate_wait_s(0, 1) < 5


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError, KeyboardInterrupt])
async def test_what_is_no_longer_decoded_is_not_waited_for(kind: type[BaseException]) -> None:
    admission = admission_of()

    with pytest.raises(kind), admission.decode_slot(5, 10):
        raise kind

    assert admission.decoding_images == 0


@pytest.mark.parametrize(("undecoded", "retry_after_s"), [(100, 8), (97, 4), (95, 1)])
async def test_places_come_free_as_soon_as_the_slower_stage_lets_them(
    undecoded: int, retry_after_s: int
) -> None:
    admission = admission_of(100)
    slow_at_decoding(admission)

    with (
        admitted(admission, 100, 1_000),
        admission.decode_slot(undecoded, 1_000),
        pytest.raises(OverloadedError, match="5 more do not fit") as refused,
    ):
        admission.acquire(5, 1_000)

    assert refused.value.retry_after_s == retry_after_s


async def test_the_rate_of_decoding_is_that_of_all_threads_from_the_first_image_on() -> None:
    plan = CostModel({1: 0.01})

    plan.update_decode(0.2, 4)
    first = plan.estimate_wait_s(0, 8)
    for _ in range(100):
        plan.update_decode(0.4, 4)

    assert first == pytest.approx(DECODE_SAFETY * 8 * 0.05 + 0.01)  # and a run of the engine
    assert plan.estimate_wait_s(0, 8) == pytest.approx(DECODE_SAFETY * 8 * 0.1 + 0.01, rel=0.01)
    assert plan.estimate_wait_s(1_000, 8) == pytest.approx(10)  # the engine is slower
    assert plan.estimate_wait_s(8) == pytest.approx(0.08)


async def test_the_pool_reports_the_time_of_an_image_even_if_it_fails(decoded: list[int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    reported: list[tuple[float, int]] = []
    preprocessor = Preprocessor(SPEC, LIMIT, on_decoded=lambda *given: reported.append(given))

    await preprocessor.prepare([LARGE], within(10), Disconnect())
    await preprocessor.prepare([LARGE] * 2, within(10), Disconnect())
    with pytest.raises(InvalidImageError):
        await preprocessor.prepare(
            [encode(Image.fromarray(noise))[:-5_000]], within(10), Disconnect()
        )
    await preprocessor.prepare([WHITE], within(10), Disconnect())  # on the event loop

    assert [threads for _, threads in reported] == [1] * 4
    assert all(seconds >= DECODE_S for seconds, _ in reported[:3])
    assert len(decoded) == 5


async def test_headers_of_several_images_do_not_wait_for_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, release = threading.Semaphore(0), threading.Event()

    def noting(*given: Any) -> Image.Image:
        image = decode.open_image(*given)
        opened.release()
        return image

    preprocessor = Preprocessor(SPEC, LIMIT)
    preprocessor.pool.submit(release.wait, 20)
    monkeypatch.setattr(prepare, "open_image", noting)

    asked = asyncio.create_task(preprocessor.prepare([LARGE] * 2, within(20), Disconnect()))
    were_opened = [await asyncio.to_thread(opened.acquire, timeout=10) for _ in range(2)]
    release.set()

    assert were_opened == [True, True]
    assert len(await asked) == 2


@pytest.fixture
def _shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "usable_cores", lambda **_: 8)


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (3, 2), (8, 1), (16, 1), ("auto", 8)])
async def test_workers_share_the_cores_for_decoding(
    workers: Any, threads: int, make_artifact: MakeArtifact
) -> None:
    settings = Settings(artifact=make_artifact(), intra_op_threads=1, workers=workers)

    assert load_classifier(settings)._preprocessor.threads == threads


async def test_a_large_body_is_refused_for_the_pool_before_it_is_read(serve: Serve) -> None:
    service = await serve()
    admission = service.classifier.admission
    slow_at_decoding(admission)
    headers = {TIMEOUT_HEADER: "5000"}
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 1], "data": [255] * 16}

    async def post(path: str, **more: Any) -> httpx.Response:
        return await service.client.post(path, headers=headers, **more)

    with admitted(admission, 9), admission.decode_slot(9, 60):
        heavy = await post("/predict", content=HEAVY)  # no image, which is not noticed
        light = await post("/predict", content=LARGE)
        small = await post("/predict", content=WHITE)
        heavy_v2 = await post("/v2/models/tiny-image/infer", content=HEAVY)
        tensor_v2 = await post("/v2/models/tiny/infer", json={"inputs": [tensor]})

    assert [each.status_code for each in (heavy, light, small)] == [503, 503, 200]
    assert [each.status_code for each in (heavy_v2, tensor_v2)] == [503, 200]
    assert {each.json()["code"] for each in (heavy, light)} == {"overloaded"}
    assert [int(each.headers["retry-after"]) for each in (heavy, light, heavy_v2)] == [11] * 3
