"""Arguments that several benchmarks take on the command line."""

from pathlib import Path
from typing import Annotated

import typer

SHIPPED = Path("artifacts/fashion-mnist/1")

ArtifactFolder = Annotated[Path, typer.Argument(help="An artifact's folder, <name>/<version>.")]
Seconds = Annotated[float, typer.Argument(help="Length of each round.")]
