"""From settings to a model that may be served: read, choose a precision, load, check, measure.

Also decides how to use the cores: `auto` looks at what one picture costs on one thread.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.artifact import Artifact, ArtifactError, read
from model.manifest import Precision
from service.classifier import Classifier
from service.engine import Engine, offers_cuda, usable_cores
from service.errors import ServiceError, StartError
from service.folders import default_folders
from service.log import log
from service.plan import Plan, batch_sizes, measure
from service.processor import Choice, byte_products, choose
from service.settings import Settings

SMALL_NETWORK_S = 0.005
"""Under this time a picture, Python's share of a request is worth a process of its own."""


class Cores(NamedTuple):
    """How the cores are used: processes, runs side by side in each, threads in each run."""

    workers: int
    instances: int
    threads: int

    @property
    def computing(self) -> int:
        """Threads of the session that all runs share: each brings itself, and what it adds."""
        return self.instances * (self.threads - 1) + 1


def load_classifier(settings: Settings) -> Classifier:
    """Read the artifact, load, warm up and measure the engine, and check the golden answers.

    Raises:
        StartError: The first thing that is wrong, in one line.
    """
    try:
        artifact = read(settings.artifact)
        usable = usable_cores()
        engine, cores = _load_laid_out(artifact, settings, usable)
        example = artifact.golden_images()[0]
        plan = measure(engine.run, example, batch_sizes(settings.max_batch_size))
    except (ArtifactError, ServiceError) as error:
        raise StartError(str(error)) from error
    if engine.provider == "cpu":
        plan.instances, plan.threads = cores.instances, cores.threads
        plan.on_loop = suits_loop(cores, usable, plan)
    else:
        _tell_passed_over(settings, engine.provider)
    log.info(
        "measured",
        extra={
            "fields": {
                "ms_by_batch_size": {size: round(1000 * s, 3) for size, s in plan.seconds.items()},
                "instances": plan.instances,
                "threads": plan.threads,
                "on_loop": plan.on_loop,
            }
        },
    )
    return Classifier(artifact, engine, plan, settings)


def _load_laid_out(artifact: Artifact, settings: Settings, usable: int) -> tuple[Engine, Cores]:
    """Load the engine with as many threads as suit the network, where that is left to us.

    One picture on one thread tells: of what many threads take it says little, since a small
    network gains next to nothing by them.
    """
    cores, small = (share_cores(settings, usable, is_small=kind) for kind in (False, True))
    if small == cores:
        return load_engine(artifact, settings, cores.computing), cores
    engine = load_engine(artifact, settings, threads=1)
    if engine.provider != "cpu":
        return engine, cores
    if is_small(engine, artifact):
        cores = small
    if engine.threads != cores.computing:
        del engine  # its memory, before the next one takes as much
        engine = load_engine(artifact, settings, cores.computing)
    return engine, cores


def _tell_passed_over(settings: Settings, provider: str) -> None:
    """Log what was asked of the cores where they do not compute."""
    asked = {"RESNET_INSTANCES": settings.instances, "RESNET_THREADS": settings.threads}
    if names := " and ".join(name for name, value in asked.items() if value):
        why = f"On {provider.upper()} one batch runs at a time, by the GPU. Leave them out."
        log.warning("passed over", extra={"fields": {"which": names, "why": why}})


def load_engine(artifact: Artifact, settings: Settings, threads: int) -> Engine:
    """Load the precision that was asked for, or with `auto` the one that suits the machine.

    A cheaper precision that `auto` chose and that fails its golden answers here gives way
    to float32, and the log says so; one that was asked for by name refuses to start.

    Raises:
        ArtifactError: If the artifact has no such precision, or its file is damaged.
        StartError: If the model cannot be served.
    """
    if settings.precision != "auto":
        return _checked(artifact, settings, settings.precision, threads)
    held = tuple(artifact.manifest.files)
    cuda = settings.provider != "cpu" and offers_cuda()
    choice = choose(held, cuda=cuda, byte_products=byte_products())
    try:
        engine = _checked(artifact, settings, choice.precision, threads)
        if cuda and engine.provider != "cuda":  # onnxruntime offered it and fell back
            choice = choose(held, cuda=False, byte_products=byte_products())
            engine = _checked(artifact, settings, choice.precision, threads)
    except (StartError, ServiceError) as error:
        if choice.precision == "float32" or "float32" not in held:
            raise
        log.warning("precision gave way", extra={"fields": {"why": str(error)}})
        choice = Choice("float32", f"{choice.precision} failed here")
        engine = _checked(artifact, settings, "float32", threads)
    log.info("precision", extra={"fields": {"is": choice.precision, "because": choice.reason}})
    return engine


def _checked(artifact: Artifact, settings: Settings, precision: Precision, threads: int) -> Engine:
    """Load one precision, and have it give the golden answers here."""
    engine = Engine(
        artifact.model(precision),
        artifact.manifest,
        precision,
        settings.provider,
        settings.provider_policy,
        threads,
    )
    engine.check_golden(artifact.golden_images())
    return engine


def share_cores(settings: Settings, usable: int, *, is_small: bool = False) -> Cores:
    """Fill in what the settings leave to us, for the cores of one worker.

    Two runs side by side with half of the threads each finish more pictures of a large network
    than one run with all: while one waits for Python, the other computes. Of a small one they
    finish fewer, since both wait for Python (docs/decisions/0015).
    """
    workers = settings.processes
    usable = max(1, usable // workers)
    takes_all = is_small and not settings.threads
    instances = settings.instances or (1 if takes_all else min(2, usable))
    return Cores(workers, instances, settings.threads or max(1, usable // instances))


def is_small(engine: Engine, artifact: Artifact) -> bool:
    """Tell whether Python's share of a picture counts beside the engine's.

    Args:
        engine: On one thread.
        artifact: What it was loaded from.
    """
    plan = measure(engine.run, np.asarray(artifact.golden_images()[0]), (1,))
    return plan.seconds[1] < SMALL_NETWORK_S


def suits_loop(cores: Cores, usable: int, plan: Plan) -> bool:
    """Tell whether the event loop shall run the batches: one core, and a small network.

    There a thread would only take turns with the loop, and each turn costs both.
    """
    is_alone = usable <= cores.workers and cores.instances == 1
    return is_alone and plan.seconds[1] < SMALL_NETWORK_S


def choose_workers(settings: Settings, probe: Callable[[Path], None] = lambda _: None) -> int:
    """Decide on the number of processes: as asked, or by what a picture costs.

    Args:
        settings: Of several versions the newest good one counts, as it will be served.
        probe: Tries each of several in a process of its own, which a bad file may crash.

    Raises:
        StartError: If no version of the model can be loaded; with the newest one's reason.
    """
    usable = usable_cores()
    is_auto = settings.workers == "auto"
    if settings.workers == 1 or (is_auto and (usable == 1 or settings.provider == "cuda")):
        return 1
    folders = default_folders(settings)
    refused: list[Exception] = []
    for folder in folders:  # one line here for a bad artifact, not one from each worker
        try:
            if len(folders) > 1:
                probe(folder)
            return _workers_for(read(folder), settings, usable)
        except (ArtifactError, ServiceError, StartError, OSError) as error:
            refused.append(error)
    raise StartError(str(refused[0])) from refused[0]


def _workers_for(artifact: Artifact, settings: Settings, usable: int) -> int:
    engine = load_engine(artifact, settings, threads=1)
    if settings.workers != "auto":
        return settings.workers
    if engine.provider != "cpu":
        return 1
    return usable if is_small(engine, artifact) else 1
