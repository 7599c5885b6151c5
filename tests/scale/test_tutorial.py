"""docs/tutorial.md from its first command to its last, as written, in a copy of the project.

The environment is the one of these tests, so `make install` is left out. The last section needs a
Docker engine with the image that `make images` builds.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.examples.tutorial import (
    INSTALLED,
    Step,
    copy_tree,
    environment,
    read_steps,
    shell,
    started,
    unprinted,
)
from tests.service.process import free_port

pytestmark = pytest.mark.timeout(2400)
SERVES = ("serve-model ", "docker compose")


def test_the_whole_tutorial_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    tree, steps = copy_tree(tmp_path / "clone"), read_steps()
    assert [step.command for step in steps[: len(INSTALLED)]] == INSTALLED
    parts = list(split(steps[len(INSTALLED) :]))
    variables = {**environment(tree, free_port()), "COMPOSE_PROJECT_NAME": f"tutorial{os.getpid()}"}
    if os.getuid() == 0:
        variables["PATH"] += f":{sudo(tmp_path)}"

    for server, asked in parts if engine_answers() else parts[:-1]:
        with ExitStack() as stack:
            if server:
                stack.enter_context(started(compose(server), tree, variables))
            for step in asked:
                printed = shell(step.command, tree, variables)
                assert not unprinted(step.shown, printed), printed
    if not engine_answers():
        pytest.skip("all but the last section was run: there is no Docker engine")


def split(steps: list[Step]) -> Iterator[tuple[str, list[Step]]]:
    """Yield each command that serves, and the steps while it does; first those without one."""
    server, asked = "", list[Step]()
    for step in steps:
        if any(each in step.command for each in SERVES):
            yield server, asked
            server, asked = step.command, []
        else:
            asked.append(step)
    yield server, asked


def compose(command: str) -> str:
    """Say `docker-compose` where Compose is no plugin of Docker's command."""
    return command.replace("docker compose", os.environ.get("DOCKER_COMPOSE") or "docker compose")


def sudo(folder: Path) -> Path:
    """Make a `sudo` for root, where none is installed; return its folder."""
    script = folder / "bin" / "sudo"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nexec "$@"\n')
    script.chmod(0o755)
    return script.parent


def engine_answers() -> bool:
    docker = shutil.which("docker")
    asked = docker and subprocess.run([docker, "info"], capture_output=True, check=False)
    return bool(asked and asked.returncode == 0)
