"""The child process in which a candidate is loaded first, for real."""

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import StartError
from service.registry import trial
from tests.service import graphs
from tests.service.conftest import MakeArtifact


def test_a_good_candidate_passes(make_artifact: MakeArtifact) -> None:
    trial.TrialLoad()(make_artifact())


def test_a_bad_candidate_is_refused_in_its_own_words(make_artifact: MakeArtifact) -> None:
    folder = make_artifact(graphs.swapped())

    with pytest.raises(StartError, match=r"^The float32 model gives 1 of 1 golden") as refused:
        trial.TrialLoad()(folder)

    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -SEGV $$", "made its process end with signal 11"),
        ("echo 'Traceback'; echo 'the last line' >&2; exit 1", "the last line"),
        (r"printf 'torn \377\376' >&2; exit 1", "torn \ufffd\ufffd"),
        ("exit 3", "failed to load"),
        ("exec sleep 20", r"did not load within 0\.2 s"),
    ],
)
def test_a_child_that_ends_badly_refuses_the_candidate(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    child.write_text(f"#!/bin/sh\n{script}\n")
    child.chmod(stat.S_IRWXU)
    monkeypatch.setattr("sys.executable", str(child))
    if "sleep" in script:
        monkeypatch.setattr(trial, "TRIAL_TIMEOUT_S", 0.2)

    with pytest.raises(StartError, match=reason) as refused:
        trial.TrialLoad()(tmp_path)

    assert str(refused.value).isprintable()


def test_a_trial_leaves_the_cores_to_those_that_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    child.write_text("#!/bin/sh\nsleep 0.2\nnice >&2\nexit 1\n")
    child.chmod(stat.S_IRWXU)
    monkeypatch.setattr("sys.executable", str(child))

    with pytest.raises(StartError) as refused:
        trial.TrialLoad()(tmp_path)

    assert int(str(refused.value)) == os.nice(0) + trial.NICENESS


def _hang(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next trial be a process that does nothing for a minute."""
    child.write_text("#!/bin/sh\nexec sleep 60\n")
    child.chmod(stat.S_IRWXU)
    monkeypatch.setattr("sys.executable", str(child))


def test_a_trial_that_hangs_can_be_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hang(tmp_path / "child", monkeypatch)
    load = trial.TrialLoad()

    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(load, tmp_path)
        while load._child is None:
            time.sleep(0.01)
        load.stop()
        with pytest.raises(StartError, match="made its process end with signal 9"):
            loading.result(10)


def test_nothing_is_tried_after_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hang(tmp_path / "child", monkeypatch)
    load = trial.TrialLoad()
    load.stop()

    with pytest.raises(StartError):
        load(tmp_path)
