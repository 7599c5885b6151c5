"""Containers behind HAProxy on a real Docker engine: `docker-compose --profile scale` and `roll`.

`make test-scale` builds the images first.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rolling import CLIENTS, ROLL, Stack, roll_once, running


def engine_answers() -> bool:
    docker = shutil.which("docker")
    asked = docker and subprocess.run([docker, "info"], capture_output=True, check=False)
    return bool(asked and asked.returncode == 0)


pytestmark = [
    pytest.mark.skipif(not engine_answers(), reason="there is no Docker engine"),
    pytest.mark.timeout(600),
]
IMAGE = os.environ.get("IMAGE", "resnet-service:cpu")
BROKEN = {
    "ends": 'CMD ["python", "-c", "raise SystemExit(\'no such artifact\')"]',
    "never listens": 'CMD ["sleep", "600"]\nSTOPSIGNAL SIGKILL',
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running() as started:
        yield started


def test_roll_replaces_every_container_under_load_and_loses_no_request(stack: Stack) -> None:
    measured = asyncio.run(roll_once(stack, 1_000))

    assert measured["lost"] == 0, measured


@pytest.mark.parametrize("fault", BROKEN)
def test_a_new_image_that_does_not_come_up_leaves_the_old_containers_serving(
    stack: Stack, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\n{BROKEN[fault]}\n")
    broken = stack.checked("docker", "build", "--quiet", str(tmp_path)).strip()
    before = stack.containers()

    async def roll() -> tuple["subprocess.CompletedProcess[str]", dict[int, int]]:
        async with stack.asked() as statuses:
            tried = await asyncio.to_thread(stack.run, ROLL, "--timeout", "25", IMAGE=broken)
        return tried, dict(statuses)

    try:
        tried, statuses = asyncio.run(roll())
    finally:
        stack.checked("docker", "rmi", broken)

    assert tried.returncode == 1
    [line] = tried.stderr.splitlines()
    assert ("no such artifact" if fault == "ends" else "not ready after 25 s") in line
    assert stack.containers() == before
    assert set(statuses) == {200}, statuses


def test_a_killed_container_loses_only_what_it_ran_and_the_next_roll_is_complete(
    stack: Stack,
) -> None:
    before = stack.containers()

    async def kill() -> tuple[dict[int, int], dict[int, int]]:
        async with stack.asked() as statuses:
            await asyncio.sleep(1)
            await asyncio.to_thread(stack.checked, "docker", "kill", min(before))
            await asyncio.sleep(3)
            soon = dict(statuses)
            await asyncio.sleep(1)
        return soon, dict(statuses)

    soon, statuses = asyncio.run(kill())

    lost = {status: times for status, times in statuses.items() if status != 200}
    assert sum(lost.values()) <= CLIENTS, lost
    assert statuses[200] > soon[200]
    assert {status: soon.get(status) for status in lost} == lost  # none later
    assert asyncio.run(roll_once(stack, 0))["lost"] == 0
    assert len(stack.containers()) == len(before)
