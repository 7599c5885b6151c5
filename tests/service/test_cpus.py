"""The quota of a process's own cgroup, and of those above it, in trees like /sys/fs/cgroup."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.cpus import cpu_quota, usable_cores

HALF, TWO, THREE, NONE = (f"{quota} 100000\n" for quota in ("50000", "200000", "300000", "max"))


def tree(folder: Path, files: Mapping[str, str], membership: str) -> tuple[Path, Path]:
    """Write the groups' files, and what /proc/self/cgroup says."""
    mount, own = folder / "cgroup", folder / "self"
    mount.mkdir()
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    own.write_text(membership)
    return mount, own


def v1(group: str, quota: int) -> dict[str, str]:
    return {
        f"cpu{group}/cpu.cfs_quota_us": f"{quota}\n",
        f"cpu{group}/cpu.cfs_period_us": "100000\n",
    }


@pytest.mark.parametrize(
    ("files", "membership", "cores"),
    [
        ({"system.slice/resnet.service/cpu.max": TWO}, "0::/system.slice/resnet.service\n", 2),
        ({"a/b/cpu.max": THREE, "a/cpu.max": TWO}, "0::/a/b\n", 2),
        ({"a/b/cpu.max": HALF, "a/cpu.max": TWO}, "0::/a/b\n", 0.5),
        ({"a/b/cpu.max": NONE, "a/cpu.max": NONE, "cpu.max": THREE}, "0::/a/b\n", 3),
        ({"a/cpu.max": NONE, "b/cpu.max": TWO}, "0::/a\n", math.inf),  # b is somebody else's
        ({"cpu.max": TWO}, "0::/\n", 2),
        ({"cpu.max": TWO}, "0::/a group: odd\n", 2),  # not seen from within a container
        ({"cpu.max": TWO}, "0::/../other\n", 2),
        (v1("/docker/1a", 200_000), "2:memory:/m\n3:cpu,cpuacct:/docker/1a\n0::/\n", 2),
        ({**v1("/a/b", -1), **v1("/a", 150_000)}, "3:cpuacct,cpu:/a/b\n", 1.5),
        (v1("", 200_000), "3:cpu:/docker/1a\n", 2),  # the container's own group is mounted
        (v1("/a", 200_000), "3:cpuset:/a\n", math.inf),
        ({"cpu.max": "0 0\n"}, "0::/\n", math.inf),
        ({}, "", math.inf),
    ],
)
def test_the_smallest_quota_from_the_own_group_up_to_the_root_counts(
    files: Mapping[str, str], membership: str, cores: float, tmp_path: Path
) -> None:
    mount, own = tree(tmp_path, files, membership)

    assert cpu_quota(mount, own) == cores


def test_there_is_no_quota_where_there_are_no_cgroups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "nothing", tmp_path / "nobody") == math.inf


def test_cores_are_cut_by_the_quota_of_the_services_own_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    mount, own = tree(tmp_path, {"a/b/cpu.max": TWO}, "0::/a/b\n")

    assert usable_cores(mount, own) == 2
