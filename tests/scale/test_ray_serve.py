"""The service on two nodes of Ray: equal answers, a killed replica, scaling, a rolling update."""

import base64
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from PIL import Image

pytest.importorskip("ray.serve", reason="Ray is in .venv-ray: make test-scale")

from tests.scale.load import clients
from tests.scale.ray_cluster import RayCluster, ray_cluster, wait_for
from tests.service.images import BLACK, WHITE, encode, fashion_images, striped
from tests.service.process import Running, serve_model

pytestmark = pytest.mark.timeout(900)
TWO = {"autoscaling_config": None, "num_replicas": 2}
TWO_NODES = {**TWO, "max_replicas_per_node": 1}  # which leaves no place for a new replica at first
LIMITS = {"max_in_flight": 64, "max_images": 64}


class Request(NamedTuple):
    method: str
    path: str
    body: bytes = b""
    content_type: str = "image/png"


def form(images: int) -> tuple[bytes, str]:
    """A form of so many images."""
    files = [("file", (f"{i}.png", (BLACK, WHITE)[i % 2], "image/png")) for i in range(images)]
    request = httpx.Request("POST", "http://localhost/", files=files)
    return request.read(), request.headers["content-type"]


def requests() -> list[Request]:
    """What is answered, and what is refused; each request's answer depends on itself alone."""
    images, _ = fashion_images()
    files = [encode(Image.fromarray(image)) for image in images[:8]]
    photograph = encode(striped(640, 480), "JPEG", quality=90)
    several, form_type = form(5)
    coded = base64.b64encode(files[0]).decode()
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28, 1]}
    tensor |= {"data": images[0].ravel().tolist()}
    as_json = [json.dumps({"images": [coded]}), json.dumps({"id": "7", "inputs": [tensor]})]
    return [
        *(Request("POST", "/predict", file) for file in files),
        Request("POST", "/predict?top_k=10", photograph, "image/jpeg"),
        Request("POST", "/predict?coverage=0.95", files[1]),
        Request("POST", "/predict?explain=png", files[2]),
        Request("POST", "/predict", several, form_type),
        Request("POST", "/predict", as_json[0].encode(), "application/json"),
        Request("POST", "/v2/models/fashion-mnist/infer", as_json[1].encode(), "application/json"),
        Request("POST", "/predict?top_k=0", files[0]),
        Request("POST", "/predict", b"no image"),
        Request("POST", "/predict", files[0], "text/html"),
        Request("POST", "/predict", b"{", "application/json"),
        Request("POST", "/models/unknown/predict", files[0]),
        Request("GET", "/architecture?format=svg"),  # as data it has measured times
        Request("GET", "/card"),
        Request("GET", "/readyz"),
        Request("GET", "/v2"),
        Request("GET", "/nowhere"),
        Request("PUT", "/predict", files[0]),
    ]


def ask(url: str, request: Request, number: int) -> tuple[int, dict[str, str], bytes]:
    """Status, headers that do not depend on time or server, body."""
    headers = {"content-type": request.content_type, "x-request-id": f"request-{number}"}
    answer = httpx.request(
        request.method, url + request.path, content=request.body, headers=headers, timeout=60
    )
    changing = {"date", "server", "server-timing", "connection", "keep-alive"}
    kept = {name: value for name, value in answer.headers.items() if name not in changing}
    return answer.status_code, kept, answer.content


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def plain() -> Iterator[Running]:
    with serve_model(max_in_flight="64") as running:
        yield running


def test_both_nodes_answer_as_the_plain_service_does_to_the_last_bit(
    cluster: RayCluster, plain: Running, tmp_path: Path
) -> None:
    replicas = cluster.deploy(tmp_path, LIMITS, **TWO_NODES)

    assert len({each["node_id"] for each in replicas}) == 2
    expected = [ask(plain.url, request, n) for n, request in enumerate(requests())]
    assert {status for status, _, _ in expected} == {200, 400, 404, 405, 415, 422}
    for _ in range(4):  # each replica has answered each request, most likely
        assert [ask(cluster.url(""), each, n) for n, each in enumerate(requests())] == expected
    for each in replicas:
        assert wait_for("a figure of each replica", partial(_answered, cluster, each["replica_id"]))


def _answered(cluster: RayCluster, replica: str) -> bool:
    pattern = rf'^ray_resnet_images_total{{.*replica="{replica}".*}} [1-9]'
    return re.search(pattern, cluster.exported(), re.M) is not None


def test_the_five_metrics_are_exported_by_the_nodes(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.deploy(tmp_path, LIMITS, **TWO_NODES)
    httpx.post(cluster.url("/predict"), content=b"no image", headers={"content-type": "image/png"})

    def exported() -> bool:
        text = cluster.exported()
        names = "requests_total request_failures_total images_total images_in_flight queue_images"
        is_counted = re.search(
            r'^ray_resnet_request_failures_total{.*"invalid_image".*} ', text, re.M
        )
        return (
            all(f"\nray_resnet_{name}{{" in text for name in names.split())
            and is_counted is not None
        )

    assert wait_for("the metrics", exported)


def test_too_many_images_get_the_services_own_503(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.deploy(tmp_path, LIMITS, **TWO_NODES)
    body, content_type = form(64)

    def send(_: int) -> httpx.Response:
        headers = {"content-type": content_type}
        return httpx.post(cluster.url("/predict"), content=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(send, range(12)))

    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 12
    for answer in refused:
        assert answer.status_code == 503
        assert answer.json()["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1


def test_a_killed_replica_loses_only_what_it_ran(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.deploy(tmp_path, LIMITS, **TWO_NODES)
    victim, survivor = cluster.running()
    body, content_type = form(16)

    with clients(cluster.port, body, content_type, count=4) as found:
        wait_for("answers", lambda: len(found.asked) > 40)
        killed_at = time.monotonic()
        os.kill(victim["pid"], signal.SIGKILL)
        wait_for("another replica", lambda: _others(cluster, victim, survivor))
        replaced_at = time.monotonic()
        wait_for("answers", lambda: found.asked[-1].began > replaced_at + 1)

    assert len(found.lost) <= 4  # a request of each client
    for each in found.lost:
        assert each.began <= killed_at, each
        assert each.ended >= killed_at, each
    assert sum(each.began > killed_at for each in found.asked) > 40
    assert survivor["pid"] in {each["pid"] for each in cluster.running()}


def _others(cluster: RayCluster, victim: dict[str, Any], survivor: dict[str, Any]) -> bool:
    pids = {each["pid"] for each in cluster.running()}
    return len(pids) == 2 and victim["pid"] not in pids and survivor["pid"] in pids


def test_a_rolling_update_under_load_loses_no_request(cluster: RayCluster, tmp_path: Path) -> None:
    before = cluster.deploy(tmp_path, LIMITS, **TWO)
    body, content_type = form(2)

    with clients(cluster.port, body, content_type, count=4) as found:
        wait_for("answers", lambda: len(found.asked) > 40)
        after = cluster.deploy(tmp_path, {**LIMITS, "max_batch_size": 16}, **TWO)
        replaced_at = time.monotonic()
        wait_for("answers", lambda: found.asked[-1].began > replaced_at + 2)

    assert {each["pid"] for each in before}.isdisjoint(each["pid"] for each in after)
    assert found.lost == []
    assert len(found.asked) > 200


def test_replicas_follow_the_images_in_flight_up_and_down_without_a_lost_request(
    cluster: RayCluster, tmp_path: Path
) -> None:
    scaling = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 24}
    scaling |= {"look_back_period_s": 4, "upscale_delay_s": 1, "downscale_delay_s": 4}
    policy = {"policy": {"policy_function": "deploy.ray.scaling:by_images_in_flight"}}
    cluster.deploy(tmp_path, {"max_in_flight": 256}, autoscaling_config=scaling | policy)
    wait_for("one replica", lambda: len(cluster.running()) == 1)
    many, content_type = form(64)

    with clients(cluster.port, BLACK, count=1) as light:
        with clients(cluster.port, many, content_type, count=2) as heavy:  # fewer requests than 24
            wait_for("two replicas", lambda: len(cluster.running()) == 2)
        wait_for("one replica", lambda: len(cluster.replicas()) == 1)
        reached_at = time.monotonic()
        wait_for("answers", lambda: light.asked[-1].began > reached_at + 1)

    assert heavy.lost + light.lost == []
    assert len(heavy.asked) > 10
    assert len(light.asked) > 100
