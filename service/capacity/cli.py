"""The command `plan-capacity`: from an artifact, a rate and a percentile to replicas."""

import base64
import re
from pathlib import Path
from typing import Annotated

import typer

from model.artifact.folder import Artifact, ArtifactError, read
from model.cli import CommandError, script
from service.capacity.measurement import measure
from service.capacity.plan import CapacityError, Goal, make_plan
from service.capacity.report import Report, as_text
from service.errors import StartError

DURATION = re.compile(r"(\d+(?:\.\d*)?)\s*(ms|s)")
UNITS = {"ms": 1e-3, "s": 1.0}


def _plan(
    artifact: Annotated[
        Path, typer.Argument(help="Folder <name>/<version>, or <name> for its newest version.")
    ],
    rate: Annotated[
        float, typer.Option(min=0.001, help="Images a second, for all replicas together.")
    ],
    p99: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time within which 99 of 100 requests must be answered: 40ms, 0.5s.",
        ),
    ],
    image: Annotated[
        Path | None,
        typer.Option(
            help="A typical image file of your clients. Default: a golden image of the artifact."
        ),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores of a replica.")] = 1,
    precision: Annotated[
        str | None, typer.Option(help="Precision: auto, float32, float16 or int8.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of a replica per hour.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how many replicas a rate of requests needs, and how to set them up.

    Starts the service on cores of this machine for some twenty seconds and measures what a request
    costs, HTTP and decoding included. docs/scaling.md tells the model.

    Example: plan-capacity artifacts/fashion-mnist/1 --rate 20000 --p99 40ms
    """
    goal = Goal(rate, _seconds(p99), cores, price)
    settings = {"ARTIFACT": artifact} | ({"PRECISION": precision} if precision else {})
    try:
        found = read(artifact)
        measured = measure(settings, _payload(found, image), cores)
        report = Report.of(measured, found.manifest, goal, make_plan(measured, goal))
    except (ArtifactError, StartError, CapacityError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or artifact}: {error.strerror or error}.") from error
    typer.echo(report.model_dump_json(indent=1) if as_json else as_text(report))


def _seconds(text: str) -> float:
    """Read a time with its unit."""
    match = DURATION.fullmatch(text.strip())
    seconds = 0.0 if match is None else float(match[1]) * UNITS[match[2]]
    if seconds <= 0:
        raise typer.BadParameter(
            f"`--p99 {text}` must be a time with its unit, such as 40ms or 0.5s."
        )
    return seconds


def _payload(artifact: Artifact, image: Path | None) -> bytes:
    """Read the image that is sent: the caller's, or a golden one, which is the network's input."""
    if image is not None:
        return image.read_bytes()
    return base64.b64decode(artifact.manifest.golden[0].png)


plan_capacity = script(_plan)
