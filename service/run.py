"""Run the service until it is told to stop; `service.cli` calls it once its options are read."""

import os
import signal

from model.cli import CommandError
from service.app import create_app
from service.errors import StartError
from service.log import set_up_logging
from service.memory import freeze_gc
from service.observability.tracing import start_tracing
from service.registry.devices import find_devices
from service.registry.loading import choose_workers
from service.registry.trial import TrialLoad
from service.server.certificates import read_certificates
from service.server.listen import bind, reserve_grpc
from service.server.server import Server, configure
from service.server.workers import run_workers
from service.settings import PREFIX, read_settings


def run() -> None:
    """Serve as the settings say until SIGTERM or Ctrl+C.

    Raises:
        CommandError: If the service cannot start.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a model to reload
    try:
        settings = read_settings()
        set_up_logging(settings.log_level, settings.log_format)
        if settings.tls_cert is not None:
            read_certificates(settings)  # a fault is found before a model is loaded
        with bind(settings) as sockets, reserve_grpc(settings):
            devices = find_devices(settings)
            number = choose_workers(settings, TrialLoad(), len(devices))
            os.environ[PREFIX + "WORKERS"] = str(number)  # the workers read what `auto` became
            if number == 1:
                config = configure(settings, create_app(read_settings(), start_tracing()))
                freeze_gc()
                Server(config, owns_port=True).run(sockets)
            elif not run_workers(settings, number, sockets, devices):
                raise CommandError("A worker could not start; see the lines above.")
    except StartError as error:
        raise CommandError(str(error)) from error
