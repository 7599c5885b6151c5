"""The command `describe-model`, and the manners that all our commands share."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from model.architecture import ARCHITECTURES, get_architecture
from model.rows import Summary
from model.summary import summarize


class CommandError(Exception):
    """What a command tells its user, in one line, before it exits with 1."""


def script(function: Callable[..., None]) -> Callable[[], None]:
    """Make a console script of a function: Typer reads the options, failures are one line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(function)

    def run() -> None:
        try:
            app()
        except CommandError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(1)

    return run


def _describe(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(ARCHITECTURES)}.")],
    input_shape: Annotated[
        str | None,
        typer.Option("--input", metavar="CxHxW", help="Picture; 3x224x224 if not said."),
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Labels of the head.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Print a network's layers with their shapes, parameters and multiply-adds.

    Example: describe-model resnet34 --input 3x224x224
    """
    try:
        shape = None if input_shape is None else _shape(input_shape)
        architecture = get_architecture(
            name, num_classes=classes, in_channels=None if shape is None else shape[0]
        )
    except ValueError as error:
        raise typer.BadParameter(_one_line(error)) from None
    side = 28 if architecture.stem == "small" else 224
    height, width = (side, side) if shape is None else shape[1:]
    summary = summarize(architecture, height, width)
    if as_json:
        sys.stdout.write(summary.model_dump_json(indent=1) + "\n")
    else:
        console = Console()
        console.width = max(console.width, 110)  # a narrow pipe would cut the figures
        console.print(_table(architecture.name, summary))


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())


def _shape(text: str) -> tuple[int, int, int]:
    numbers = text.lower().split("x")
    if len(numbers) != 3 or not all(number.isdecimal() and int(number) for number in numbers):
        raise ValueError(f"`--input {text}` must be CxHxW, for example 3x224x224.")
    channels, height, width = map(int, numbers)
    return channels, height, width


def _table(title: str, summary: Summary) -> Table:
    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("layer", "total")
    table.add_column("kind")
    table.add_column("output shape", _dimensions(summary.input_shape) + " in")
    table.add_column("parameters", f"{summary.parameters:,}", justify="right")
    table.add_column("multiply-adds", f"{summary.macs:,}", justify="right")
    table.add_column("shortcut")
    for layer, shortcut in summary.layers():
        table.add_row(
            layer.path,
            layer.kind,
            _dimensions(layer.output_shape),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.macs:,}" if layer.macs else "",
            shortcut or "",
        )
    return table


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


describe = script(_describe)
