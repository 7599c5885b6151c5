"""What benchmarks write beside their figures."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks import load, process
from benchmarks.client import SAMPLE, Answer, Load
from benchmarks.installed import versions
from benchmarks.peers import compare
from benchmarks.process import Process
from benchmarks.rounds import Observed, by_stage


def answer(infer_ms: float) -> Answer:
    timing = f'queue;dur=0.5, infer;dur={infer_ms:.3f}, batch;desc="1"'
    return Answer(200, f"HTTP/1.1 200 OK\r\nServer-Timing: {timing}".encode())


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in git, with one result."""
    results = tmp_path / "benchmarks/results"
    results.mkdir(parents=True)
    (results / "old.json").write_text("{}")
    (tmp_path / "code.py").write_text("")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)  # noqa: S607
    monkeypatch.setattr(process, "RESULTS", results)
    return tmp_path


def test_stages_have_percentiles_over_all_rounds() -> None:
    loads = [Load(), Load()]
    for each, offset in zip(loads, (0, 100), strict=True):
        for number in range(1, 101):
            for _ in range(SAMPLE):  # of which one is read
                each.note(answer(offset + number), 0.001)

    stages = by_stage(loads)

    assert list(stages) == ["queue", "infer"]
    assert stages["queue"] == {"p50_ms": 0.5, "p99_ms": 0.5}
    assert stages["infer"] == {"p50_ms": 100.5, "p99_ms": pytest.approx(198.01)}


def test_a_comparison_tells_overall_percentiles_of_both_and_stages_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure(side: Any, path: str, *_given: object) -> Observed:
        seen = Load(seconds=1.0)
        for _ in range(SAMPLE):
            seen.note(answer(3) if path == "/predict" else Answer(200, b""), side)
        return Observed(seen, SAMPLE * side / 2)

    monkeypatch.setattr(load, "measure", measure)
    ours, floor = cast(Process, 0.001), cast(Process, 0.002)

    found = load.compare(ours, floor, load.Case("form", 1, b"", "", "/form"), 1)

    assert found["p99_ms"] == {"ours": 1, "floor": 2, "ratio": 0.5}
    assert found["cpu_ms"] == {"ours": 0.5, "floor": 1, "ratio": 0.5}
    assert found["our_stages"]["infer"] == {"p50_ms": 3, "p99_ms": 3}


def test_a_result_names_the_commit_and_whether_code_was_changed(repository: Path) -> None:
    clean = process.commit()
    (process.RESULTS / "old.json").write_text("[]")
    (process.RESULTS / "new.json").write_text("[]")
    measured_more = process.commit()
    (repository / "code.py").write_text("1")
    path = process.write_result("new", {"figure": 1})

    assert clean is not None
    assert len(clean) == 12
    assert measured_more == clean
    written = json.loads(path.read_text())
    assert written["machine"]["commit"] == f"{clean}-dirty"
    assert written["measured"] == {"figure": 1}
    assert "peers" not in written["machine"]


def test_a_result_outside_git_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "RESULTS", tmp_path / "benchmarks/results")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert process.commit() is None


@pytest.mark.usefixtures("repository")
def test_peers_versions_stand_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = compare.LITSERVE._replace(packages=("numpy", "no-such-package"))
    monkeypatch.setattr(compare, "interpreter", lambda _: sys.executable)

    path = process.write_result("peers", {}, {peer.name: compare.installed(peer)})

    theirs = json.loads(path.read_text())["machine"]["peers"]["litserve"]
    assert theirs["python"] == ".".join(map(str, sys.version_info[:3]))
    assert theirs["numpy"] == version("numpy")
    assert "no-such-package" not in theirs


def test_versions_are_those_that_are_installed() -> None:
    assert versions(["numpy", "no-such-package"]) == {"numpy": version("numpy")}
