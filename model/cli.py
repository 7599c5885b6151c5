"""The command `describe-model`, and what all commands share: parsing, errors in one line."""

import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from model.architecture.family import ARCHITECTURES, get_architecture, stem_for
from model.architecture.plan import ShortcutRule, StemKind
from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from model.drawing.mermaid import draw_mermaid
from model.drawing.svg import draw


class CommandError(Exception):
    """A user's error: the command prints its one line and exits with 1."""


def script(function: Callable[..., None]) -> Callable[[], None]:
    """Make a console script of a function: Typer reads the options, failures are one line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(function)

    def run() -> None:
        _prepare_streams()
        try:
            app()
        except CommandError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(1)

    return run


def _prepare_streams() -> None:
    """Have streams replace what their encoding lacks, and open closed ones on /dev/null.

    A file that is opened while a standard stream is closed takes the stream's number, and with it
    whatever a library in C prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):  # a notebook has streams of its own
            stream.reconfigure(errors=errors)


class Form(StrEnum):
    """How a network is shown."""

    table = "table"
    json = "json"
    mermaid = "mermaid"
    svg = "svg"


def _describe(
    name: Annotated[str, typer.Argument(help=f"Name of the network: {', '.join(ARCHITECTURES)}.")],
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="CxHxW",
            help="Size of the input. Default: the size that the network is made for. With "
            "another size, the stem is the one that training would choose for it.",
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Number of labels of the head.")
    ] = None,
    stem: Annotated[
        StemKind | None, typer.Option(help="Kind of the first layers, such as standard or small.")
    ] = None,
    shortcuts: Annotated[
        ShortcutRule | None, typer.Option(help="Kind of shortcuts, instead of the network's own.")
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="Output: a table, JSON, or a drawing.")
    ] = Form.table,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Print a network's layers with their shapes, parameters and multiply-adds.

    Example: describe-model resnet34 --input 3x224x224

    Example: describe-model resnet34 --format svg > resnet34.svg
    """
    try:
        architecture = get_architecture(name, num_classes=classes, stem=stem, shortcuts=shortcuts)
        height = width = architecture.image_size
        if input_shape is not None:
            channels, height, width = _shape(input_shape)
            architecture = _fitted(architecture, channels, max(height, width), stem)
        summary = summarize(architecture, height, width)
    except ValueError as error:
        raise typer.BadParameter(_one_line(error)) from None
    match Form.json if as_json else form:
        case Form.json:
            whole = {"name": architecture.name, "receptive_field": summary.receptive_field}
            sys.stdout.write(json.dumps(whole | summary.model_dump(mode="json"), indent=1) + "\n")
        case Form.svg:
            _write_utf8(draw(architecture.name, summary))
        case Form.mermaid:
            _write_utf8(draw_mermaid(architecture.name, summary))
        case Form.table:
            from model.drawing.table import print_table  # noqa: PLC0415  # all commands import this

            print_table(f"{architecture.name}, stem {architecture.stem}", summary)


def _fitted(
    architecture: Architecture, channels: int, image_size: int, stem: StemKind | None
) -> Architecture:
    """Fit a network to images as training does."""
    return get_architecture(
        architecture.name,
        num_classes=architecture.num_classes,
        in_channels=channels,
        stem=stem or stem_for(architecture, image_size),
        size=image_size if architecture.size else None,
        shortcuts=architecture.shortcuts,
    )


def _write_utf8(text: str) -> None:
    """Write what becomes a file, whose encoding is not the terminal's."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())


def _shape(text: str) -> tuple[int, int, int]:
    numbers = text.lower().split("x")
    if len(numbers) != 3 or not all(number.isdecimal() and int(number) for number in numbers):
        raise ValueError(f"`--input {text}` must be CxHxW, such as 3x224x224.")
    channels, height, width = map(int, numbers)
    return channels, height, width


describe = script(_describe)
