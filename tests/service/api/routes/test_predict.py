import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from PIL import Image

from service.api.compression import compress
from service.api.media_types import RAW_TYPES
from service.api.schemas import PredictResponse
from tests.service.conftest import Gate, Serve, Service
from tests.service.images import BLACK, GREY, WHITE, encode, fashion_images

pytestmark = pytest.mark.anyio

TIMING = re.compile(
    r"decode;dur=[\d.]+, preprocess;dur=[\d.]+, queue;dur=[\d.]+, infer;dur=[\d.]+, "
    r'batch;desc="(\d+)"'
)


@pytest.fixture(scope="module")
def sent() -> list[bytes]:
    """Eight real images."""
    return [encode(Image.fromarray(pixels)) for pixels in fashion_images()[0][:8]]


async def test_an_image_is_answered_with_labels_and_probabilities(
    shipped: Service, sent: list[bytes]
) -> None:
    response = await shipped.client.post(
        "/predict", content=sent[0], headers={"content-type": "image/png"}
    )

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = PredictResponse.model_validate_json(response.content)
    assert answer.model == shipped.classifier.info
    (result,) = answer.results
    labels = shipped.classifier.manifest.labels
    assert [item["label"] for item in result["predictions"]] == [
        labels[item["index"]] for item in result["predictions"]
    ]
    probabilities = [item["probability"] for item in result["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(probabilities) == 5
    assert 0.99 < sum(probabilities) < 1.0001


async def test_images_of_the_test_split_get_their_labels(shipped: Service) -> None:
    images, targets = fashion_images()
    files = [("file", encode(Image.fromarray(pixels))) for pixels in images[:60]]

    response = await shipped.client.post("/predict", files=files, params={"top_k": 1})

    predicted = [item["predictions"][0]["index"] for item in response.json()["results"]]
    correct = sum(first == second for first, second in zip(predicted, targets, strict=False))
    assert len(predicted) == 60
    assert correct >= 51


async def test_the_answer_is_the_same_however_the_image_is_sent(
    shipped: Service, sent: list[bytes]
) -> None:
    texts = [base64.b64encode(content).decode() for content in sent]
    ask = shipped.client.post

    form = await ask("/predict", files=[("file", content) for content in sent])
    texted = await ask("/predict", json={"images": texts})
    raw = [await ask("/predict", content=content) for content in sent]

    singly = [response.json()["results"][0] for response in raw]
    for together in (form.json()["results"], texted.json()["results"]):
        assert [result["predictions"][0]["label"] for result in together] == [
            result["predictions"][0]["label"] for result in singly
        ]
        assert together[3]["predictions"][0]["probability"] == pytest.approx(
            singly[3]["predictions"][0]["probability"], abs=1e-4
        )


@pytest.mark.parametrize(
    "content_type", [*RAW_TYPES, "image/jpg", "application/x-www-form-urlencoded", None]
)
async def test_the_media_type_decides_nothing(content_type: str | None, shipped: Service) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    image = encode(Image.new("L", (28, 28), 90), "BMP")

    response = await shipped.client.post("/predict", content=image, headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (10, 10), (11, 10), (1000, 10)])
async def test_top_k_says_how_many_labels(top_k: int, count: int, shipped: Service) -> None:
    response = await shipped.client.post("/predict", content=WHITE, params={"top_k": top_k})

    assert len(response.json()["results"][0]["predictions"]) == count


@pytest.mark.parametrize(
    "query", ["top_k=0", "top_k=-1", "top_k=1001", "top_k=five", "top_k=1.5", "topk=1"]
)
async def test_a_parameter_out_of_its_bounds_is_refused_by_its_name(
    query: str, shipped: Service
) -> None:
    response = await shipped.client.post(f"/predict?{query}", content=WHITE)

    assert response.status_code == 400
    assert response.json()["code"] == "invalid_parameter"
    assert query.partition("=")[0] in response.json()["detail"]


async def test_fields_of_a_form_count_as_options(shipped: Service) -> None:
    fields = {"top_k": "2", "explain": "true", "submit": "Upload", "coverage": ""}

    response = await shipped.client.post(
        "/predict?top_k=2", data=fields, files=[("file", WHITE), ("file", BLACK)]
    )

    assert response.status_code == 200
    for result in response.json()["results"]:
        assert len(result["predictions"]) == 2
        assert "explanation" in result


@pytest.mark.parametrize(
    ("query", "fields", "seen"),
    [
        ("", {"top_k": "many"}, "form.top_k"),
        ("", {"coverage": "7"}, "form.coverage"),
        ("?top_k=3", {"top_k": "2"}, "form.top_k: the query has another value"),
    ],
)
async def test_a_field_out_of_its_bounds_or_against_the_query_is_refused_by_its_name(
    query: str, fields: dict[str, str], seen: str, shipped: Service
) -> None:
    files = [("file", WHITE)]

    response = await shipped.client.post(f"/predict{query}", data=fields, files=files)

    assert response.status_code == 400
    assert response.json()["code"] == "invalid_parameter"
    assert seen in response.json()["detail"]


def multipart() -> tuple[bytes, str]:
    content_type = "multipart/form-data; boundary=line"  # by chance, the tests' names would change
    named = {"content-type": content_type}
    request = httpx.Request("POST", "http://service", files={"file": WHITE}, headers=named)
    return request.read(), content_type


JSON_BODY = json.dumps({"images": [base64.b64encode(WHITE).decode()]}).encode()


@pytest.mark.parametrize("path", ["/predict", "/models/fashion-mnist/predict"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize(
    ("body", "content_type"), [(WHITE, "image/png"), (JSON_BODY, "application/json"), multipart()]
)
async def test_a_compressed_body_is_unpacked(
    path: str, encoding: str, body: bytes, content_type: str, shipped: Service
) -> None:
    packed = body if encoding == "identity" else compress(body, encoding)
    headers = {"content-type": content_type, "content-encoding": encoding}

    response = await shipped.client.post(path, content=packed, headers=headers)

    assert response.status_code == 200


async def test_what_was_unpacked_counts_among_the_bytes_that_are_held(serve: Serve) -> None:
    service = await serve(max_body_bytes=100_000, max_buffered_bytes=150_000)
    service.app.state.service.budget.buffered = 100_000
    body, headers = compress(bytes(90_000), "gzip"), {"content-encoding": "gzip"}

    response = await service.client.post("/predict", content=body, headers=headers)

    assert len(body) < 1_000
    assert response.status_code == 503
    assert "RESNET_MAX_BUFFERED_BYTES" in response.json()["detail"]
    assert service.app.state.service.budget.buffered == 100_000


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (WHITE, "br", 415),
        (WHITE, "gzip", 400),
        (compress(bytes(20_000_000), "gzip"), "gzip", 413),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/v2/models/fashion-mnist/infer"])
async def test_a_body_that_cannot_be_unpacked_is_refused(
    path: str, body: bytes, encoding: str, status: int, shipped: Service
) -> None:
    headers = {"content-encoding": encoding}

    response = await shipped.client.post(path, content=body, headers=headers)

    assert response.status_code == status
    assert response.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)
    assert shipped.app.state.service.budget.buffered == 0


async def test_results_come_in_the_order_sent(serve: Serve) -> None:
    service = await serve(max_batch_size=2)
    order = [WHITE, BLACK, GREY, BLACK, WHITE, WHITE]

    response = await service.client.post("/predict", files=[("file", image) for image in order])

    bright = [
        next(item for item in result["predictions"] if item["label"] == "bright")["probability"]
        for result in response.json()["results"]
    ]
    expected = {WHITE: 0.9608, BLACK: 0.5, GREY: 0.8329}
    assert bright == pytest.approx([expected[image] for image in order], abs=1e-4)


async def test_the_headers_say_where_the_time_went(serve: Serve) -> None:
    service = await serve()

    response = await service.client.post("/predict", files=[("file", WHITE)] * 3)

    timing = TIMING.fullmatch(response.headers["server-timing"])
    assert timing is not None
    assert timing[1] == "3"


async def test_the_header_shows_the_wait_in_the_queue(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    first = asyncio.create_task(service.client.post("/predict", content=BLACK))
    await gate.has_entered()
    second = asyncio.create_task(service.client.post("/predict", content=BLACK))
    await asyncio.sleep(0.2)
    gate.let_through(2)

    await first
    queue = re.search(r"queue;dur=([\d.]+)", (await second).headers["server-timing"])

    assert queue is not None
    assert 50 < float(queue[1]) < 10_000  # milliseconds


async def test_a_body_in_pieces_is_put_together(serve: Serve) -> None:
    service = await serve()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(WHITE), 7):
            yield WHITE[start : start + 7]

    response = await service.client.post("/predict", content=pieces())

    assert response.json()["results"][0]["predictions"][0]["label"] == "bright"


async def test_many_clients_at_once_get_their_own_answers(serve: Serve) -> None:
    service = await serve(max_batch_size=4)
    order = [WHITE, BLACK, GREY] * 10

    responses = await asyncio.gather(
        *(service.client.post("/predict?top_k=1", content=image) for image in order)
    )

    predictions = [response.json()["results"][0]["predictions"][0] for response in responses]
    expected = {WHITE: 0.9608, BLACK: 0.5, GREY: 0.8329}
    assert [item["probability"] for item in predictions] == pytest.approx(
        [expected[image] for image in order], abs=1e-4
    )


async def test_a_client_that_leaves_while_it_waits_is_never_run(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    first = asyncio.create_task(service.client.post("/predict", content=BLACK))
    await gate.has_entered()
    leaving = asyncio.create_task(service.client.post("/predict", content=WHITE))
    await asyncio.sleep(0.1)

    leaving.cancel()
    await asyncio.wait([leaving])
    gate.let_through(2)
    await first

    assert gate.batches == [[0]]
    assert service.classifier.admission.in_flight == 0
