"""The layers of a network as a table for a terminal."""

from rich.console import Console
from rich.table import Table

from model.architecture.layers import Summary


def print_table(title: str, summary: Summary) -> None:
    """Print a network's layers with their shapes, parameters and multiply-adds."""
    console = Console()
    console.width = max(console.width, 120)  # a narrow pipe would cut the figures
    console.print(_table(title, summary))


def _table(title: str, summary: Summary) -> Table:
    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("layer", "total")
    table.add_column("kind")
    table.add_column("output shape", _dimensions(summary.input_shape) + " in")
    table.add_column("parameters", f"{summary.parameters:,}", justify="right")
    table.add_column("multiply-adds", f"{summary.macs:,}", justify="right")
    table.add_column("sees", str(summary.receptive_field or ""), justify="right")
    table.add_column("shortcut")
    for layer, shortcut in summary.layers():
        table.add_row(
            layer.path,
            layer.kind,
            _dimensions(layer.output_shape),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.macs:,}" if layer.macs else "",
            str(layer.receptive_field or ""),
            shortcut or "",
        )
    return table


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
