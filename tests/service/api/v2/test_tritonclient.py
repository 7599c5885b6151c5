"""The unmodified client of Triton, against the service in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import http

from tests.service.v2 import ANKLE_BOOT, ROOT, SHIPPED, pixels, png

NAME = "fashion-mnist"
COMMAND = [sys.executable, "-c", "from service.cli import serve; serve()"]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The command `serve-model`, from its start to its end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if "RESNET_" not in name}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "RESNET_ARTIFACT": str(SHIPPED),
        "RESNET_PORT": str(port),
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


def tensor(images: np.ndarray[Any, Any], *, is_binary: bool = True) -> Any:
    wanted = http.InferInput("images", list(images.shape), "UINT8")
    wanted.set_data_from_numpy(images, binary_data=is_binary)
    return wanted


def files(shape: list[int], *contents: bytes) -> Any:
    wanted = http.InferInput("images", shape, "BYTES")
    wanted.set_data_from_numpy(np.array(contents, np.object_).reshape(shape))
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
        (refused, (client, NAME + "-image", [files([1], b"junk")]), "is a text, not a JPEG"),
        (type(client).get_model_metadata, (client, "nope"), "Request for unknown model"),
        (type(client).load_model, (client, NAME), "SIGHUP"),
        (type(client).unload_model, (client, NAME), "SIGHUP"),
        (type(client).get_system_shared_memory_status, (client,), "There is no"),
    ]
    for call, arguments, text in cases:
        with pytest.raises(http.InferenceServerException, match=text):
            call(*arguments)
