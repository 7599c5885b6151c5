"""docs/tutorial.md as a list of commands and what each prints, and how to compare that."""

import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial.md"
INSTALLED = ["make install", "source .venv-dev/bin/activate"]
"""What these tests replace by the environment that they run in."""
BASH = shutil.which("bash") or "/bin/bash"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
LABEL = re.compile(r"\b(?:circle|square|triangle)\b")
MADE = (
    ".git",
    ".venv*",
    "runs",
    "build",
    "dist",
    "*.egg-info",
    ".*_cache",
    "__pycache__",
    ".hypothesis",
)


@dataclass(frozen=True)
class Step:
    """A command as it is typed, and the lines that the page shows below it."""

    command: str
    shown: list[str]


def read_steps() -> list[Step]:
    """Read the page's commands, in their order."""
    found: list[Step] = []
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                found.append(Step(line.removeprefix("$ "), []))
            else:
                found[-1].shown.append(line)
    return found


def unprinted(shown: list[str], printed: str, *, shortened: bool = False) -> list[str]:
    """Return the shown lines that were not printed, or not in this order.

    `...` stands for anything. A number stands for one up to three times as large or small, or
    less than 0.5 away: another processor gives other figures. Where the training was shortened
    a number stands for any, a label for any label, and the order is not looked at.
    """
    lines, missing = printed.splitlines(), []
    for line in shown:
        found = (at for at, other in enumerate(lines) if _is_like(line, other, shortened))
        at = None if line == "..." else next(found, -1)
        if at == -1:
            missing.append(line)
        elif at is not None and not shortened:
            lines = lines[at + 1 :]
    return missing


def _is_like(shown: str, printed: str, shortened: bool) -> bool:
    """Whether a printed line is the shown one."""
    if shortened:
        shown, printed = (" ".join(LABEL.sub("label", line).split()) for line in (shown, printed))
    parts = [NUMBER.sub("\0", part) for part in shown.split("...")]
    pattern = ".*?".join(re.escape(part).replace("\0", f"({NUMBER.pattern})") for part in parts)
    found = re.fullmatch(pattern, printed.rstrip())
    figures = NUMBER.findall(shown.replace("...", " "))
    return found is not None and (shortened or all(map(_are_near, figures, found.groups())))


def _are_near(one: str, other: str) -> bool:
    a, b = sorted(float(figure.replace(",", "")) for figure in (one, other))
    return b <= 3 * a or b - a < 0.5


def copy_tree(to: Path) -> Path:
    """Copy the project as a clone would have it, without what commands have made."""
    shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*MADE))
    return to


def environment(tree: Path, port: int) -> dict[str, str]:
    """Return variables with which commands are found, import the copy, and serve on that port."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "PYTHONPATH": str(tree), "COLUMNS": "200"}
    return {**os.environ, **ours, "RESNET_HOST": "127.0.0.1", "RESNET_PORT": str(port)}


def shell(command: str, tree: Path, variables: Mapping[str, str]) -> str:
    """Run a command as it is typed, which must succeed; return all that it printed."""
    there = command.replace("localhost:8000", f"127.0.0.1:{variables['RESNET_PORT']}")
    done = subprocess.run(
        [BASH, "-c", there],
        cwd=tree,
        env=dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@contextmanager
def started(command: str, tree: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Start a command that serves, wait until it is ready, and end it."""
    process = subprocess.Popen(
        [BASH, "-c", f"exec env {command}"],
        cwd=tree,
        env=dict(variables),
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{variables['RESNET_PORT']}/readyz")
        yield
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(url).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} was not ready; exit code {process.poll()}")
