"""Limits for each client: how many requests and images, a second and in flight."""

import asyncio

import pytest

from service.api.access import limits
from service.errors import RateLimitedError
from service.settings import Settings
from tests.service.api.access.conftest import KEY, PNG, READS, Keyed, bearer
from tests.service.conftest import Gate as Engine
from tests.service.conftest import Serve
from tests.service.images import WHITE

pytestmark = pytest.mark.anyio


class _Clock:
    """A clock that a test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


async def test_a_client_may_send_so_many_requests_a_second(serve: Serve, clock: _Clock) -> None:
    service = await serve(client_requests_s=2)

    async def ask() -> int:
        return (await service.client.get("/card")).status_code

    statuses = [await ask() for _ in range(3)]
    clock.now += 0.5
    statuses += [await ask(), await ask()]
    clock.now += 60
    statuses += [await ask() for _ in range(3)]

    assert statuses == [200, 200, 429, 200, 429, 200, 200, 429]


async def test_a_client_that_asks_too_much_is_told_when_to_come_back(
    serve: Serve, clock: _Clock
) -> None:
    service = await serve(client_requests_s=0.1)
    await service.client.get("/card")
    clock.now += 2.5

    for path in ("/card", "/v2/models/tiny"):
        response = await service.client.get(path)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "8"
        assert response.headers["ratelimit"] == '"requests";r=0;t=8'
        assert response.headers["ratelimit-policy"] == '"requests";q=1;w=10'
    assert (await service.client.get("/livez")).status_code == 200
    body = (await service.client.get("/card", headers={"x-request-id": "mine"})).json()
    assert (body["code"], body["request_id"]) == ("rate_limited", "mine")


async def test_a_request_of_many_images_is_paid_for_by_waiting(serve: Serve, clock: _Clock) -> None:
    service = await serve(client_images_s=2)
    files = [("file", WHITE)] * 5

    async def ask() -> int:
        return (await service.client.post("/predict", files=files)).status_code

    statuses = [await ask()]
    clock.now += 1.9  # 2 - 5 + 3.8 is not yet 1
    statuses.append(await ask())
    clock.now += 0.2
    statuses.append(await ask())

    assert statuses == [200, 429, 200]


async def test_a_body_that_is_refused_counts_as_images_by_its_size(
    serve: Serve, clock: _Clock
) -> None:
    service = await serve(client_images_s=2)

    async def ask(body: bytes) -> int:
        return (await service.client.post("/predict", content=body)).status_code

    statuses = [await ask(bytes(600_000)), await ask(WHITE)]
    clock.now += 0.9  # 2 - 1 for the image - 2 for the bytes + 1.8 is not yet 1
    statuses.append(await ask(WHITE))
    clock.now += 0.2
    statuses.append(await ask(WHITE))

    assert statuses == [422, 429, 429, 200]


async def test_requests_at_the_same_time_are_all_paid_for(clock: _Clock) -> None:
    found = limits.ClientLimits(Settings(client_images_s=2))
    for request in [found.enter("client"), found.enter("client")]:
        request.begin(5)

    clock.now += 4.4  # 2 - 10 + 8.8 is not yet 1
    with pytest.raises(RateLimitedError):
        found.enter("client")
    clock.now += 0.2
    found.enter("client")


@pytest.mark.usefixtures("clock")
async def test_requests_beyond_the_scope_of_a_key_count_for_its_address(keyed: Keyed) -> None:
    service = await keyed(client_requests_s=1)

    statuses = [
        (await service.client.post("/predict", headers=bearer(READS))).status_code for _ in range(2)
    ]

    assert statuses == [403, 429]


@pytest.mark.usefixtures("clock")
async def test_clients_are_told_apart_by_key_and_else_by_address(keyed: Keyed) -> None:
    service = await keyed(client_requests_s=1, trusted_proxies=("127.0.0.1",))

    async def ask(key: str, address: str) -> int:
        headers = bearer(key) | {"x-forwarded-for": address}
        return (await service.client.get("/card", headers=headers)).status_code

    statuses = [
        await ask(KEY, "192.0.2.1"),
        await ask(KEY, "192.0.2.2"),
        await ask(READS, "192.0.2.1"),
        await ask("wrong", "192.0.2.1"),
        await ask("wronger", "192.0.2.1"),
        await ask("wrong", "2001:db8::1"),
        await ask("wrong", "2001:db8::2"),
        await ask("wrong", "2001:db8:1::1"),
    ]

    assert statuses == [200, 429, 200, 401, 429, 401, 429, 401]


async def test_a_client_may_have_so_many_images_in_flight(serve: Serve) -> None:
    engine = Engine()
    service = await serve(run=engine, client_max_in_flight=2)
    first = asyncio.create_task(service.client.post("/predict", files=[("file", WHITE)] * 2))
    await engine.has_entered()

    second = await service.client.post("/predict", content=WHITE, headers=PNG)
    engine.let_through(2)
    answers = [await first]
    third = asyncio.create_task(service.client.post("/predict", files=[("file", WHITE)] * 3))
    engine.let_through(3)
    answers.append(await third)

    assert second.json()["code"] == "rate_limited"
    assert second.headers["retry-after"] == "1"
    assert [answer.status_code for answer in answers] == [200, 200]  # alone, more are allowed


async def test_clients_that_came_long_ago_are_forgotten(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 3)
    service = await serve(client_requests_s=1, trusted_proxies=("127.0.0.1",))

    for number in range(9):
        await service.client.get("/card", headers={"x-forwarded-for": f"192.0.2.{number}"})

    assert len(service.app.state.service.gate.limits._clients) == 3
