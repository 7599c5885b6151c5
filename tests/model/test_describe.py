"""`describe-model` in its four forms."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner, Result

from model.cli import _describe  # the function; the script around it is tested beside it


@pytest.fixture
def run() -> Callable[..., Result]:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(_describe)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return invoke


def test_the_table_has_totals_shortcuts_and_what_each_layer_sees(
    run: Callable[..., Result],
) -> None:
    lines = run("resnet18").output.splitlines()

    (row,) = [line for line in lines if "layer4.1.add" in line]
    assert [cell.strip() for cell in row.strip("│┃ ").split("│")] == [
        "layer4.1.add", "add", "512x7x7", "", "", "435", "identity",
    ]  # fmt: skip
    (total,) = [line for line in lines if "11,689,512" in line]
    assert "435" in total


def test_json_svg_and_mermaid_describe_the_same_network(run: Callable[..., Result]) -> None:
    summary = json.loads(run("resnet20", "--format", "json").output)
    drawing = ET.fromstring(run("resnet20", "--format", "svg").output)  # noqa: S314
    chart = run("resnet20", "--format", "mermaid").output

    assert (summary["name"], summary["parameters"]) == ("resnet20", 269_722)
    assert summary["receptive_field"] == 15 + (2 + 5 * 4) + (4 + 5 * 8)  # stage by stage
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert "270 k parameters" in "".join(drawing.itertext())
    assert "270 k parameters" in chart


def test_another_kind_of_shortcut_can_be_described(run: Callable[..., Result]) -> None:
    plain = json.loads(run("resnet20", "--shortcuts", "none", "--json").output)
    beside = json.loads(run("resnet20", "--shortcuts", "concat", "--json").output)

    assert plain["parameters"] == 269_722  # option A has no weights
    assert beside["parameters"] > plain["parameters"]


def test_the_image_is_the_one_the_network_was_made_for(run: Callable[..., Result]) -> None:
    assert json.loads(run("resnet18_d2l", "--format", "json").output)["input_shape"] == [1, 96, 96]


@pytest.mark.parametrize(
    ("arguments", "first_kernel", "first_output"),
    [
        (("mini_resnet", "--input", "3x224x224"), 7, 112),
        (("mini_resnet", "--input", "3x224x224", "--stem", "small"), 3, 224),
        (("resnet18", "--input", "3x32x32"), 3, 32),
        (("resnet18", "--input", "3x32x32", "--stem", "standard"), 7, 16),
        (("resnet18",), 7, 112),
    ],
)
def test_the_stem_is_the_one_that_training_would_take_at_that_size(
    run: Callable[..., Result], arguments: tuple[str, ...], first_kernel: int, first_output: int
) -> None:
    summary = json.loads(run(*arguments, "--json").output)

    conv = summary["stem"]["layers"][0]
    channels, height, _ = conv["output_shape"]
    assert height == first_output
    assert conv["parameters"] == channels * summary["input_shape"][0] * first_kernel**2


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("resnet18", "--format", "png"), "--format"),
        (("resnet18", "--input", "2x32x32"), "`in_channels` (=2): Input should be 1 or 3."),
        (("resnetv2_18", "--shortcuts", "concat"), "`shortcuts` (='concat') must not be set"),
        (("residual_mlp", "--input", "1x28x32"), "must be 32"),
        (("resnet18", "--stem", "flatten"), "must be 'flatten' for linear blocks alone"),
    ],
)
def test_bad_usage_exits_with_2(
    run: Callable[..., Result], arguments: tuple[str, ...], cause: str
) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert cause in result.output
