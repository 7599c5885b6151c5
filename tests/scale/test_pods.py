"""What the manifests of Kubernetes and KServe rely on: the container as they run it.

There is no cluster here. Image, command, settings, user, limits and ports are taken from the
rendered manifests; a Docker engine does what a node would do with them.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.rendering import ROOT, Pod
from tests.service.certificates import Certificate, make_certificate
from tests.service.process import free_port

DOCKER = shutil.which("docker") or "docker"
IMAGE = os.environ.get("IMAGE", "resnet-service:cpu")
BOOT = (ROOT / "docs/images/boot.png").read_bytes()
CPU, SECURED = "deploy/kubernetes/overlays/cpu", "deploy/kubernetes/overlays/tls-and-keys"
KSERVE = "deploy/kserve"


def engine_answers() -> bool:
    try:
        return subprocess.run([DOCKER, "info"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = [
    pytest.mark.skipif(not engine_answers(), reason="there is no Docker engine"),
    pytest.mark.timeout(180),
]


def docker(*arguments: str) -> str:
    done = subprocess.run(
        [DOCKER, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"docker {arguments[0]} said {done.stderr}"
    return done.stdout.strip()


class Container:
    """A container that runs as a pod's would, with its ports on loopback."""

    def __init__(self, pod: Pod, mounts: dict[Path, str], *arguments: str, model: str) -> None:
        self.pod = pod
        self.ports = {each["containerPort"]: free_port() for each in pod.container["ports"]}
        security = {**pod.spec.get("securityContext", {}), **pod.container["securityContext"]}
        command = [
            *pod.container.get("command", []),
            *(each.replace("{{.Name}}", model) for each in pod.container.get("args", [])),
        ]
        memory = pod.container["resources"]["limits"]["memory"].replace("Gi", "g")
        self.id = docker(
            *("run", "--detach", "--read-only", "--cap-drop", "ALL", "--memory", memory),
            *("--security-opt", "no-new-privileges", "--stop-timeout", "60"),
            *("--user", f"{security['runAsUser']}:{security.get('fsGroup', 10001)}"),
            *(f"--tmpfs={each['mountPath']}" for each in self._mounted("emptyDir")),
            *(f"--publish=127.0.0.1:{here}:{there}" for there, here in self.ports.items()),
            *(f"--volume={here}:{there}:ro" for here, there in mounts.items()),
            *(f"--env={name}={text}" for name, text in pod.environment.items()),
            *arguments,
            IMAGE,
            *command,
        )

    def _mounted(self, kind: str) -> list[Any]:
        names = {each["name"] for each in self.pod.spec["volumes"] if kind in each}
        return [each for each in self.pod.container["volumeMounts"] if each["name"] in names]

    def url(self, port: int | str = "http") -> str:
        number = self.ports[self.pod.port(port)]
        scheme = "https" if self.pod.settings.tls_cert and port == "http" else "http"
        return f"{scheme}://127.0.0.1:{number}"

    def probe(self, name: str) -> int:
        """Do what the node does for a probe; 0 where nothing answers."""
        probe = self.pod.container[name]
        asked = self.url(probe["httpGet"]["port"]) + probe["httpGet"]["path"]
        try:
            return httpx.get(asked, timeout=probe["timeoutSeconds"], trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def wait_until_started(self) -> None:
        probe = self.pod.container["startupProbe"]
        for _ in range(probe["failureThreshold"]):
            if self.probe("startupProbe") == 200:
                return
            time.sleep(probe["periodSeconds"])
        raise AssertionError(docker("logs", self.id))

    def state(self) -> tuple[str, int]:
        status, code = docker(
            "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", self.id
        ).split()
        return status, int(code)


@contextmanager
def running(
    folder: str,
    mounts: dict[Path, str] | None = None,
    *arguments: str,
    model: str = "",
) -> Iterator[Container]:
    container = Container(Pod(folder), mounts or {}, *arguments, model=model)
    try:
        container.wait_until_started()
        yield container
    finally:
        docker("rm", "--force", container.id)


def ask(url: str, **given: Any) -> httpx.Response:
    headers = {"Content-Type": "image/png", **given.pop("headers", {})}
    return httpx.post(f"{url}/predict", content=BOOT, headers=headers, trust_env=False, **given)


class Clients:
    """Four clients that send one request after the other until they are stopped."""

    def __init__(self, url: str) -> None:
        self.statuses: list[int | str] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(url,)) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _send(self, url: str) -> None:
        with httpx.Client(trust_env=False, timeout=20) as client:
            while not self._stopped.is_set():
                try:
                    answer = client.post(
                        f"{url}/predict", content=BOOT, headers={"Content-Type": "image/png"}
                    )
                    self.statuses.append(answer.status_code)
                except httpx.TransportError as error:
                    self.statuses.append(repr(error))

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def test_a_pod_that_ends_under_load_is_listed_out_first_and_loses_nothing() -> None:
    with running(CPU) as container:
        readiness = container.pod.container["readinessProbe"]
        grace_s = container.pod.spec["terminationGracePeriodSeconds"]
        clients = Clients(container.url())
        time.sleep(2)
        began, answered = time.monotonic(), len(clients.statuses)
        docker("kill", "--signal", "TERM", container.id)
        while container.probe("readinessProbe") == 200:
            time.sleep(readiness["periodSeconds"])
        unlisted_s = time.monotonic() - began
        assert container.probe("livenessProbe") == 200  # nobody kills it for ending
        time.sleep(1)  # the endpoint reaches every node
        clients.stop()
        while container.state()[0] == "running" and time.monotonic() < began + grace_s:
            time.sleep(0.2)
        ended_s = time.monotonic() - began

        assert container.state() == ("exited", 0)
        assert answered
        assert len(clients.statuses) > answered
        assert set(clients.statuses) == {200}
        assert unlisted_s < container.pod.settings.drain_delay_s < ended_s < grace_s


def test_a_pod_runs_as_a_user_without_rights_and_writes_to_its_temporary_folder_alone() -> None:
    with running(CPU) as container:
        probes = [container.probe(name) for name in ("readinessProbe", "livenessProbe")]
        status = docker("exec", container.id, "cat", "/proc/1/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        touch = "touch /tmp/x && ! touch /x && ! touch /srv/x && ! touch /run/x"
        docker("exec", container.id, "sh", "-c", touch)

        assert probes == [200, 200]
        assert fields["Uid"].split() == fields["Gid"].split() == ["10001"] * 4
        assert fields["CapEff"] == fields["CapBnd"] == "0" * 16
        answer = ask(container.url()).json()
        assert answer["results"][0]["predictions"][0]["label"] == "Ankle boot"
        other = httpx.get(f"{container.url()}/metrics", trust_env=False)
        assert other.status_code == 404  # metrics have a port of their own
        text = httpx.get(f"{container.url('metrics')}/metrics", trust_env=False).text
        assert "resnet_images_in_flight" in text


@pytest.mark.parametrize(
    "arguments",
    [("--env=RESNET_MAX_CORES=1",), ("--env=RESNET_MAX_CORES=0", "--cpus=1")],
    ids=["as the request says", "as the cgroup's quota says"],
)
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core is all there is")
def test_a_pod_has_as_many_threads_as_cores_are_meant_for_it(arguments: tuple[str, ...]) -> None:
    with running(CPU, None, *arguments) as container:
        log = docker("logs", container.id) + _stderr(container)

    assert '"instances": 1, "threads": 1' in log


def _stderr(container: Container) -> str:
    return subprocess.run(
        [DOCKER, "logs", container.id], capture_output=True, text=True, check=True
    ).stderr


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "classifier")


@pytest.fixture
def secrets(certificate: Certificate, tmp_path: Path) -> dict[Path, str]:
    """Two secrets as a node mounts them: links to files that only the group may read."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files to the container's group")
    files = {
        "tls": {"tls.crt": certificate.cert.read_bytes(), "tls.key": certificate.key.read_bytes()},
        "keys": {"keys": b"shop: secret-of-the-shop predict\n"},
    }
    mounts = {}
    for secret, content in files.items():
        folder = tmp_path / secret
        version = folder / "..2026_01_01"
        version.mkdir(parents=True)
        (folder / "..data").symlink_to(version.name)
        for name, data in content.items():
            (version / name).write_bytes(data)
            (version / name).chmod(0o440)
            os.chown(version / name, 0, 10001)
            (folder / name).symlink_to(f"..data/{name}")
        mounts[folder] = f"/run/secrets/{secret}"
    return mounts


def test_a_pod_reads_its_certificate_and_keys_from_mounted_secrets(
    secrets: dict[Path, str], certificate: Certificate
) -> None:
    trusting = certificate.trusting_client()
    with running(SECURED, secrets) as container:
        key = {"Authorization": "Bearer secret-of-the-shop"}
        answers = [ask(container.url(), verify=trusting, headers=each) for each in (key, {})]
        metrics = httpx.get(f"{container.url('metrics')}/metrics", trust_env=False)

        assert [answer.status_code for answer in answers] == [200, 401]
        assert metrics.status_code == 200
        assert container.probe("readinessProbe") == container.probe("livenessProbe") == 200


def test_kserves_runtime_serves_a_flat_folder_under_the_name_it_is_given() -> None:
    mounts = {ROOT / "artifacts/fashion-mnist/1": "/mnt/models"}
    with running(KSERVE, mounts, model="shop-window") as container:
        url = container.url("http1")
        probes = [container.probe(name) for name in ("readinessProbe", "livenessProbe")]
        names = httpx.get(f"{url}/v2/models", trust_env=False).json()["models"]
        answer = httpx.post(
            f"{url}/v2/models/shop-window-image/infer",
            content=BOOT,
            headers={"Inference-Header-Content-Length": "0"},
            trust_env=False,
        )

        assert probes == [200, 200]
        assert names[0] == "shop-window"
        assert all(name.startswith("shop-window") for name in names)
        assert answer.status_code == 200
