"""The command `serve-model`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from model.cli import script
from service.memory import pause_gc
from service.settings import PREFIX


def _serve(
    artifact: Annotated[
        Path | None,
        typer.Argument(help="Folder <name>/<version>, or <name> for its newest version."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model in routes and answers.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 chooses a free one.")
    ] = None,
    workers: Annotated[str | None, typer.Option(help="Number of processes, or auto.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision: auto, float32, float16 or int8.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Where to run: auto, cpu or cuda.")] = None,
) -> None:
    """Serve an artifact over HTTP until SIGTERM or Ctrl+C.

    Every setting is also a variable RESNET_<NAME>; docs/settings.md lists them.

    Example: serve-model artifacts/fashion-mnist/1 --port 8080
    """
    given = {
        "ARTIFACT": artifact,
        "MODEL_NAME": name,
        "HOST": host,
        "PORT": port,
        "WORKERS": workers,
        "PRECISION": precision,
        "PROVIDER": provider,
    }
    os.environ.update(
        {PREFIX + name: str(value) for name, value in given.items() if value is not None}
    )
    pause_gc()  # before a hundred thousand objects are imported that stay
    from service.run import run  # noqa: PLC0415

    run()


serve = script(_serve)
