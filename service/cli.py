"""The command `serve-model`."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from model.cli import CommandError, script
from service.app import create_app
from service.errors import StartError
from service.log import set_up_logging
from service.memory import freeze_gc
from service.observability.tracing import start_tracing
from service.registry.loading import choose_workers
from service.registry.trial import TrialLoad
from service.server.certificates import read_certificates
from service.server.listen import bind, reserve_grpc
from service.server.server import Server, configure
from service.server.workers import run_workers
from service.settings import PREFIX, read_settings


def _serve(
    artifact: Annotated[
        Path | None, typer.Argument(help="Folder <name>/<version>, or <name> for its newest.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one.")] = None,
    workers: Annotated[str | None, typer.Option(help="Processes: a number, or auto.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32, float16 or int8.")] = None,
    provider: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
) -> None:
    """Serve an artifact over HTTP until SIGTERM or Ctrl+C.

    Every setting is also a variable RESNET_<NAME>; docs/settings.md lists them.

    Example: serve-model artifacts/fashion-mnist/1 --port 8080
    """
    given = {
        "ARTIFACT": artifact,
        "HOST": host,
        "PORT": port,
        "WORKERS": workers,
        "PRECISION": precision,
        "PROVIDER": provider,
    }
    os.environ.update(
        {PREFIX + name: str(value) for name, value in given.items() if value is not None}
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a model to reload
    try:
        settings = read_settings()
        set_up_logging(settings.log_level, settings.log_format)
        if settings.tls_cert is not None:
            read_certificates(settings)  # a fault is found before a model is loaded
        with bind(settings) as sockets, reserve_grpc(settings):
            number = choose_workers(settings, TrialLoad())
            os.environ[PREFIX + "WORKERS"] = str(number)  # the workers read what `auto` became
            if number == 1:
                config = configure(settings, create_app(read_settings(), start_tracing()))
                freeze_gc()
                Server(config, owns_port=True).run(sockets)
            elif not run_workers(settings, number, sockets):
                raise CommandError("A worker could not start; see the lines above.")
    except StartError as error:
        raise CommandError(str(error)) from error


serve = script(_serve)
