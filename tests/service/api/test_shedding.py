"""Load shedding, over real sockets: refused before the body is read, and otherwise as any other."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from service.api.shedding import TIMEOUT_HEADER
from service.app import create_app
from service.inference.cost import CostModel
from service.server.connections import Limits
from service.server.protocol import HttpProtocol
from service.server.receiving import PIECE_BYTES
from service.server.refusing import DELAY_S
from service.settings import Settings
from tests.service.conftest import MakeArtifact, replace_cost
from tests.service.images import BLACK
from tests.service.listening import REQUEST, Listening, listen, wait_until
from tests.service.process import read_answer, read_response

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


@pytest.fixture
def full(make_artifact: MakeArtifact) -> Iterator[Listening]:
    """A server whose only slot is taken."""
    with (
        listen(make_artifact(), max_in_flight=1, max_images=1) as listening,
        listening.connect() as running,
    ):
        running.sendall(REQUEST)
        wait_until(lambda: listening.admission.in_flight == 1)
        yield listening


def answer_on(connection: socket.socket) -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response, response.read()


def counts(listening: Listening, route: str = "/predict") -> tuple[float, float]:
    """Refusals, and requests that were answered with 503."""
    registry = listening.server.state.telemetry.registry
    labels = {"route": route, "method": "POST", "status": "503"}
    return (
        registry.get_sample_value("resnet_request_failures_total", {"code": "overloaded"}) or 0,
        registry.get_sample_value("resnet_requests_total", labels) or 0,
    )


def test_a_refusal_is_the_same_with_and_without_a_time_limit_of_the_client(full: Listening) -> None:
    timeout = f"{TIMEOUT_HEADER}: 60000".encode()
    with_timeout = REQUEST.replace(b"\r\n\r\n", b"\r\n" + timeout + b"\r\n\r\n", 1)
    with full.connect() as connection:
        connection.sendall(with_timeout)
        expected, body = answer_on(connection)
        connection.sendall(REQUEST)
        response, refusal = answer_on(connection)

    assert response.status == expected.status == 503
    assert json.loads(refusal) | {"request_id": ""} == json.loads(body) | {"request_id": ""}
    assert json.loads(refusal)["code"] == "overloaded"
    volatile = {"x-request-id", "date"}
    assert {name.lower() for name, _ in response.getheaders()} == {
        name.lower() for name, _ in expected.getheaders()
    }
    sent, known = ({**dict(r.getheaders())} for r in (response, expected))
    assert {k: v for k, v in sent.items() if k not in volatile} == {
        k: v for k, v in known.items() if k not in volatile
    }
    assert int(response.headers["retry-after"]) >= 1
    wait_until(lambda: counts(full) == (2, 2))


def test_who_was_refused_is_answered_on_the_same_connection_later(full: Listening) -> None:
    with full.connect() as connection:
        connection.sendall(REQUEST)  # the first of its connection
        first, _ = answer_on(connection)
        connection.sendall(REQUEST[:-7])
        second, _ = answer_on(connection)
        connection.sendall(REQUEST[-7:])  # the rest of a body that is not read
        full.gate.let_through(9)
        wait_until(lambda: full.admission.in_flight == 0)
        connection.sendall(LAST)
        third = read_answer(connection)

    assert (first.status, second.status) == (503, 503)
    assert third.startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: counts(full) == (2, 2))


def test_who_was_refused_may_be_idle_but_not_trickle(full: Listening) -> None:
    full.server.server_state.limits = Limits(header_s=0.3)
    with full.connect() as idle:
        idle.sendall(REQUEST)
        first, _ = answer_on(idle)
        time.sleep(0.6)
        idle.sendall(REQUEST)
        second, _ = answer_on(idle)
    with full.connect() as trickling:
        trickling.sendall(REQUEST[:-7])
        third, _ = answer_on(trickling)
        trickling.sendall(REQUEST[-7:-6])
        closed = trickling.recv(1)  # after the time that a head may take

    assert (first.status, second.status, third.status) == (503, 503, 503)
    assert closed == b""


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/predict", "/predict"),
        ("/predict?top_k=1", "/predict"),
        ("/models/tiny/predict", "/models/{name}/predict"),
        ("/models/tiny/versions/1/predict", "/models/{name}/versions/{version}/predict"),
        ("/v2/models/tiny-image/versions/1/infer", "/v2/models/{name}/versions/{version}/infer"),
    ],
)
def test_every_inference_route_refuses_before_the_body_is_sent(
    path: str, route: str, full: Listening
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with full.connect() as connection:
        connection.sendall(head.encode())
        response, body = answer_on(connection)

    assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert b"in flight" in body
    wait_until(lambda: counts(full, route) == (1, 1))


def test_a_rejection_counts_among_the_failures_of_v2s_statistics(full: Listening) -> None:
    classifier = full.server.state.models.find()
    failures = full.server.state.telemetry.statistics[classifier].failures
    head = "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with full.connect() as connection:
        connection.sendall(head.encode())
        response, _ = answer_on(connection)

    assert response.status == 503
    assert failures.count == 1


def test_a_rejection_ends_the_connection_of_a_service_that_drains(full: Listening) -> None:
    full.server.state.draining = True
    with full.connect() as connection:
        connection.sendall(REQUEST)
        response, _ = answer_on(connection)

    assert (response.status, response.headers["connection"]) == (503, "close")


@pytest.mark.parametrize("path", ["/models/none/predict", "/v2/models/none/infer", "/card"])
def test_other_requests_are_for_the_routes_to_answer(path: str, full: Listening) -> None:
    with full.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        response, _ = answer_on(connection)

    assert response.status in {404, 405}


def test_requests_sent_ahead_of_their_answers_are_refused_in_order(full: Listening) -> None:
    with full.connect() as connection:
        connection.sendall(REQUEST + REQUEST + LAST)
        answers = read_answer(connection)

    assert answers.count(b"HTTP/1.1 503 ") == 3
    wait_until(lambda: counts(full) == (3, 3))


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_other_routes_are_answered_while_there_is_no_room(path: str, full: Listening) -> None:
    with full.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        response, _ = answer_on(connection)

    assert response.status == 200


def test_a_client_that_asks_before_it_sends_its_body_is_refused_all_the_same(
    full: Listening,
) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BLACK)}\r\n"
    with full.connect() as connection:
        connection.sendall(head.encode() + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 503 ")


def test_a_client_of_http_1_0_is_refused_all_the_same(full: Listening) -> None:
    older = REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0\r\nConnection: keep-alive", 1)
    with full.connect() as connection:
        connection.sendall(older)
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_a_deadline_that_cannot_be_met_gets_504_also_where_others_get_a_quick_503(
    make_artifact: MakeArtifact,
) -> None:
    with (
        listen(make_artifact(), deadline_s=2.0) as listening,
        listening.connect() as running,
        listening.connect() as connection,
    ):
        running.sendall(REQUEST)
        wait_until(lambda: listening.admission.in_flight == 1)
        replace_cost(listening.classifier, CostModel({1: 2.5}))
        connection.sendall(REQUEST)
        response, body = answer_on(connection)

    assert response.status == 504
    assert response.headers["retry-after"] is None
    assert json.loads(body)["code"] == "deadline_exceeded"
    assert "llow at least 3750 ms" in json.loads(body)["detail"]


def test_a_refusal_is_the_same_before_and_within_the_application(full: Listening) -> None:
    plain = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Request-Id: mine\r\n\r\n", 1)
    asking = plain.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1)
    found = []
    with full.connect() as connection:
        for request in (plain, asking):  # the second one is begun, and then refused
            connection.sendall(request)
            response, body = answer_on(connection)
            headers = {name.lower(): value for name, value in response.getheaders()}
            headers["date"] = headers["date"][:10]  # the seconds may differ
            found.append((response.status, response.reason, headers, body))

    assert found[0] == found[1]
    assert found[0][2]["x-request-id"] == "mine"
    wait_until(lambda: counts(full) == (2, 2))


def scope_of(path: str = "/predict") -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": path, "headers": [], "client": ("::1", 1)}


def test_requests_that_arrive_together_count_for_each_other(make_artifact: MakeArtifact) -> None:
    settings = Settings(artifact=make_artifact(), max_in_flight=2, max_images=1, concurrent_runs=1)
    refuse = create_app(settings).state.service.refuse

    async def arrive() -> list[bool]:
        together = [refuse(scope_of()) is not None for _ in range(4)]
        await asyncio.sleep(0)
        return [*together, refuse(scope_of()) is not None]

    assert asyncio.run(arrive()) == [False, False, True, True, False]


@pytest.mark.parametrize(
    "changes",
    [{"cors_origins": "*"}, {"root_path": "/models"}, {"trusted_proxies": "10.0.0.0/8"}],
)
def test_nothing_is_refused_before_what_knows_client_path_or_origin(
    changes: dict[str, Any], make_artifact: MakeArtifact
) -> None:
    settings = Settings(artifact=make_artifact(), **changes)

    assert create_app(settings).state.service.refuse is None


def test_a_client_is_counted_once_for_each_request(make_artifact: MakeArtifact) -> None:
    with (
        listen(make_artifact(), has_gate=False, client_requests_s=3) as listening,
        listening.connect() as connection,
    ):
        statuses = []
        for _ in range(4):
            connection.sendall(REQUEST)
            statuses.append(answer_on(connection)[0].status)

    assert statuses == [200, 200, 200, 429]


@pytest.fixture
def limited(make_artifact: MakeArtifact) -> Iterator[Listening]:
    """A server that answers one request a second of each client."""
    with listen(make_artifact(), has_gate=False, client_requests_s=1) as listening:
        yield listening


def test_who_sends_too_much_waits_for_the_answer(limited: Listening) -> None:
    with limited.connect() as connection:
        found = []
        for _ in range(3):
            began = time.perf_counter()
            connection.sendall(REQUEST)
            found.append((answer_on(connection)[0].status, time.perf_counter() - began))
        time.sleep(1.1)
        connection.sendall(REQUEST)
        accepted = answer_on(connection)[0].status

    assert [status for status, _ in found] == [200, 429, 429]
    assert min(seconds for _, seconds in found[1:]) >= DELAY_S
    assert accepted == 200


def test_who_sends_too_much_ahead_waits_for_each_piece(limited: Listening) -> None:
    count = 3 * PIECE_BYTES // len(REQUEST) + 1
    with limited.connect() as connection:
        connection.sendall(REQUEST)
        answer_on(connection)
        began = time.perf_counter()
        connection.sendall(REQUEST * count)
        received = b""
        while received.count(b"HTTP/1.1 429") < count:
            received += connection.recv(65_536)
        seconds = time.perf_counter() - began

    assert seconds >= 2 * DELAY_S


def test_what_follows_a_delayed_answer_waits_for_the_requests_before_it(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a: first\nb: second")
    keys.chmod(0o600)
    first, second = (
        REQUEST.replace(b"Host", b"X-API-Key: %s\r\nHost" % key, 1) for key in (b"first", b"second")
    )
    start = listen(make_artifact(), api_keys_file=keys, client_requests_s=1, deadline_s=60)
    with start as listening, listening.connect() as connection:
        listening.gate.let_through(1)
        connection.sendall(first)
        answer_on(connection)
        connection.sendall(first + second + LIVEZ * 200)
        answers = [read_response(connection)[9:12]]
        connection.settimeout(2 * DELAY_S)
        with contextlib.suppress(TimeoutError):
            for _ in range(64):
                connection.sendall(LIVEZ * 30_000)
        (protocol,) = cast(set[HttpProtocol], listening.server.server_state.connections)
        kept = len(protocol._unparsed)
        connection.settimeout(20)
        listening.gate.let_through(1)
        answers += [read_response(connection)[9:12] for _ in range(201)]

    assert kept < 1_000_000
    assert answers == [b"429", *[b"200"] * 201]


@pytest.mark.parametrize(
    ("behind", "statuses"),
    [
        (b"", []),
        (LIVEZ, [b"200 "]),
        (REQUEST, [b"429 "]),
        (b"nonsense\r\n\r\n", [b"429 "]),
        (REQUEST[:-1], [b"429 "]),
    ],
)
def test_an_answer_that_waits_is_sent_before_others_and_before_the_end(
    behind: bytes, statuses: list[bytes], limited: Listening
) -> None:
    with limited.connect() as connection:
        connection.sendall(REQUEST)
        answer_on(connection)
        connection.sendall(REQUEST + behind)
        wait_until(lambda: count_429(limited) > 0)
        limited.server.should_exit = True
        answers = read_answer(connection)

    found = [answer[:4] for answer in answers.split(b"HTTP/1.1 ")[1:]]
    assert found == [b"429 ", *statuses]


def count_429(listening: Listening) -> float:
    registry = listening.server.state.telemetry.registry
    labels = {"code": "rate_limited"}
    return registry.get_sample_value("resnet_request_failures_total", labels) or 0
