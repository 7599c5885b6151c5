from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.api.compression import compress
from tests.service.conftest import Service
from tests.service.v2 import HEADER, INFER, MODEL, serving

pytestmark = pytest.mark.anyio

NAMES = ["fashion-mnist", "fashion-mnist-image", "fashion-mnist-probabilities"]
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}
FILES = {"name": "images", "datatype": "BYTES", "shape": [-1, 1]}
LOGITS = {"name": "logits", "datatype": "FP32", "shape": [-1, 10]}
PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    """The default model, for tests that only ask."""
    async with serving() as service:
        yield service


async def get(service: Service, path: str) -> Any:
    response = await service.client.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def test_the_server_says_its_name_version_and_extensions(service: Service) -> None:
    content = await get(service, "/v2")

    assert content["name"] == "resnet-service"
    assert content["version"]
    assert {"binary_tensor_data", "classification", "statistics"} <= set(content["extensions"])
    assert "system_shared_memory" not in content["extensions"]


async def test_live_and_ready_are_said_in_the_status_and_in_the_body(service: Service) -> None:
    assert await get(service, "/v2/health/live") == {"live": True}
    assert await get(service, "/v2/health/ready") == {"live": True, "ready": True}
    for path in (MODEL, MODEL + "/versions/1"):
        assert await get(service, path + "/ready") == {"name": NAMES[0], "ready": True}


@pytest.mark.parametrize("version", ["", "/versions/1"])
@pytest.mark.parametrize(
    ("suffix", "taken", "given"),
    [
        ("", TENSOR, [LOGITS, PROBABILITIES]),
        ("-image", FILES, [LOGITS, PROBABILITIES]),
        ("-probabilities", TENSOR, [PROBABILITIES]),
    ],
)
async def test_each_name_says_what_it_takes_and_gives(
    service: Service, version: str, suffix: str, taken: object, given: object
) -> None:
    assert await get(service, MODEL + suffix + version) == {
        "name": "fashion-mnist" + suffix,
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [taken],
        "outputs": given,
    }


@pytest.mark.parametrize("version", ["", "/versions/1"])
async def test_the_configuration_leaves_out_the_batch_dimension(
    service: Service, version: str
) -> None:
    content = await get(service, MODEL + version + "/config")
    files = await get(service, MODEL + "-image" + version + "/config")

    assert content["max_batch_size"] == 64
    assert content["input"] == [
        {
            "name": "images",
            "data_type": "TYPE_UINT8",
            "format": "FORMAT_NHWC",
            "dims": [28, 28, 1],
        }
    ]
    assert content["output"][0] == {"name": "logits", "data_type": "TYPE_FP32", "dims": [10]}
    assert content["dynamic_batching"] == {}
    assert content["version_policy"] == {"all": {}}
    assert files["input"][0]["data_type"] == "TYPE_STRING"
    assert files["input"][0]["dims"] == [1]


async def test_all_names_and_versions_are_listed(service: Service) -> None:
    assert await get(service, "/v2/models") == {"models": NAMES}
    for body in (b"", b'{"ready": true}', b"{}"):
        response = await service.client.post("/v2/repository/index", content=body)
        assert response.json() == [
            {"name": name, "version": "1", "state": "READY", "reason": ""} for name in NAMES
        ]


async def test_statistics_count_requests_images_and_runs() -> None:
    async with serving() as service:
        for content in (bytes(784), bytes(784), b"short"):
            await service.client.post(INFER, content=content, headers={HEADER: "0"})

        everything = await get(service, "/v2/models/stats")
        (one,) = (await get(service, MODEL + "/versions/1/stats"))["model_stats"]

    assert [stats["name"] for stats in everything["model_stats"]] == NAMES
    assert everything["model_stats"][0] == one
    assert (one["inference_count"], one["execution_count"]) == (2, 2)
    assert one["inference_stats"]["success"]["count"] == 2
    assert one["inference_stats"]["fail"]["count"] == 1
    assert one["inference_stats"]["cache_hit"] == {"count": 0, "ns": 0}
    (batch,) = one["batch_stats"]
    assert (batch["batch_size"], batch["compute_infer"]["count"]) == (1, 2)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v2/models/nope", 404, "Request for unknown model: 'nope' is not found"),
        ("GET", "/v2/models/nope-image/ready", 404, "'nope-image' is not found"),
        ("GET", MODEL + "/versions/2", 404, "'fashion-mnist' version 2 is not found"),
        ("GET", MODEL + "/versions/2/config", 404, "version 2"),
        ("GET", MODEL + "/versions/2/stats", 404, "version 2"),
        ("POST", "/v2/models/nope/infer", 404, "unknown model"),
        ("GET", "/v2/nope", 404, "no /v2/nope"),
        ("GET", "/v2/systemsharedmemory/status", 404, "no /v2/systemsharedmemory"),
        ("GET", INFER, 405, "does not accept GET"),
        ("POST", "/v2/repository/models/fashion-mnist/load", 501, "SIGHUP"),
        ("POST", "/v2/repository/models/fashion-mnist/unload", 501, "SIGHUP"),
    ],
)
async def test_errors_have_the_form_of_the_protocol(
    service: Service, method: str, path: str, status: int, text: str
) -> None:
    response = await service.client.request(method, path)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    assert text in response.json()["error"]


async def test_an_index_request_may_be_compressed(service: Service) -> None:
    body, headers = compress(b'{"ready": true}', "gzip"), {"content-encoding": "gzip"}

    answered = await service.client.post("/v2/repository/index", content=body, headers=headers)
    refused = await service.client.post(
        "/v2/repository/index", content=body, headers={"content-encoding": "zstd"}
    )

    assert answered.status_code == 200
    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "gzip, deflate")


@pytest.mark.parametrize("body", [b"[", b'{"ready": 7}'])
async def test_an_index_request_that_cannot_be_read_is_refused(
    service: Service, body: bytes
) -> None:
    response = await service.client.post("/v2/repository/index", content=body)

    assert response.status_code == 400
    assert "ready" in response.json()["error"]


async def test_errors_elsewhere_stay_problems(service: Service) -> None:
    response = await service.client.get("/v2x")

    assert response.headers["content-type"] == "application/problem+json"


async def test_a_run_that_does_not_end_is_not_live(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.classifier.batcher, "stalled_s", lambda: 60.0)

    response = await service.client.get("/v2/health/live")

    assert response.status_code == 503
    assert set(response.json()) == {"error"}


async def test_openapi_describes_every_route_without_dangling_references(
    service: Service,
) -> None:
    document = await get(service, "/openapi.json")

    paths = document["paths"]
    assert "/v2/models/{name}/versions/{version}/infer" in paths
    asked = paths["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    assert "$ref" not in str(asked)
    assert asked["application/json"]["schema"]["properties"]["inputs"]["items"]["properties"]
