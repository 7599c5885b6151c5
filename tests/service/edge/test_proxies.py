"""The service behind a real nginx and a real HAProxy, with TLS and under a prefix."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import numpy as np
import pytest
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from service.api import head_check
from service.api.record import RequestRecord
from tests.service.conftest import SHIPPED, MakeArtifact
from tests.service.edge.conftest import CLIENT, PREFIX, PROXIES, Edge, StartProxy, program
from tests.service.images import BLACK
from tests.service.listening import Listening, listen, wait_until
from tests.service.process import ROOT, free_port
from tests.service.v2 import ANKLE_BOOT, pixels, png

TRUSTED = ("127.0.0.1",)
MAX_BODY_BYTES = 10_485_760
"""By default."""
IN_HTML = re.compile(r'(?:href|src)="([^"#]+)"')
IN_SCRIPT = re.compile(r'from "(\./[^"]+)"')
OF_PAGE = re.compile(r'(?<![.\w])(?:fetch|get|under|request)\("([\w./-]+)"')
EXAMPLE = re.compile(r"^\$ (curl (?!.*https:).*localhost:8000.*)$", re.M)


@pytest.fixture(scope="module")
def service() -> Iterator[Listening]:
    port = free_port()
    with listen(SHIPPED, has_gate=False, trusted_proxies=TRUSTED, grpc_port=port) as running:
        yield running


@pytest.fixture(scope="module", params=PROXIES)
def edge(
    request: pytest.FixtureRequest, service: Listening, start_proxy: StartProxy
) -> Iterator[Edge]:
    grpc_port = service.server.state.settings.grpc_port
    with start_proxy(request.param, service.port, grpc_port) as started:
        yield started


@pytest.fixture(scope="module")
def client(edge: Edge) -> Iterator[httpx.Client]:
    with edge.client() as opened:
        yield opened


def test_every_address_that_the_page_and_its_files_name_is_served(
    client: httpx.Client,
) -> None:
    page = str(client.base_url)
    waiting = {page, urljoin(page, "static/text.en.json"), urljoin(page, "samples/0.png")}
    seen: set[str] = set()

    while waiting:
        url = waiting.pop()
        seen.add(url)
        answer = client.get(url)
        assert answer.status_code == 200, url
        if "swagger-ui" not in url:
            waiting |= set(named_in(url, answer, page)) - seen

    paths = {url.removeprefix(page) for url in seen}
    assert {"docs", "openapi.json", "readyz", "card", "models", "metrics"} <= paths
    assert {"static/page.js", "static/docs/swagger-ui-bundle.js", "static/keys.js"} <= paths


def named_in(url: str, answer: httpx.Response, page: str) -> Iterator[str]:
    """Give the addresses that a document names, as a browser resolves them."""
    kind = answer.headers["content-type"]
    patterns = [
        ("text/html", IN_HTML, url),
        ("javascript", IN_SCRIPT, url),
        ("javascript", OF_PAGE, page),
    ]
    for part, pattern, base in patterns:
        if part in kind:
            yield from (urljoin(base, each) for each in pattern.findall(answer.text))


@pytest.mark.parametrize("path", [PREFIX, f"{PREFIX}/docs/"])
def test_a_redirect_stays_under_the_prefix(client: httpx.Client, path: str) -> None:
    answer = client.get(urljoin(str(client.base_url), path), follow_redirects=True)

    wanted = PREFIX + "/" if path == PREFIX else PREFIX + "/docs"
    assert (answer.status_code, answer.url.path) == (200, wanted)
    assert answer.url.port == client.base_url.port


def test_the_servers_of_the_openapi_document_answer(client: httpx.Client) -> None:
    document = client.get("openapi.json")

    for server in document.json()["servers"]:
        base = urljoin(str(document.url), server["url"]).rstrip("/")
        assert base == str(client.base_url).rstrip("/")


def test_the_documented_curl_lines_work(edge: Edge, tmp_path: Path) -> None:
    program("curl")
    pages = ("api.md", "network.md")
    lines = [line for name in pages for line in EXAMPLE.findall((ROOT / "docs" / name).read_text())]
    for name in ("boot", "shirt", "shoe"):
        (tmp_path / f"{name}.png").write_bytes(png())
    (tmp_path / ".curlrc").write_text(
        f'cacert="{edge.authority}"\nfail-with-body\nsilent\nshow-error\n'
    )
    script = "; echo; ".join(lines).replace("localhost:8000/", edge.url)

    run = subprocess.run(
        [program("bash"), "-ec", script],
        cwd=tmp_path,
        env={**os.environ, "CURL_HOME": str(tmp_path), "KEY": "none"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(lines) >= 5
    for line, answer in zip(lines, answers, strict=True):
        assert ("results" in answer) == ("predict" in line)


def test_tritons_client_works(edge: Edge) -> None:
    trusting = {"ca_certs": str(edge.authority)}
    address = edge.url.removeprefix("https://").rstrip("/")
    given = http.InferInput("images", [1, 28, 28, 1], "UINT8")
    given.set_data_from_numpy(pixels())

    with closing(http.InferenceServerClient(address, ssl=True, ssl_options=trusting)) as asking:
        answer: Any = asking.infer("fashion-mnist", [given])

    assert int(np.argmax(answer.as_numpy("probabilities"))) == ANKLE_BOOT


def test_tritons_client_works_over_grpc(edge: Edge) -> None:
    address, trusted = f"localhost:{edge.port}", str(edge.authority)
    given = grpc.InferInput("images", [1, 28, 28, 1], "UINT8")
    given.set_data_from_numpy(pixels())

    with closing(
        grpc.InferenceServerClient(address, ssl=True, root_certificates=trusted)
    ) as asking:
        answer: Any = asking.infer("fashion-mnist", [given])
        with pytest.raises(InferenceServerException) as refused:
            asking.infer("none", [given])

    assert int(np.argmax(answer.as_numpy("probabilities"))) == ANKLE_BOOT
    assert refused.value.status() == "StatusCode.NOT_FOUND"


def test_the_clients_address_is_what_the_proxy_saw_and_not_what_the_client_says(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RequestRecord] = []

    def note(*given: Any) -> RequestRecord:
        seen.append(RequestRecord(*given))
        return seen[-1]

    monkeypatch.setattr(head_check, "RequestRecord", note)

    claimed = {"x-forwarded-for": "192.0.2.9", "forwarded": "for=192.0.2.9;proto=http"}
    client.get("models", headers={**claimed, "x-forwarded-prefix": "/evil"})

    checks = ("127.0.0.1", "/readyz")  # HAProxy's own
    assert {(record.client, record.path) for record in seen} - {checks} == {(CLIENT, "/models")}


def test_the_service_itself_says_that_a_body_is_too_large(client: httpx.Client) -> None:
    answer = client.post("predict", content=bytes(MAX_BODY_BYTES + 1))

    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


@pytest.mark.parametrize("name", PROXIES)
def test_a_request_in_flight_is_answered_after_the_port_is_closed(
    name: str, start_proxy: StartProxy, make_artifact: MakeArtifact
) -> None:
    with (
        listen(make_artifact(), trusted_proxies=TRUSTED) as running,
        start_proxy(name, running.port) as edge,
        edge.client() as client,
        ThreadPoolExecutor(1) as threads,
    ):
        asked, port = threads.submit(client.post, "predict", content=BLACK), running.port
        assert running.gate.entered.acquire(timeout=10)
        running.server.handle_exit(signal.SIGTERM, None)
        wait_until(lambda: is_closed(port))
        running.gate.let_through()

        assert asked.result().status_code == 200


def test_the_configuration_of_several_containers_is_valid() -> None:
    command = [program("haproxy"), "-c", "-f", str(ROOT / "deploy/haproxy/scale.cfg")]

    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def is_closed(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) != 0
