"""Around every call over gRPC: keys, limits, deadlines, cancellation, metrics, the log."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from tritonclient.utils import InferenceServerException

from service.api import recorder
from tests.service.api.access.conftest import KEY, PREDICTS, READS, bearer, keys
from tests.service.api.grpc.conftest import Asked, AskedOf
from tests.service.conftest import Gate
from tests.service.images import WHITE, png_with

pytestmark = pytest.mark.anyio
__all__ = ["keys"]
ONE_SLOT = {"max_batch_size": 1, "max_in_flight": 1}


async def refusal_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


async def status_of(answer: Any) -> str | None:
    """Wait for an answer through Triton's client; name its status if it is a refusal."""
    try:
        await answer
    except InferenceServerException as error:
        name: str = error.status()
        return name.removeprefix("StatusCode.")
    return None


@pytest.mark.parametrize(
    ("headers", "metadata", "infer"),
    [
        ({}, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        (bearer("wrong"), "UNAUTHENTICATED", "UNAUTHENTICATED"),
        (bearer(KEY) | {"x-api-key": KEY}, "UNAUTHENTICATED", "UNAUTHENTICATED"),
        (bearer(KEY), None, None),
        ({"x-api-key": KEY}, None, None),
        (bearer(PREDICTS), "PERMISSION_DENIED", None),
        (bearer(READS), None, "PERMISSION_DENIED"),
    ],
)
async def test_a_call_needs_a_key_with_its_scope(
    asked: AskedOf, keys: Path, headers: dict[str, str], metadata: str | None, infer: str | None
) -> None:
    service = await asked(api_keys_file=keys)

    assert await status_of(service.client.get_server_metadata(headers=headers)) == metadata
    assert await status_of(service.infer(headers=headers)) == infer


async def test_the_key_is_judged_before_the_message_is_received(asked: AskedOf, keys: Path) -> None:
    service = await asked(api_keys_file=keys)

    refused = await refusal_of(service.call())  # which never sends one

    assert refused.code() is StatusCode.UNAUTHENTICATED
    assert dict(refused.trailing_metadata())["www-authenticate"].startswith("Bearer ")


async def test_a_client_over_its_limit_is_told_when_to_come_back(asked: AskedOf) -> None:
    service = await asked(client_requests_s=0.1)

    assert await status_of(service.infer()) is None
    refused = await refusal_of(service.call())

    assert refused.code() is StatusCode.RESOURCE_EXHAUSTED
    metadata = dict(refused.trailing_metadata())
    assert (metadata["retry-after"], metadata["grpc-retry-pushback-ms"]) == ("10", "10000")
    assert metadata["ratelimit"] == '"requests";r=0;t=10'


@pytest.mark.parametrize(
    ("image", "statuses"),
    [
        (png_with((b"prVt", bytes(600_000))), [None, None]),
        (bytes(600_000), ["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"]),
    ],
    ids=["answered", "refused"],
)
async def test_only_a_message_that_fails_counts_as_images_by_its_size(
    image: bytes, statuses: list[str | None], asked: AskedOf
) -> None:
    service = await asked(client_images_s=2)

    assert [await status_of(service.infer(png=png)) for png in (image, WHITE)] == statuses


async def test_the_address_that_a_trusted_proxy_names_is_limited(asked: AskedOf) -> None:
    service = await asked(client_requests_s=0.1, trusted_proxies=("127.0.0.1",))

    statuses = [
        await status_of(service.infer(headers={"x-forwarded-for": address}))
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")
    ]

    assert statuses == [None, None, "RESOURCE_EXHAUSTED"]


async def test_images_in_flight_are_limited_for_each_client(asked: AskedOf) -> None:
    gate = Gate()
    service = await asked(run=gate, client_max_in_flight=1)
    running = asyncio.ensure_future(service.infer())
    await gate.has_entered()

    beside = await status_of(service.infer())
    gate.let_through()

    assert beside == "RESOURCE_EXHAUSTED"
    assert await status_of(running) is None


async def test_under_overload_a_call_is_refused_before_its_message_is_received(
    asked: AskedOf,
) -> None:
    gate = Gate()
    service = await asked(run=gate, **ONE_SLOT)
    running = asyncio.ensure_future(service.infer())
    await gate.has_entered()

    refused = await refusal_of(service.call())
    gate.let_through()

    assert refused.code() is StatusCode.UNAVAILABLE
    assert "1 images are in flight; the limit is 1" in (refused.details() or "")
    assert dict(refused.trailing_metadata())["retry-after"] == "1"
    assert service.failures("overloaded") == 1
    assert await status_of(running) is None


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"client_timeout": 1}, "[Dd]eadline"),
        ({"timeout": 500_000}, "No answer after"),
    ],
)
async def test_a_call_past_its_deadline_frees_its_slot(
    asked: AskedOf, limit: dict[str, Any], words: str
) -> None:
    gate = Gate()
    service = await asked(run=gate, max_batch_size=1)
    running = asyncio.ensure_future(service.infer())
    await gate.has_entered()

    with pytest.raises(InferenceServerException, match=words) as late:
        await asyncio.gather(service.infer(**limit), in_flight(service, 2))
    await in_flight(service, 1)
    gate.let_through()

    assert late.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert await status_of(running) is None
    # a client that gives up in time disconnects before the server's clock says so
    assert service.failures("deadline_exceeded") + service.failures("client_disconnected") == 1
    assert len(gate.batches) == 1


async def test_a_cancelled_call_frees_its_slot_and_is_not_run(asked: AskedOf) -> None:
    gate = Gate()
    service = await asked(run=gate, max_batch_size=1)
    running = asyncio.ensure_future(service.infer())
    await gate.has_entered()
    cancelled = asyncio.ensure_future(service.infer(2))
    await in_flight(service, 3)

    cancelled.cancel()
    await in_flight(service, 1)
    gate.let_through()

    assert await status_of(running) is None
    assert service.failures("client_disconnected") == 1
    assert len(gate.batches) == 1


async def in_flight(service: Asked, images: int) -> None:
    """Wait until so many images are in flight."""
    async with asyncio.timeout(5):
        while service.service.classifier.in_flight != images:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)


async def test_a_message_that_does_not_arrive_is_given_up(asked: AskedOf) -> None:
    service = await asked(body_timeout_s=0.1)

    refused = await refusal_of(service.call())

    assert refused.code() is StatusCode.DEADLINE_EXCEEDED
    assert refused.details() == (
        "The message did not arrive within 0.1 s. Send it faster, or in smaller requests."
    )


async def test_a_slow_message_makes_room_for_others(asked: AskedOf) -> None:
    service = await asked(max_buffered_bytes=20_000, max_body_bytes=20_000)  # one at a time
    slow = asyncio.ensure_future(refusal_of(service.call()))
    await asyncio.sleep(0.05)

    assert await status_of(service.infer()) is None
    assert (await slow).code() is StatusCode.UNAVAILABLE
    assert "arrived slowly" in str((await slow).details())


async def test_a_call_without_a_message_or_with_a_broken_one_is_malformed(asked: AskedOf) -> None:
    service = await asked()
    empty = service.call()
    await empty.done_writing()
    broken = service.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    refusals = [await refusal_of(empty)]
    refusals += [await refusal_of(broken(content)) for content in (b"\x2a", b"\x2a\0" * 2000)]

    assert [each.code() for each in refusals] == [StatusCode.INVALID_ARGUMENT] * 3
    assert [str(each.details()).partition(".")[0].partition(":")[0] for each in refusals] == [
        "No message arrived, or it had more than 10,485,760 bytes",
        "The message is malformed",
        "The message has more than 1,064 fields",
    ]


async def test_a_call_is_counted_and_logged_as_a_request_is(
    asked: AskedOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service")
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(recorder, "log_request", lambda _, fields: logged.append(fields))
    service = await asked()

    result = await service.infer(2, headers={"x-request-id": "seven"})
    await status_of(service.client.infer("nope", []))
    metrics = (await service.service.client.get("/metrics")).text
    statistics = (await service.service.client.get("/v2/models/tiny/stats")).json()

    infer, unknown = logged[:2]
    assert infer["request_id"] == "seven"
    assert infer["path"] == "/inference.GRPCInferenceService/ModelInfer"
    assert (infer["status"], infer["model"], infer["images"]) == (200, "tiny/1", 2)
    assert infer["client"] == "127.0.0.1"
    assert infer["bytes_out"] == result.get_response().ByteSize()
    assert (unknown["status"], unknown["code"]) == (404, "model_not_found")
    labels = 'method="POST",route="/inference.GRPCInferenceService/ModelInfer"'
    assert f'resnet_requests_total{{{labels},status="200"}} 1.0' in metrics
    assert f'resnet_requests_total{{{labels},status="404"}} 1.0' in metrics
    assert statistics["model_stats"][0]["inference_stats"]["success"]["count"] == 1


async def test_an_unexpected_error_is_an_internal_one_without_details(
    asked: AskedOf, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> Any:
        raise ValueError("secret")

    service = await asked(run=fail)

    with pytest.raises(InferenceServerException) as failed:
        await service.infer()

    assert failed.value.status() == "StatusCode.INTERNAL"
    assert "secret" not in failed.value.message()
    assert "secret" in caplog.text
