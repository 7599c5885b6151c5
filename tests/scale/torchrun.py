"""`train-model` under torchrun, on one host or on two that are network namespaces."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IP = shutil.which("ip") or ""

# `train-model`, which keeps each step's loss and images, and does to itself what a test asks for:
# variables of the environment say what.
WATCHED = """
import os, signal, torch
from datetime import timedelta
from torch import nn
from training.cli.main import train_script
from training.data import memory
from training.fit import module, process_group

env, rank = os.environ, os.environ.get("RANK", "0")
kept = {"losses": [], "images": [], "validated": []}

def hashes(images):
    rows = images.flatten(1).long()
    return (rows * torch.arange(1, rows.shape[1] + 1) % 65521).sum(1).tolist()

def without_batch_norms(*given, build=module.build_parts):
    normalize, network = build(*given)
    for part in list(network.modules()):
        for name, norm in list(part.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                setattr(part, name, nn.GroupNorm(1, norm.num_features))
    return normalize, network

def step(self, batch, index, usual=module.Classifier.training_step):
    at = env.get("SEND", "").split(":")  # rank, step, signal
    is_first = env.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if is_first and at[:2] == [rank, str(self.global_step)]:
        os.kill(os.getpid(), int(at[2]))
    loss = usual(self, batch, index)
    kept["losses"].append(float(loss.detach()))
    kept["images"].append(hashes(batch[0]))
    return loss

def validate(self, batch, index, usual=module.Classifier.validation_step):
    kept["validated"] += hashes(batch[0])
    usual(self, batch, index)

def save(self):
    torch.save(kept, f"{env['WATCH']}-{rank}.pt")

module.Classifier.training_step, module.Classifier.validation_step = step, validate
if "WATCH" in env:
    module.Classifier.on_fit_end = save
if "GROUP_NORM" in env:
    module.build_parts = without_batch_norms
if "TIMEOUT_S" in env:
    process_group.TIMEOUT = timedelta(seconds=int(env["TIMEOUT_S"]))
memory.MAX_FILES = int(env.get("MAX_FILES", memory.MAX_FILES))
train_script()
"""


@dataclass(frozen=True)
class Ended:
    """What a run under torchrun left: exit codes and what was printed, by host."""

    codes: tuple[int, ...]
    out: str
    err: str

    def errors(self) -> list[str]:
        """List the lines of our own about failures, without torchrun's."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def make_images(folder: Path, labels: Mapping[str, int], size: int = 14) -> Path:
    """Write grey images, brighter from label to label; so many of each."""
    random = np.random.default_rng(0)
    for place, (label, count) in enumerate(labels.items()):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 120, (size, size)) + 60 * place
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number}.png")
    return folder


def train(
    folder: Path,
    processes: int,
    *options: object,
    hosts: Sequence[str] = ("",),
    launch: Sequence[str] = (),
    timeout: float = 600,
    **variables: object,
) -> Ended:
    """Run `train-model` in so many processes on each host.

    Args:
        folder: The working directory, where the run goes to `run`.
        processes: On each host.
        options: Of `train-model`; a list has one for each host.
        hosts: Network namespaces; "" is the usual one.
        launch: Options of torchrun.
        timeout: In seconds, of all of it.
        variables: Of the environment, see `WATCHED`.
    """
    (folder / "watched.py").write_text(WATCHED, encoding="utf-8")
    started = []
    for number, host in enumerate(hosts):
        words = [str(each[number] if isinstance(each, list) else each) for each in options]
        words = ["watched.py", "--logger", "csv", *words]
        started.append(
            subprocess.Popen(
                [*_enter(host), *_torchrun(processes, number, len(hosts)), *launch, *words],
                cwd=folder,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    **({"GLOO_SOCKET_IFNAME": f"{host}-v"} if host else {}),
                    **{name: str(value) for name, value in variables.items()},
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # torchrun's processes end with it
            )
        )
    try:
        printed = [each.communicate(timeout=timeout) for each in started]
    finally:
        for each in started:
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
    codes = tuple(each.returncode for each in started)
    return Ended(codes, "".join(out for out, _ in printed), "".join(err for _, err in printed))


def _torchrun(processes: int, number: int, hosts: int) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    if hosts == 1:
        return [*command, "--standalone"]
    return [
        *command,
        f"--nnodes={hosts}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=10.77.0.1:29400",
        "--rdzv-id=test",
        f"--local-addr=10.77.0.{number + 1}",
        # torchrun would compare the address with those that the host's name has.
        f"--rdzv-conf=is_host={int(number == 0)}",
    ]


def _enter(host: str) -> list[str]:
    return [IP, "netns", "exec", host] if host else []


def can_have_hosts() -> bool:
    """Whether network namespaces can be made here: by root, with `ip`."""
    return bool(IP) and os.geteuid() == 0


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Make two network namespaces, 10.77.0.1 and 10.77.0.2, with a cable between them."""
    one, two = hosts = (f"a{os.getpid()}", f"b{os.getpid()}")

    def ip(*words: str) -> None:
        subprocess.run([IP, *words], check=True, capture_output=True)

    try:
        for host in hosts:
            ip("netns", "add", host)
        ip("-n", one, "link", "add", f"{one}-v", "type", "veth", "peer", f"{two}-v", "netns", two)
        for number, host in enumerate(hosts, 1):
            ip("-n", host, "address", "add", f"10.77.0.{number}/24", "dev", f"{host}-v")
            for device in ("lo", f"{host}-v"):
                ip("-n", host, "link", "set", device, "up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run([IP, "netns", "delete", host], check=False, capture_output=True)


@dataclass(frozen=True)
class Watched:
    """What the processes of a run saw, all together.

    Attributes:
        losses: Of each step: the mean of all processes'.
        images: Of each step, in any order.
        validated: In any order.
    """

    losses: list[float]
    images: list[list[int]]
    validated: list[int]


def watched(folder: Path, name: str) -> Watched:
    """Read what the processes of a run kept."""
    import torch  # noqa: PLC0415  # may be missing

    ranks: list[Any] = [torch.load(path) for path in sorted(folder.glob(f"{name}-*.pt"))]
    losses = zip(*(rank["losses"] for rank in ranks), strict=True)
    images = zip_longest(*(rank["images"] for rank in ranks))
    return Watched(
        [sum(step) / len(step) for step in losses],
        [sorted(image for part in step for image in part) for step in images],
        sorted(image for rank in ranks for image in rank["validated"]),
    )
