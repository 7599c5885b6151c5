import base64
from collections.abc import AsyncIterator

import numpy as np
import pytest

from service.api.compression import compress
from tests.service.conftest import Service
from tests.service.v2 import (
    ANKLE_BOOT,
    HEADER,
    INFER,
    INFER_IMAGE,
    MODEL,
    asking,
    binary,
    error_of,
    pixels,
    png,
    read_answer,
    serving,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    """The default model, for tests that only ask."""
    async with serving(max_images=16, max_body_bytes=100_000) as service:
        yield service


async def test_a_tensor_gets_the_same_answer_in_json_and_in_binary(service: Service) -> None:
    images = pixels(3)
    shape = list(images.shape)
    body, headers = binary(asking(shape, "UINT8"), images.tobytes())

    plain = await service.client.post(INFER, json=asking(shape, "UINT8", data=images.tolist()))
    packed = await service.client.post(INFER, content=body, headers=headers)

    content, in_json = read_answer(plain)
    _, in_binary = read_answer(packed)
    assert content["model_name"] == "fashion-mnist"
    assert content["model_version"] == "1"
    assert [output["shape"] for output in content["outputs"]] == [[3, 10], [3, 10]]
    assert set(in_json) == {"logits", "probabilities"}
    assert in_json["probabilities"][0].argmax() == ANKLE_BOOT
    for name, values in in_json.items():
        assert np.allclose(values, in_binary[name], atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
async def test_every_answer_names_the_provider_and_the_precision_that_ran(precision: str) -> None:
    body, headers = binary(asking([1, 28, 28, 1], "UINT8"), pixels().tobytes())
    asked = {"provider": "cuda", "provider_policy": "prefer", "precision": precision}
    async with serving(**asked) as service:
        ask = service.client.post
        answers = [
            await ask(INFER, content=body, headers=headers),
            await ask(INFER, content=pixels().tobytes(), headers={HEADER: "0"}),
            await ask(INFER_IMAGE, content=png(), headers={HEADER: "0"}),
        ]
        model = (await ask("/predict", content=png())).json()["model"]

    assert model["precision"] == precision
    for answer in answers:  # of a machine without CUDA: that it fell back to the processor
        ran = read_answer(answer)[0]["parameters"]
        assert ran == {"provider": model["provider"], "precision": precision}


async def test_images_get_the_answer_of_predict_however_they_are_sent(service: Service) -> None:
    file = png()
    element = len(file).to_bytes(4, "little") + file
    text = base64.b64encode(file).decode()
    body, headers = binary(asking([1, 1], "BYTES"), element)
    ask = service.client.post

    answers = [
        await ask(INFER_IMAGE, content=body, headers=headers),
        await ask(INFER_IMAGE, json=asking([1], "BYTES", data=[text])),
        await ask(INFER_IMAGE, content=file, headers={HEADER: "0"}),
    ]

    predicted = await ask("/predict?top_k=1", content=file)
    (best,) = predicted.json()["results"][0]["predictions"]
    for answer in answers:
        row = read_answer(answer)[1]["probabilities"][0]
        assert row.argmax() == best["index"]
        assert row.max() == pytest.approx(best["probability"], abs=1e-4)
    assert answers[2].headers["content-type"] == "application/octet-stream"


async def test_the_raw_bytes_of_a_tensor_are_answered(service: Service) -> None:
    response = await service.client.post(
        INFER, content=pixels().tobytes(), headers={HEADER.lower(): "0"}
    )

    assert read_answer(response)[1]["probabilities"][0].argmax() == ANKLE_BOOT


async def test_classes_are_named_with_value_index_and_label(service: Service) -> None:
    content = asking([1, 28, 28, 1], "UINT8", data=pixels().ravel().tolist())
    content["outputs"] = [{"name": "probabilities", "parameters": {"classification": 2}}]

    response = await service.client.post(MODEL + "-probabilities/infer", json=content)

    (output,) = response.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    value, index, label = output["data"][0].split(":")
    assert (index, label) == ("9", "Ankle boot")
    assert 0.5 < float(value) <= 1


async def test_the_id_comes_back_and_stages_are_timed(service: Service) -> None:
    content = asking([1, 28, 28, 1], "UINT8", data=pixels().tolist()) | {"id": "seven"}

    response = await service.client.post(MODEL + "/versions/1/infer", json=content)

    assert response.json()["id"] == "seven"
    assert "infer;dur=" in response.headers["server-timing"]
    assert response.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bodies_are_compressed_both_ways(service: Service, encoding: str) -> None:
    images = pixels(16)
    content = asking(list(images.shape), "UINT8") | {"parameters": {"binary_data_output": True}}
    body, headers = binary(content, images.tobytes())
    headers |= {"content-encoding": encoding, "accept-encoding": encoding}

    response = await service.client.post(INFER, content=compress(body, encoding), headers=headers)

    assert response.headers["content-encoding"] == encoding
    assert read_answer(response)[1]["logits"].shape == (16, 10)


async def test_many_images_are_read_and_written_beside_the_event_loop() -> None:
    async with serving(max_images=420, max_in_flight=500, max_batch_size=32) as service:
        images = np.zeros((420, 28, 28, 1), np.uint8)
        body, headers = binary(asking(list(images.shape), "UINT8"), images.tobytes())

        response = await service.client.post(INFER, content=body, headers=headers)

        assert read_answer(response)[1]["probabilities"].shape == (420, 10)


@pytest.mark.parametrize(
    ("content", "headers", "status", "text"),
    [
        (b"", {}, 400, "empty"),
        (b"{", {}, 400, "EOF"),
        (b"{}", {HEADER: "x"}, 400, "number of bytes"),
        (b"{}", {HEADER: "-1"}, 400, "number of bytes"),
        (b"{}", {HEADER: "3"}, 400, "has 2 bytes"),
        (b"abc", {HEADER: "0"}, 400, "needs 784"),
        (b"abc", {"content-encoding": "gzip"}, 400, "not a valid gzip stream"),
        (b"abc", {"content-encoding": "br"}, 415, "'br'"),
        (bytes(100_001), {}, 413, "RESNET_MAX_BODY_BYTES"),
        (bytes(100_001), {}, 413, "UINT8 of shape [-1, 28, 28, 1]"),
        (png(), {}, 400, "image files use 'fashion-mnist-image'"),
        (png(), {HEADER: "0"}, 400, "image files use 'fashion-mnist-image'"),
        (compress(bytes(9_000_000), "gzip"), {"content-encoding": "gzip"}, 413, "more than"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    service: Service, content: bytes, headers: dict[str, str], status: int, text: str
) -> None:
    response = await service.client.post(INFER, content=content, headers=headers)

    assert text in error_of(response, status)


async def test_what_is_no_image_is_named_by_its_place(service: Service) -> None:
    texts = [base64.b64encode(file).decode() for file in (png(), b"GIF89a?")]

    response = await service.client.post(INFER_IMAGE, json=asking([2], "BYTES", data=texts))

    assert "(image 1 of the request)" in error_of(response, 422)


async def test_more_images_than_allowed_are_refused(service: Service) -> None:
    body, headers = binary(asking([17, 28, 28, 1], "UINT8"), bytes(17 * 784))

    response = await service.client.post(INFER, content=body, headers=headers)

    assert "more than 16 images" in error_of(response, 413)


async def test_requests_are_counted_in_the_metrics_by_route(service: Service) -> None:
    await service.client.post(INFER, content=bytes(784), headers={HEADER: "0"})

    metrics = (await service.client.get("/metrics")).text

    route = 'route="/v2/models/{name}/infer"'
    assert f'resnet_requests_total{{method="POST",{route},status="200"}}' in metrics
