"""What a worker's process begins with."""

import pytest
from uvicorn.config import STARTUP_FAILURE

from service import supervisor
from service.errors import StartError
from service.settings import Settings
from service.supervisor import worker_app
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
    def refuse(_: Settings, __: object) -> None:
        raise StartError("The reason.")

    monkeypatch.setattr(supervisor, "create_app", refuse)

    with pytest.raises(SystemExit) as ended:
        worker_app()

    assert ended.value.code == STARTUP_FAILURE
    assert capsys.readouterr().err == "error: The reason.\n"
