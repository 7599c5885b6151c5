"""The container of docker-compose.yml on a real engine: what it may do, and that it serves so.

`make audit` builds the image and names the command of Compose in AUDIT_COMPOSE; otherwise these
tests are skipped.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from packaging.markers import Marker

from tests.locks import pins
from tests.service.process import ROOT, free_port

pytestmark = pytest.mark.skipif(
    "AUDIT_COMPOSE" not in os.environ, reason="make audit builds the image first"
)
USER = 10001
TRY_TO_WRITE = """
import os, pathlib
for folder in ("/", "/etc", "/opt/venv", "/srv", "/srv/artifacts", "/var/tmp", "/home", "/tmp"):
    try:
        pathlib.Path(folder, "written").write_text("x")
        print(folder)
    except OSError:
        pass
"""
LIST_INSTALLED = """
import importlib.metadata, json
print(json.dumps({d.name: d.version for d in importlib.metadata.distributions()}))
"""


def run(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{command} said {done.stderr}"
    return done.stdout


class Container:
    """The service `cpu` of docker-compose.yml, published on a free port of loopback."""

    def __init__(self) -> None:
        self.port = free_port()
        command = os.environ["AUDIT_COMPOSE"].split()
        self._compose = [*command, "--project-name", f"audit-{self.port}", "--profile", "cpu"]
        self.compose("up", "--detach", "--no-build")
        self.name = self.compose("ps", "--quiet").strip()

    def compose(self, *arguments: str) -> str:
        return run(*self._compose, *arguments, RESNET_HOST="127.0.0.1", RESNET_PORT=str(self.port))

    def inspect(self) -> Any:
        return json.loads(run("docker", "inspect", self.name))[0]

    def python(self, code: str) -> str:
        return run("docker", "exec", self.name, "python", "-c", code)

    def wait_for_health(self) -> str:
        """Wait until the image's health check has decided, for half a minute at most."""
        for _ in range(60):
            status: str = self.inspect()["State"]["Health"]["Status"]
            if status != "starting":
                break
            time.sleep(0.5)
        return status


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    started = Container()
    try:
        assert started.wait_for_health() == "healthy", run("docker", "logs", started.name)
        yield started
    finally:
        started.compose("down")


def test_it_is_healthy_and_answers_on_a_root_that_is_read_only(container: Container) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{container.port}/predict?top_k=1",
        content=(ROOT / "docs/images/boot.png").read_bytes(),
        headers={"Content-Type": "image/png"},
        trust_env=False,
    )

    assert container.inspect()["HostConfig"]["ReadonlyRootfs"]
    assert answer.json()["results"][0]["predictions"][0]["label"] == "Ankle boot"


def test_the_process_is_not_root_without_capabilities_and_gains_none(container: Container) -> None:
    status = container.python("print(open('/proc/1/status').read())")

    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == fields["Gid"].split() == [str(USER)] * 4
    assert {fields[name] for name in fields if name.startswith("Cap")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"  # the engine's filter of system calls
    assert not container.inspect()["HostConfig"]["Privileged"]


def test_only_the_temporary_folder_can_be_written(container: Container) -> None:
    assert container.python(TRY_TO_WRITE).split() == ["/tmp"]  # noqa: S108  # of the container


def test_memory_and_processes_are_limited(container: Container) -> None:
    limits = container.inspect()["HostConfig"]

    assert limits["Memory"] > 0
    assert limits["PidsLimit"] > 0


def test_nothing_but_the_lock_and_the_project_is_installed(container: Container) -> None:
    installed = json.loads(container.python(LIST_INSTALLED))
    here = {"python_full_version": "3.11", "sys_platform": "linux"}

    locked = {
        name: version
        for name, version, marker in pins("cpu")
        if not marker or Marker(marker.removeprefix(" ; ")).evaluate(here)
    }
    del installed["resnet-service"]
    assert {
        name.lower().replace("_", "-"): version for name, version in installed.items()
    } == locked


def test_it_drains_and_exits_with_zero_when_it_is_stopped(container: Container) -> None:
    run("docker", "stop", container.name)

    assert container.inspect()["State"]["ExitCode"] == 0
