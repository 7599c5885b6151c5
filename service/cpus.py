"""The processor: how many cores this process may use, and which precision suits it.

The number of cores depends on the process's cgroups. A quota may be set on its own group, as
systemd does for a service, or on any above it, as engines do for a container; where the container
sees the host's groups, the root has none.

Source:
    cgroups(7), and `cpu.max` in the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

import math
import os
import platform
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from model.artifact.manifest import Precision

INT8_INSTRUCTIONS = ("amx_int8", "avx512_vnni", "avx_vnni")
"""Flags of x86 processors that multiply int8, as Linux names them; the best first."""


class PrecisionChoice(NamedTuple):
    """A precision, and the reason for it."""

    precision: Precision
    reason: str


def int8_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Name the instruction set that multiplies int8; None if there is none, or if it is unknown."""
    if platform.machine() not in ("x86_64", "AMD64", "i686"):
        return None
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return next((name for name in INT8_INSTRUCTIONS if name in flags), None)


def choose_precision(
    available: Collection[Precision], *, cuda: bool, int8_instructions: str | None
) -> PrecisionChoice:
    """Choose the precision that suits the machine among those that the artifact has.

    Args:
        available: Precisions of the artifact.
        cuda: Whether the engine runs on CUDA.
        int8_instructions: The instruction set for int8, or None.
    """
    if cuda and "float16" in available:
        return PrecisionChoice("float16", "the engine runs on CUDA")
    if not cuda and int8_instructions and "int8" in available:
        return PrecisionChoice("int8", f"the processor has {int8_instructions}")
    precision: Precision = "float32" if "float32" in available else next(iter(available))
    if cuda:
        return PrecisionChoice(precision, "the artifact has no float16")
    if int8_instructions:
        return PrecisionChoice(precision, "the artifact has no int8")
    return PrecisionChoice(precision, "the processor has neither VNNI nor AMX")


FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
"""The files with quota and period, in version 2 and in version 1."""


def cpu_quota(cgroups: Path, membership: Path) -> float:
    """Return the smallest quota from the process's own group up to the root.

    Args:
        cgroups: Where they are mounted, /sys/fs/cgroup.
        membership: Says which are the process's own, /proc/self/cgroup.

    Returns:
        Cores; infinity where nothing is set, or where there are no cgroups.
    """
    own = _own_groups(membership)
    unified = _upwards(cgroups, own.get("", "/"))
    return min(map(_quota, unified + _upwards(cgroups / "cpu", own.get("cpu", "/"))))


def _own_groups(membership: Path) -> dict[str, str]:
    """Read lines such as `4:cpu,cpuacct:/a/b`: controller -> group; version 2's has no name."""
    try:
        lines = membership.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return {}
    parts = (line.split(":", 2) for line in lines)
    return {name: group for _, names, group in parts for name in names.split(",")}


def _upwards(root: Path, group: str) -> list[Path]:
    """List a group's folder and those above it, up to the root."""
    own = root / group.lstrip("/")
    return [own, *own.parents][: len(Path(group).parts)]


def _quota(group: Path) -> float:
    """Read one group's quota, in cores."""
    for names in FILES:
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
        except (OSError, ValueError):  # not there, or not two numbers
            continue
        if quota.isdecimal() and period.isdecimal() and int(period):  # not "max", nor -1
            return int(quota) / int(period)
    return math.inf


def usable_cores(
    cgroups: Path = Path("/sys/fs/cgroup"),
    membership: Path = Path("/proc/self/cgroup"),
    *,
    at_most: int = 0,
) -> int:
    """Count the cores that this process may use: its affinity, cut by its cgroups' quota.

    A container with two cores' worth of time on a 64-core host must not start 64 threads
    (onnxruntime issue 29510).

    Args:
        cgroups: Where they are mounted.
        membership: Says which are the process's own.
        at_most: The setting `RESNET_MAX_CORES`; 0: no such limit.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    usable = max(1, math.ceil(min(affinity or 1, cpu_quota(cgroups, membership))))
    return min(usable, at_most or usable)
