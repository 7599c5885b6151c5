import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
import uvicorn

from service import cli, run
from service.settings import Settings
from tests.conftest import Command
from tests.service import graphs
from tests.service.conftest import MakeArtifact


@pytest.fixture(autouse=True)
def _a_start_that_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take no port that another program may want, and collect garbage again."""
    monkeypatch.setenv("RESNET_PORT", "0")
    yield
    gc.enable()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Replace the server; return the settings of every start."""
    seen: list[Settings] = []

    class Server:
        def __init__(self, config: uvicorn.Config, *, owns_port: bool) -> None:
            assert owns_port
            app: Any = config.app
            seen.append(app.state.service.settings)

        def run(self, _: object) -> None:
            raise SystemExit(0)

    monkeypatch.setattr(run, "Server", Server)
    monkeypatch.setattr(run, "bind", lambda _: socket.socket())
    return seen


def assert_one_line(finished: Any) -> None:
    assert finished.code == 1
    assert finished.out == ""
    assert finished.err.startswith("error: ")
    assert finished.err.endswith("\n")
    assert finished.err[:-1].isprintable()


def test_help_shows_an_example(command: Command) -> None:
    finished = command(cli.serve, "--help")

    assert finished.code == 0
    assert "Example: serve-model artifacts/fashion-mnist/1 --port 8080" in finished.out


def test_options_go_before_variables(
    command: Command,
    started: list[Settings],
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESNET_PORT", "1")
    monkeypatch.setenv("RESNET_MAX_IMAGES", "3")

    finished = command(
        *(cli.serve, make_artifact(), "--port", 2, "--host", "::1"),
        *("--provider", "cpu", "--name", "shoes"),
    )

    assert finished.code == 0
    (settings,) = started
    assert (settings.port, settings.host, settings.max_images) == (2, "::1", 3)
    assert settings.model_name == "shoes"


@pytest.mark.parametrize("arguments", [["--port", "http"], ["--nothing"], ["a", "b"]])
def test_bad_usage_exits_with_2(arguments: list[str], command: Command) -> None:
    finished = command(cli.serve, *arguments)

    assert finished.code == 2
    assert "Usage" in finished.err


@pytest.mark.parametrize(
    "arguments", [["--port", "65536"], ["--precision", "float8"], ["--provider", "tpu"]]
)
def test_a_value_that_is_not_allowed_is_one_line(arguments: list[str], command: Command) -> None:
    finished = command(cli.serve, *arguments)

    assert_one_line(finished)
    assert f"RESNET_{arguments[0].removeprefix('--').upper()}" in finished.err


def test_an_unknown_variable_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_PORTS", "1")

    finished = command(cli.serve)

    assert_one_line(finished)
    assert "RESNET_PORTS is not a setting. Did you mean RESNET_PORT?" in finished.err


def test_an_artifact_that_is_not_there_is_one_line(command: Command, tmp_path: Path) -> None:
    finished = command(cli.serve, tmp_path / "nothing")

    assert_one_line(finished)
    assert "is not an artifact" in finished.err


def test_a_tampered_model_is_one_line(command: Command, make_artifact: MakeArtifact) -> None:
    folder = make_artifact()
    (model,) = folder.glob("*.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)

    finished = command(cli.serve, folder)

    assert_one_line(finished)
    assert "SHA-256" in finished.err


def test_a_model_that_reaches_for_other_files_is_one_line(
    command: Command, make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("model.artifact.folder._refuse_external_data", lambda *_: None)
        folder = make_artifact(graphs.plain(external="weights"))

    finished = command(cli.serve, folder)

    assert_one_line(finished)
    assert "has 1 tensors outside the file, such as 'weights'" in finished.err


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(),
    reason="onnxruntime here may find CUDA",
)
@pytest.mark.parametrize("policy", ["require", "prefer"])
def test_cuda_that_is_not_there_is_refused_or_done_without(
    policy: str,
    command: Command,
    started: list[Settings],
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESNET_PROVIDER_POLICY", policy)

    finished = command(cli.serve, make_artifact(), "--provider", "cuda")

    if policy == "require":
        assert_one_line(finished)
        assert "onnxruntime cannot use CUDA" in finished.err
        assert started == []
    else:
        assert finished.code == 0
        assert len(started) == 1


def test_an_empty_option_is_no_way_around_the_checks(command: Command) -> None:
    finished = command(cli.serve, "--host", "127.0.0.1", "--precision", "")

    assert_one_line(finished)
    assert os.environ["RESNET_PRECISION"] == ""
