"""From settings to a model that may be served: read, choose a precision, load, check, measure.

Also decides how to use the cores: `auto` looks at what one picture costs on one thread.
"""

from typing import NamedTuple

import numpy as np

from model.artifact import Artifact, ArtifactError, read
from model.manifest import Precision
from service.classifier import Classifier
from service.engine import Engine, offers_cuda, usable_cores
from service.errors import InferenceFailedError, StartError
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
        cores = share_cores(settings, usable)
        engine, plan = _load_measured(artifact, settings, cores)
        if engine.provider == "cpu" and is_small(plan):
            small = share_cores(settings, usable, is_small=True)
            if small != cores:
                cores = small
                engine, plan = _load_measured(artifact, settings, cores)
    except (ArtifactError, InferenceFailedError) as error:
        raise StartError(str(error)) from error
    plan.instances = cores.instances if engine.provider == "cpu" else 1
    plan.on_loop = engine.provider == "cpu" and suits_loop(cores, usable, plan)
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


def _load_measured(artifact: Artifact, settings: Settings, cores: Cores) -> tuple[Engine, Plan]:
    """Load the engine for a layout, and measure what each batch size takes in it."""
    engine = load_engine(artifact, settings, cores.computing)
    example = artifact.golden_images()[0]
    plan = measure(engine.run, example, batch_sizes(settings.max_batch_size))
    if engine.provider == "cpu":
        plan.threads = cores.threads
    return engine, plan


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
    except (StartError, InferenceFailedError) as error:
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
    workers = 1 if settings.workers == "auto" else settings.workers
    usable = max(1, usable // workers)
    takes_all = is_small and not settings.threads
    instances = settings.instances or (1 if takes_all else min(2, usable))
    return Cores(workers, instances, settings.threads or max(1, usable // instances))


def is_small(plan: Plan) -> bool:
    """Tell whether Python's share of a picture counts beside the engine's, on one thread."""
    return plan.seconds[1] * plan.threads < SMALL_NETWORK_S


def suits_loop(cores: Cores, usable: int, plan: Plan) -> bool:
    """Tell whether the event loop shall run the batches: one core, and a small network.

    There a thread would only take turns with the loop, and each turn costs both.
    """
    is_alone = usable <= cores.workers and cores.instances == 1
    return is_alone and plan.seconds[1] < SMALL_NETWORK_S


def choose_workers(settings: Settings) -> int:
    """Decide on the number of processes: as asked, or by what a picture costs.

    Raises:
        StartError: If the model cannot be loaded.
    """
    usable = usable_cores()
    is_auto = settings.workers == "auto"
    if settings.workers == 1 or (is_auto and (usable == 1 or settings.provider == "cuda")):
        return 1
    try:  # one line here for a bad artifact, not one from each worker
        artifact = read(settings.artifact)
        engine = load_engine(artifact, settings, threads=1)
        if settings.workers != "auto":
            return settings.workers
        if engine.provider != "cpu":
            return 1
        plan = measure(engine.run, np.asarray(artifact.golden_images()[0]), (1,))
    except (ArtifactError, InferenceFailedError) as error:
        raise StartError(str(error)) from error
    return usable if plan.seconds[1] < SMALL_NETWORK_S else 1
