"""The gRPC port from its start to its end."""

import signal
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferenceServerException, InferInput

from service.app import create_app
from service.errors import StartError
from service.server.listen import reserve_grpc
from service.settings import Settings
from tests.service.api.grpc.conftest import METHOD
from tests.service.certificates import Certificate, make_certificate
from tests.service.conftest import MakeArtifact
from tests.service.images import WHITE
from tests.service.listening import Listening, listen, wait_until
from tests.service.process import free_port


def ask(client: InferenceServerClient) -> Any:
    images = InferInput("images", [1], "BYTES")
    images.set_data_from_numpy(np.array([WHITE], np.object_))
    return client.infer("tiny-image", [images])


def test_calls_in_flight_are_answered_when_it_ends(make_artifact: MakeArtifact) -> None:
    port = free_port()
    with (
        listen(make_artifact(), grpc_port=port, drain_delay_s=0.5) as served,
        closing(InferenceServerClient(f"127.0.0.1:{port}")) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        answers = [threads.submit(ask, client) for _ in range(2)]
        wait_until(lambda: served.classifier.in_flight == 2)
        assert client.is_server_ready()

        served.server.handle_exit(signal.SIGTERM, None)
        wait_until(lambda: not client.is_server_ready())  # and yet it answers
        wait_until(lambda: served.server.should_exit)
        served.gate.let_through(2)

        assert [answer.result(10).as_numpy("logits").shape for answer in answers] == [(1, 2)] * 2
        wait_until(lambda: is_closed(client))


def is_closed(client: InferenceServerClient) -> bool:
    try:
        client.is_server_live()
    except InferenceServerException as error:
        return bool(error.status() == "StatusCode.UNAVAILABLE")
    return False


def test_it_has_the_certificate_of_http_and_takes_new_ones(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    port, first, second = free_port(), *(make_certificate(tmp_path, name) for name in "ab")
    given: dict[str, Any] = {"grpc_port": port, "tls_cert": first.cert, "tls_key": first.key}
    trusted = first.cert.read_bytes(), second.cert.read_bytes()
    with listen(make_artifact(), tls_client_ca=first.cert, **given) as served:
        before = [is_ready(port, *pair) for pair in ((trusted[0], first), (trusted[0], None))]
        first.cert.write_bytes(b"broken")
        on_loop(served, served.server.reload_all)
        broken = is_ready(port, trusted[0], first, trusted[0])
        first.replace_by(second)
        on_loop(served, served.server.reload_all)
        after = [is_ready(port, authority, second) for authority in trusted]

    assert before == [True, False]  # it wants one of its clients, too
    assert broken
    assert after == [False, True]


def is_ready(
    port: int, authority: bytes, own: Certificate | None, cert: bytes | None = None
) -> bool:
    """Ask over a new connection that trusts an authority, with a certificate of its own or none."""
    credentials = grpc.ssl_channel_credentials(
        authority,
        None if own is None else own.key.read_bytes(),
        None if own is None else cert or own.cert.read_bytes(),
    )
    alone = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=alone) as channel:
        try:
            answer = channel.unary_unary(METHOD + "ServerReady")(b"", timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer == b"\x08\x01")


def on_loop(served: Listening, act: Callable[[], None]) -> None:
    """Do it in the thread of the server."""
    done: list[bool] = []

    def run() -> None:
        act()
        done.append(True)

    served.server.servers[0].get_loop().call_soon_threadsafe(run)
    wait_until(lambda: bool(done))


def test_without_its_extra_the_setting_stops_the_start_with_one_line(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("service.api.grpc")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)

    with pytest.raises(StartError) as stopped:
        create_app(Settings(artifact=make_artifact(), grpc_port=8001))

    assert str(stopped.value) == (
        "RESNET_GRPC_PORT (=8001) needs grpc, which is not installed. Install the extra "
        "`grpc`, or unset it."
    )


def test_a_port_in_use_stops_the_start(make_artifact: MakeArtifact) -> None:
    port = free_port()
    settings = Settings(artifact=make_artifact(), grpc_port=port)

    with (
        listen(make_artifact(overwrite=True), grpc_port=port),
        pytest.raises(StartError, match=f"Port {port} .* Choose another with RESNET_GRPC_PORT"),
        reserve_grpc(settings),
    ):
        pass
    with reserve_grpc(settings):
        pass
    with reserve_grpc(settings.model_copy(update={"grpc_port": 0})):
        pass


def test_no_call_of_busy_clients_is_cancelled_at_the_end(make_artifact: MakeArtifact) -> None:
    port, statuses = free_port(), Counter[str]()

    def keep_asking() -> None:
        alone = [("grpc.use_local_subchannel_pool", 1)]
        with closing(InferenceServerClient(f"127.0.0.1:{port}", channel_args=alone)) as client:
            while not statuses["StatusCode.UNAVAILABLE"]:
                try:
                    ask(client)
                    statuses["answered"] += 1
                except InferenceServerException as error:
                    statuses[error.status()] += 1

    with (
        listen(make_artifact(), has_gate=False, grpc_port=port) as served,
        ThreadPoolExecutor(4) as threads,
    ):
        asking = [threads.submit(keep_asking) for _ in range(4)]
        wait_until(lambda: statuses["answered"] > 40)
        served.server.handle_exit(signal.SIGTERM, None)
        wait_until(lambda: all(each.done() for each in asking))

    assert set(statuses) == {"answered", "StatusCode.UNAVAILABLE"}
