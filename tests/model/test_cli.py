"""`describe-model`, and the manners that all commands share."""

import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from model.architecture.summary import Summary
from model.cli import CommandError, describe, script
from tests.conftest import Command


def test_describe_prints_each_layer_and_the_totals(command: Command) -> None:
    finished = command(describe, "mini_resnet")

    lines = finished.out.splitlines()
    (row,) = [line for line in lines if "layer2.0.downsample.0" in line]
    assert finished.code == 0
    assert [cell.strip() for cell in row.strip("│┃ ").split("│")][1:5] == [
        "conv",
        "64x14x14",
        "2,048",
        "401,408",
    ]
    assert "696,042" in finished.out
    assert "1x28x28 in" in finished.out


def test_describe_fits_the_network_to_another_image_and_other_labels(command: Command) -> None:
    finished = command(
        describe,
        *("resnet18", "--input", "1x64x48", "--classes", "10", "--stem", "standard", "--json"),
    )

    described = json.loads(finished.out)
    assert described.pop("name") == "resnet18"
    assert described.pop("receptive_field") == 435
    summary = Summary.model_validate(described)
    assert summary.input_shape == (1, 64, 48)
    assert summary.parameters == 11_175_370


def test_describe_takes_the_size_that_the_network_is_made_for(command: Command) -> None:
    finished = command(describe, "resnet34", "--json")

    assert json.loads(finished.out)["input_shape"] == [3, 224, 224]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("resnet19",), "Did you mean 'resnet18'"),
        (("resnet18", "--input", "224x224"), "must be CxHxW"),
        (("resnet18", "--input", "3x0x224"), "must be CxHxW"),
        (("resnet18", "--input", "3x-1x224"), "must be CxHxW"),
        (("resnet18", "--input", "2x224x224"), "in_channels"),
        (("resnet18", "--classes", "0"), "--classes"),
        (("resnet18", "--fast"), "--fast"),
        ((), "Missing argument"),
    ],
)
def test_bad_usage_exits_with_2_and_says_why(
    command: Command, arguments: tuple[str, ...], cause: str
) -> None:
    finished = command(describe, *arguments)

    assert finished.code == 2
    assert cause in finished.err
    assert finished.out == ""


def test_help_shows_an_example(command: Command) -> None:
    finished = command(describe, "--help")

    assert finished.code == 0
    assert "Example: describe-model resnet34 --input 3x224x224" in finished.out


def test_a_command_error_is_one_line_on_stderr_and_exit_1(command: Command) -> None:
    def fail() -> None:
        raise CommandError("the oven is cold.")

    finished = command(script(fail))

    assert (finished.code, finished.out, finished.err) == (1, "", "error: the oven is cold.\n")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", b"caf? ? ??"), ("cp1252", b"caf\xe9 \x95 ??"), ("utf-8", None)],
)
def test_what_a_terminal_cannot_show_is_replaced(
    encoding: str, shown: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, stream = "café • 日本", io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.argv", ["command"])
    monkeypatch.setattr("sys.stdout", stream)

    with pytest.raises(SystemExit) as ended:
        script(lambda: print(text))()  # noqa: T201  # as libraries do

    stream.seek(0)
    assert ended.value.code == 0
    assert stream.buffer.read().rstrip() == (shown or text.encode())


def test_a_command_runs_and_fails_as_usual_where_the_streams_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        print("begun")  # noqa: T201  # as libraries do
        raise CommandError("the oven is cold.")

    monkeypatch.setattr("sys.argv", ["command"])
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)

    with pytest.raises(SystemExit) as ended:
        script(fail)()

    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
    assert ended.value.code == 1


def test_a_drawing_is_utf_8_whatever_the_terminals_encoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr("sys.argv", ["command", "mini_resnet", "--format", "svg"])
    monkeypatch.setattr("sys.stdout", stream)

    with pytest.raises(SystemExit):
        describe()

    stream.seek(0)
    drawn = stream.buffer.read()
    assert not drawn.isascii()
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314  # our own


def test_the_command_runs_as_a_process_of_its_own() -> None:
    code = "from model.cli import describe; describe()"
    finished = subprocess.run(
        [sys.executable, "-c", code, "mini_resnet", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(finished.stdout)["parameters"] == 696_042
    assert finished.stderr == ""
