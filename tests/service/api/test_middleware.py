import logging
import re
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.api import recorder
from service.api.middleware import RequestMiddleware
from service.log import JsonFormatter, TextFormatter
from tests.service import graphs
from tests.service.conftest import Serve, Service
from tests.service.images import GREY, WHITE

pytestmark = pytest.mark.anyio


Line = tuple[int, dict[str, Any]]
MADE = re.compile(r"[0-9a-f]{16}-[0-9a-f]+")
"""An id that the service made."""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """The level and the fields of each request's line."""
    logged: list[Line] = []
    monkeypatch.setattr(recorder, "log_request", lambda *line: logged.append(line))
    return logged


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "service")


@pytest.mark.parametrize("given", ["a", "A-Z_0.9", "x" * 64])
async def test_a_plain_request_id_is_kept(given: str, shipped: Service) -> None:
    response = await shipped.client.get("/livez", headers={"x-request-id": given})

    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given", [b"", b"x" * 65, b"a b", b"a\tb", b"a;b", b"<b>", b"\xe9", b"a\r\nb: c"]
)
async def test_another_request_id_is_replaced(given: bytes, shipped: Service) -> None:
    response = await shipped.client.get("/livez", headers={b"x-request-id": given})

    assert MADE.fullmatch(response.headers["x-request-id"])


async def test_every_request_has_an_id_of_its_own(shipped: Service) -> None:
    made = {(await shipped.client.get("/livez")).headers["x-request-id"] for _ in range(5)}

    assert len(made) == 5


async def test_a_request_is_one_line_in_the_log(shipped: Service, lines: list[Line]) -> None:
    response = await shipped.client.post("/predict", content=WHITE)

    ((level, line),) = lines
    assert level == logging.INFO
    assert line.pop("ms") > 0
    assert line.pop("infer_ms") > 0
    assert min(line.pop(f"{stage}_ms") for stage in ("decode", "preprocess", "queue")) >= 0
    assert line == {
        "request_id": response.headers["x-request-id"],
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "client": "127.0.0.1",
        "model": "fashion-mnist/1",
        "images": 1,
        "batch_size": 1,
        "bytes_in": len(WHITE),
        "bytes_out": len(response.content),
    }


@pytest.mark.parametrize(("share", "logged"), [(1.0, 8), (0.25, 2)])
async def test_a_share_of_the_good_and_all_of_the_bad_are_logged(
    share: float, logged: int, serve: Serve, lines: list[Line]
) -> None:
    service = await serve(access_log_sample=share)

    for _ in range(8):
        await service.client.get("/card")
        await service.client.get("/nothing")

    statuses = [line["status"] for _, line in lines]
    assert (statuses.count(200), statuses.count(404)) == (logged, 8)
    assert {line.get("code") for _, line in lines} == {None, "not_found"}


async def test_lines_of_requests_can_be_switched_off(serve: Serve, lines: list[Line]) -> None:
    service = await serve(access_log=False)

    await service.client.get("/nothing")

    assert lines == []


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_what_machines_ask_is_logged_for_debugging_only(
    path: str, shipped: Service, lines: list[Line]
) -> None:
    await shipped.client.get(path)

    assert [level for level, _ in lines] == [logging.DEBUG]


async def test_a_line_below_the_level_is_not_even_made(
    shipped: Service, lines: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "service")

    await shipped.client.post("/predict", content=WHITE)

    assert lines == []


async def test_what_a_client_chose_is_cut_short(shipped: Service, lines: list[Line]) -> None:
    await shipped.client.request("M" * 500, "/" + "p" * 5_000, headers={"x-request-id": "i" * 500})

    ((_, line),) = lines
    assert (len(line["method"]), len(line["path"])) == (16, 200)
    assert MADE.fullmatch(line["request_id"])


async def test_our_own_mistake_is_logged_with_its_cause(
    serve: Serve, lines: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    def run(_: object) -> Any:
        raise ZeroDivisionError("the cause")

    service = await serve(run=run)

    await service.client.post("/predict", content=WHITE)

    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.exc_info is not None
    assert str(error.exc_info[1]) == "the cause"
    assert [line["status"] for _, line in lines] == [500]


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
async def test_our_own_mistake_is_logged_with_the_requests_id(
    formatter: logging.Formatter, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def run(_: object) -> Any:
        raise ZeroDivisionError("the cause")

    service = await serve(run=run)

    response = await service.client.post("/predict", content=WHITE)
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    first_line = formatter.format(error).splitlines()[0]

    assert response.status_code == 500
    assert response.headers["x-request-id"] in first_line
    assert "request_id" in first_line


async def test_the_engines_failure_is_logged_with_its_cause(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    service = await serve(graphs.fails_on_grey())

    await service.client.post("/predict", content=GREY)

    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.exc_info is not None
    assert error.exc_info[1] is not None
    assert "out of data bounds" in str(error.exc_info[1].__cause__)


async def test_a_clients_mistake_is_no_error_in_the_log(
    shipped: Service, lines: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    await shipped.client.post("/predict", content=b"junk")

    assert [level for level, _ in lines] == [logging.INFO]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_client_that_leaves_during_its_body_is_no_mistake_of_ours(
    serve: Serve, lines: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    service = await serve()
    messages: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_: Message) -> None:
        pass

    await service.app(scope("/predict", "POST"), receive, send)

    assert [line["status"] for _, line in lines] == [400]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def scope(path: str, method: str = "GET") -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
    }


async def test_an_error_after_the_answer_has_begun_goes_up_to_the_server(
    serve: Serve, lines: list[Line]
) -> None:
    service = await serve()

    async def half(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("the disk is gone")

    async def never(*_: object) -> Any:
        raise AssertionError("nothing can be answered any more")

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    middleware = RequestMiddleware(half, service.app.state.service, never)
    with pytest.raises(OSError, match="the disk is gone"):
        await middleware({**scope("/x"), "app": service.app}, receive, send)

    assert [message["type"] for message in sent] == ["http.response.start"]
    assert len(lines) == 1
