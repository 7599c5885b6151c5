"""What a worker's process begins with."""

from pathlib import Path

import pytest
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Process

from service.app import worker_app
from service.errors import StartError
from service.server.workers import Worker
from tests.service.conftest import MakeArtifact


def test_a_worker_makes_its_application_from_its_environment(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_ARTIFACT", str(make_artifact()))

    app = worker_app()

    assert callable(app)


def test_a_worker_that_cannot_start_says_so_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise StartError("The reason.")

    monkeypatch.setattr(Process, "target", refuse)
    worker = Worker(Config(refuse, workers=2, log_config=None), [])

    with pytest.raises(SystemExit) as ended:
        worker.target([])

    assert ended.value.code == STARTUP_FAILURE
    assert capsys.readouterr().err == "error: The reason.\n"


def test_a_model_that_cannot_be_served_is_what_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_ARTIFACT", str(tmp_path))

    with pytest.raises(StartError):
        worker_app()
