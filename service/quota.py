"""How much of the processor this process may take, by the cgroups that it lies in.

A quota may be set on the process's own group, as systemd does for a service, or on any above
it, as engines do for a container; where the container sees the host's groups, the root has none.

Source:
    cgroups(7), and `cpu.max` in the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

import math
from pathlib import Path

FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
"""Where quota and period stand, in version 2 and in version 1."""


def cpu_quota(cgroups: Path, membership: Path) -> float:
    """Find the smallest quota from the process's own group up to the root.

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
    """Read what one group may take, in cores."""
    for names in FILES:
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
        except (OSError, ValueError):  # not there, or not two numbers
            continue
        if quota.isdecimal() and period.isdecimal() and int(period):  # not "max", nor -1
            return int(quota) / int(period)
    return math.inf
