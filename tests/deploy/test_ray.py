"""deploy/ray without Ray: its configuration file, settings of a replica, life, scaling."""

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from starlette.types import Message, Receive, Scope, Send

from deploy.ray.check import faults
from deploy.ray.replica import Hosted, read_replica_settings
from deploy.ray.scaling import by_images_in_flight
from service.cancellation import DISCONNECT, Disconnect
from service.cpus import usable_cores
from service.errors import StartError

FILE = Path(__file__).parents[2] / "deploy/ray/serve.yaml"


def config() -> Any:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def deployment(config: Any) -> Any:
    return config["applications"][0]["deployments"][0]


def test_the_configuration_has_no_key_that_ray_would_ignore() -> None:
    assert list(faults(config())) == []


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (lambda config: config, "http_option"),
        (lambda config: config["http_options"], "keepalive_timeout_s"),
        (lambda config: config["applications"][0], "arg"),
        (deployment, "max_ongoing_request"),
        (lambda config: deployment(config)["backpressure_config"], "retry_after"),
        (lambda config: deployment(config)["autoscaling_config"], "target_requests"),
        (lambda config: deployment(config)["autoscaling_config"]["policy"], "policy"),
        (lambda config: config["applications"][0]["args"], "max_batchsize"),
    ],
)
def test_a_misspelt_key_is_named_wherever_it_stands(place: Callable[[Any], Any], key: str) -> None:
    changed = copy.deepcopy(config())
    place(changed)[key] = 1

    (line,) = faults(changed)

    assert key in line


def test_limits_let_the_service_answer_before_ray_does() -> None:
    found = config()
    settings = read_replica_settings(found["applications"][0]["args"])
    answered_s = settings.body_timeout_s + settings.deadline_s

    assert deployment(found)["max_ongoing_requests"] >= 2 * settings.max_in_flight
    assert deployment(found)["max_ongoing_requests"] >= 2 * settings.max_batch_size
    assert deployment(found)["graceful_shutdown_timeout_s"] > answered_s
    assert found["http_options"]["request_timeout_s"] > answered_s
    assert deployment(found)["backpressure_config"]["status_code"] == 503


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"port": 8000}, "RESNET_PORT has no effect in a replica"),
        ({"workers": 2}, "RESNET_WORKERS has no effect in a replica"),
        ({"max_batch": 2}, "'max_batch' is not a setting"),
        ({"max_batch_size": 0}, "RESNET_MAX_BATCH_SIZE (=0)"),
    ],
)
def test_a_setting_that_is_unknown_bad_or_of_the_server_is_one_line(
    given: dict[str, Any], why: str
) -> None:
    with pytest.raises(StartError) as refused:
        read_replica_settings(given)

    assert why in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_setting_of_the_server_is_refused_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESNET_TLS_CERT", "tls.crt")

    with pytest.raises(StartError, match="RESNET_TLS_CERT has no effect"):
        read_replica_settings({})


@pytest.mark.parametrize(("cores", "sharing"), [(1.0, usable_cores()), (0.5, usable_cores())])
def test_a_replica_takes_only_its_own_share_of_the_cores(cores: float, sharing: int) -> None:
    assert read_replica_settings({}, cores).processes == sharing
    assert read_replica_settings({}, 2.0 * usable_cores()).processes == 1


@pytest.mark.parametrize(
    ("reported", "queued", "replicas"),
    [
        ({"a": 48.0}, 0.0, 2.0),
        ({"a": 24.0, "b": 12.0}, 12.0, 2.0),
        ({"a": 0.0}, None, 0.0),
        ({}, 5.0, 3.0),  # nothing is known yet: as it is
    ],
)
def test_replicas_follow_the_images_in_flight(
    reported: dict[str, float], queued: float | None, replicas: float
) -> None:
    context = SimpleNamespace(
        config=SimpleNamespace(target_ongoing_requests=24.0),
        target_num_replicas=3,
        total_queued_requests=queued,
        aggregated_metrics={"images_in_flight": reported},
    )

    assert by_images_in_flight(context) == (replicas, {})


def test_a_cancelled_request_leaves_the_queue_as_if_its_client_had_disconnected() -> None:
    disconnect = Disconnect()
    ended: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scope[DISCONNECT] = disconnect
        left = asyncio.Event()
        disconnect.leave_queue = left.set
        await left.wait()
        ended.append("left the queue")

    async def cancel() -> None:
        scope: Scope = {"type": "http", "headers": []}
        request = asyncio.ensure_future(Hosted(app)(scope, _nothing, _take([])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(cancel())

    assert ended == ["left the queue"]


def test_the_request_id_stands_once_in_a_response() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"x-request-id", b"7"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    sent: list[Message] = []
    scope: Scope = {"type": "http", "headers": [(b"x-request-id", b"7")]}
    asyncio.run(Hosted(app)(scope, _nothing, _take(sent)))

    assert sent[0]["headers"] == [(b"content-type", b"text/plain")]


async def _nothing() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def _take(sent: list[Message]) -> Send:
    async def send(message: Message) -> None:
        sent.append(message)

    return send
