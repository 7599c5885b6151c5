"""The service as a process of its own."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from tests.service.conftest import MakeArtifact
from tests.service.images import encode, fashion_images
from tests.service.process import Running, read_answer, run_command, serve_model

IMAGE = encode(Image.fromarray(fashion_images()[0][0]))
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""httpx would read all certificates of the system for each client."""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One process for all tests that leave it as it was."""
    with serve_model(log_format="json", log_level="debug") as started:
        yield started


def test_it_is_ready_soon(running: Running) -> None:
    assert running.ready_after_s < 10


def test_thirty_requests_share_a_connection(running: Running) -> None:
    with httpx.Client(base_url=running.url) as client:
        responses = [client.post("/predict", content=IMAGE) for _ in range(30)]

        connections = {
            response.extensions["network_stream"].get_extra_info("client_addr")
            for response in responses
        }

    assert [response.status_code for response in responses] == [200] * 30
    assert (
        len({response.json()["results"][0]["predictions"][0]["label"] for response in responses})
        == 1
    )
    assert len(connections) == 1


def test_the_server_does_not_say_what_it_is(running: Running) -> None:
    assert "server" not in httpx.get(f"{running.url}/livez").headers


def test_requests_sent_in_one_go_are_answered_in_order(running: Running) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(IMAGE)}\r\n"
    ids = [f"number-{number}" for number in range(3)]
    requests = [f"{head}X-Request-Id: {name}\r\n\r\n".encode() + IMAGE for name in ids]
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"

    with running.connect() as connection:
        connection.sendall(b"".join(requests) + last)
        answer = read_answer(connection).decode("latin-1")

    positions = [answer.index(f"x-request-id: {name}") for name in (*ids, "last")]
    assert positions == sorted(positions)
    assert answer.count("HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_hundred_megabytes_are_refused_while_others_are_served(
    is_declared: bool, running: Running
) -> None:
    def megabytes() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(1_000_000)

    headers = {"content-length": "100000000"} if is_declared else {}
    began = time.perf_counter()

    with ThreadPoolExecutor(1) as threads:
        large = threads.submit(
            httpx.post, f"{running.url}/predict", content=megabytes(), headers=headers, timeout=20
        )
        small = httpx.post(f"{running.url}/predict", content=IMAGE, timeout=20)
        refused = large.result()

    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    assert small.status_code == 200
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/9.9",
        b"nonsense",
        b"GET /\x00 HTTP/1.1",
        b"POST /predict HTTP/1.1\r\nContent-Length: 99999999999999999999999999",
        b"POST /predict HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_cut_off_and_the_service_goes_on(
    request_line: bytes, running: Running
) -> None:
    with running.connect() as connection:
        connection.sendall(request_line + b"\r\nHost: x\r\n\r\n")
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert httpx.get(f"{running.url}/livez").status_code == 200


def test_a_client_that_leaves_during_its_body_leaves_no_trace(running: Running) -> None:
    before = running.stderr().count('"level": "error"')

    with running.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nx")
        time.sleep(0.1)
    time.sleep(0.2)

    assert running.stderr().count('"level": "error"') == before
    assert httpx.post(f"{running.url}/predict", content=IMAGE).status_code == 200


def test_every_line_of_the_log_is_json_and_none_is_forged(running: Running) -> None:
    forged = '{"level": "error", "message": "forged"}'
    httpx.get(f"{running.url}/x%0d%0a{forged}%0a", headers={"x-request-id": forged})
    httpx.post(
        f"{running.url}/predict",
        content=b"--x\rnonsense",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    httpx.post(f"{running.url}/predict", content=IMAGE[:-30])
    with running.connect() as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        read_answer(connection)

    lines = [json.loads(line) for line in running.stderr().splitlines()]

    assert {"time", "level", "message"} <= set.intersection(*(set(line) for line in lines))
    assert not [line for line in lines if line["message"] == "forged"]
    assert [line for line in lines if "\r\n" in line.get("path", "")]
    assert not [line for line in lines if line.get("request_id") == forged]


def test_a_full_load_is_answered_in_full(running: Running) -> None:
    def ask(_: int) -> int:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            return sum(client.post("/predict", content=IMAGE).status_code == 200 for _ in range(10))

    with ThreadPoolExecutor(8) as threads:
        answered = sum(threads.map(ask, range(8)))

    assert answered == 80


# The end


def test_sigterm_lets_every_request_be_answered_and_exits_with_0() -> None:
    with serve_model(drain_delay_s="1.5") as running:
        is_over = threading.Event()

        def ask_on_and_on() -> list[int]:
            statuses = []
            while not is_over.is_set():
                answer = httpx.post(f"{running.url}/predict", content=IMAGE, verify=NO_TLS)
                statuses.append(answer.status_code)
            return statuses

        with ThreadPoolExecutor(3) as threads, running.connect() as slow:
            askers = [threads.submit(ask_on_and_on) for _ in range(3)]
            start_request(slow)
            time.sleep(0.2)
            running.terminate()
            time.sleep(0.2)
            draining = httpx.get(f"{running.url}/readyz", verify=NO_TLS)
            running.terminate()  # a second signal changes nothing
            is_over.set()
            statuses = [status for asker in askers for status in asker.result()]
            time.sleep(1.6)  # past the drain delay, with a request still coming in
            slow.sendall(IMAGE[100:])
            late = read_answer(slow)

        code = running.process.wait(10)

    assert code == 0
    assert set(statuses) == {200}
    assert (draining.status_code, draining.json()["code"]) == (503, "not_ready")
    assert draining.headers["connection"] == "close"
    assert late.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in late.lower()


def start_request(connection: socket.socket) -> None:
    """Send the headers and the beginning of a body."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(IMAGE)}\r\n\r\n"
    connection.sendall(head.encode() + IMAGE[:100])


def test_ctrl_c_leaves_at_once_with_0() -> None:
    with serve_model(drain_delay_s="30") as running:
        running.process.send_signal(2)

        assert running.process.wait(10) == 0


def test_idle_connections_do_not_hold_up_the_end() -> None:
    with serve_model(drain_delay_s="0") as running, running.connect() as idle:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.recv(65_536)
        with running.connect():
            began = time.perf_counter()
            running.terminate()

            assert running.process.wait(10) == 0
            assert time.perf_counter() - began < 4.5  # uvicorn keeps idle ones for 5 s


def test_a_tampered_artifact_is_one_line_and_exit_code_1(make_artifact: MakeArtifact) -> None:
    folder = make_artifact()
    (model,) = folder.glob("*.onnx")
    model.write_bytes(model.read_bytes()[:-1] + b"\0")

    run = run_command(folder)

    assert run.returncode == 1
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith(f"error: {model} has SHA-256 ")
