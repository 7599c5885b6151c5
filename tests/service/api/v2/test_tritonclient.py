"""The unmodified clients of Triton, against the service in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import grpc, http

from tests.service.process import free_port
from tests.service.v2 import ANKLE_BOOT, ROOT, SHIPPED, pixels, png

NAME = "fashion-mnist"
COMMAND = [sys.executable, "-c", "from service.cli import serve; serve()"]


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[int]:
    """The command `serve-model`, from its start to its end."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if "RESNET_" not in name}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "RESNET_ARTIFACT": str(SHIPPED),
        "RESNET_PORT": str(port),
        "RESNET_GRPC_PORT": str(grpc_port),
        "RESNET_INTRA_OP_THREADS": "1",
        "RESNET_DRAIN_DELAY_S": "0",
    }
    log = tmp_path_factory.mktemp("served") / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(COMMAND, env=environment, cwd=ROOT, stderr=written)
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/v2/health/ready")
            yield port
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0, log.read_text()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + 60
    while True:
        assert process.poll() is None, "The service ended before it was ready."
        assert time.monotonic() < until, "The service did not become ready."
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)


@pytest.fixture
def client(port: int) -> Iterator[Any]:
    with closing(http.InferenceServerClient(f"127.0.0.1:{port}")) as client:
        yield client


@pytest.fixture
def grpc_client(port: int, grpc_port: int) -> Iterator[Any]:  # noqa: ARG001  # it is ready
    with closing(grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}")) as client:
        yield client


def tensor(images: np.ndarray[Any, Any], *, is_binary: bool = True) -> Any:
    wanted = http.InferInput("images", list(images.shape), "UINT8")
    wanted.set_data_from_numpy(images, binary_data=is_binary)
    return wanted


def files(shape: list[int], *contents: bytes, protocol: Any = http) -> Any:
    wanted = protocol.InferInput("images", shape, "BYTES")
    wanted.set_data_from_numpy(np.array(contents, np.object_).reshape(shape))
    return wanted


def grpc_tensor(images: np.ndarray[Any, Any]) -> Any:
    wanted = grpc.InferInput("images", list(images.shape), "UINT8")
    wanted.set_data_from_numpy(images)
    return wanted


def test_health_is_understood(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")
    assert not client.is_model_ready("nope")
    assert not client.is_model_ready(NAME, "2")


def test_metadata_configuration_index_and_statistics_are_understood(client: Any) -> None:
    assert client.get_server_metadata()["name"] == "resnet-service"
    assert client.get_model_metadata(NAME)["inputs"][0]["shape"] == [-1, 28, 28, 1]
    assert client.get_model_config(NAME, "1")["max_batch_size"] == 64
    assert client.get_model_repository_index()[0]["name"] == NAME
    assert client.get_inference_statistics(NAME)["model_stats"][0]["version"] == "1"
    assert len(client.get_inference_statistics()["model_stats"]) == 3


@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_tensors_are_answered(client: Any, is_binary: bool, encoding: str | None) -> None:
    outputs = [
        http.InferRequestedOutput("probabilities", binary_data=is_binary),
        http.InferRequestedOutput("logits", binary_data=not is_binary),
    ]

    result = client.infer(
        NAME,
        [tensor(pixels(64), is_binary=is_binary)],
        outputs=outputs,
        request_id="seven",
        request_compression_algorithm=encoding,
        response_compression_algorithm=encoding,
    )

    assert result.get_response()["id"] == "seven"
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == result.as_numpy("logits").shape == (64, 10)
    assert probabilities[0].argmax() == ANKLE_BOOT
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)


def test_without_named_outputs_all_come_in_binary(client: Any) -> None:
    result = client.infer(NAME, [tensor(pixels())])

    assert result.get_output("logits")["parameters"] == {"binary_data_size": 40}
    assert result.as_numpy("logits").argmax() == ANKLE_BOOT


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_image_files_are_answered(client: Any, shape: list[int]) -> None:
    result = client.infer(NAME + "-image", [files(shape, png(), png())], timeout=5_000_000)

    assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [ANKLE_BOOT] * 2


@pytest.mark.parametrize("is_binary", [True, False])
def test_classes_are_understood(client: Any, is_binary: bool) -> None:
    output = http.InferRequestedOutput("probabilities", binary_data=is_binary, class_count=3)

    found = client.infer(NAME, [tensor(pixels(2))], outputs=[output]).as_numpy("probabilities")

    assert found.shape == (2, 3)
    best = found[0][0].decode() if is_binary else found[0][0]
    assert best.split(":")[1:] == [str(ANKLE_BOOT), "Ankle boot"]


def test_many_requests_at_once_get_their_own_answers(port: int) -> None:
    images = pixels(16)
    with closing(http.InferenceServerClient(f"127.0.0.1:{port}", concurrency=8)) as client:
        one_by_one = [client.infer(NAME, [tensor(image[None])]) for image in images]
        waiting = [client.async_infer(NAME, [tensor(image[None])]) for image in images]
        together = [request.get_result() for request in waiting]

    for alone, beside in zip(one_by_one, together, strict=True):
        assert np.allclose(alone.as_numpy("logits"), beside.as_numpy("logits"), atol=1e-4)


def test_refusals_reach_the_caller_with_their_words(client: Any) -> None:
    refused = http.InferenceServerClient.infer
    cases: list[tuple[Any, tuple[Any, ...], str]] = [
        (refused, (client, "nope", [tensor(pixels())]), "Request for unknown model: 'nope'"),
        (refused, (client, NAME, [files([1], png())]), "expects 'UINT8'"),
        (refused, (client, NAME + "-image", [files([1], b"junk")]), "is a text file, not a JPEG"),
        (type(client).get_model_metadata, (client, "nope"), "Request for unknown model"),
        (type(client).load_model, (client, NAME), "SIGHUP"),
        (type(client).unload_model, (client, NAME), "SIGHUP"),
        (type(client).get_system_shared_memory_status, (client,), "There is no"),
    ]
    for call, arguments, text in cases:
        with pytest.raises(http.InferenceServerException, match=text):
            call(*arguments)


def test_health_and_metadata_are_understood_over_grpc(client: Any, grpc_client: Any) -> None:
    assert grpc_client.is_server_live()
    assert grpc_client.is_server_ready()
    assert [grpc_client.is_model_ready(*asked) for asked in [(NAME,), (NAME, "1")]] == [True] * 2
    assert [grpc_client.is_model_ready(*asked) for asked in [("no",), (NAME, "2")]] == [False] * 2
    assert grpc_client.get_server_metadata().name == "resnet-service"
    for name in (NAME, NAME + "-image", NAME + "-probabilities"):
        described = grpc_client.get_model_metadata(name, as_json=True)
        for each in described["inputs"] + described["outputs"]:
            each["shape"] = list(map(int, each["shape"]))  # protobuf's JSON has text
        assert described == client.get_model_metadata(name)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_tensors_get_the_same_answer_over_grpc(
    client: Any, grpc_client: Any, compression: str | None
) -> None:
    images = pixels(3)

    over_http = client.infer(NAME, [tensor(images)])
    over_grpc = grpc_client.infer(
        NAME, [grpc_tensor(images)], request_id="seven", compression_algorithm=compression
    )

    response = over_grpc.get_response()
    assert (response.id, response.model_name, response.model_version) == ("seven", NAME, "1")
    ran = {name: value.string_param for name, value in response.parameters.items()}
    assert ran == over_http.get_response()["parameters"]
    for name in ("logits", "probabilities"):
        assert over_grpc.as_numpy(name).tobytes() == over_http.as_numpy(name).tobytes()


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_image_files_get_the_same_answer_over_grpc(
    client: Any, grpc_client: Any, shape: list[int]
) -> None:
    contents = png(), png(1)
    answers = [
        each.infer(
            NAME + "-image",
            [files(shape, *contents, protocol=protocol)],
            outputs=[protocol.InferRequestedOutput("probabilities", class_count=3)],
        ).as_numpy("probabilities")
        for each, protocol in ((client, http), (grpc_client, grpc))
    ]

    assert answers[0].shape == (2, 3)
    assert (answers[0] == answers[1]).all()


def test_refusals_have_the_same_words_over_grpc(client: Any, grpc_client: Any) -> None:
    too_many, junk = pixels(65), b"junk"
    cases = [
        ("nope", tensor(pixels()), grpc_tensor(pixels()), "NOT_FOUND"),
        (NAME, files([1], png()), files([1], png(), protocol=grpc), "INVALID_ARGUMENT"),
        (NAME, tensor(too_many), grpc_tensor(too_many), "INVALID_ARGUMENT"),
        (NAME, tensor(pixels()[:, 1:]), grpc_tensor(pixels()[:, 1:]), "INVALID_ARGUMENT"),
        (NAME + "-image", files([1], junk), files([1], junk, protocol=grpc), "INVALID_ARGUMENT"),
    ]
    for name, over_http, over_grpc, status in cases:
        with pytest.raises(http.InferenceServerException) as expected:
            client.infer(name, [over_http])
        with pytest.raises(grpc.InferenceServerException) as found:
            grpc_client.infer(name, [over_grpc])

        assert found.value.message() == expected.value.message()
        assert found.value.status() == f"StatusCode.{status}"


def test_too_large_a_message_is_refused_packed_or_not(grpc_client: Any) -> None:
    large = np.zeros((20_000, 28, 28, 1), np.uint8)
    for compression in (None, "gzip"):
        with pytest.raises(grpc.InferenceServerException, match="larger than max") as refused:
            grpc_client.infer(NAME, [grpc_tensor(large)], compression_algorithm=compression)

        assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert grpc_client.is_server_ready()
