"""From settings to a model that may be served: read, load, warm up, measure, check.

Also decides how to use the cores: `auto` looks at what one picture costs on one thread.
"""

from typing import NamedTuple

import numpy as np

from model.artifact import Artifact, ArtifactError, read
from model.manifest import Precision
from service.classifier import Classifier
from service.engine import Engine, usable_cores
from service.errors import InferenceFailedError, StartError
from service.log import log
from service.plan import batch_sizes, measure
from service.settings import Settings

SMALL_NETWORK_S = 0.005
"""Under this time a picture, Python's share of a request is worth a process of its own: on two
cores, two workers answer about 1.9 times as many small pictures as one."""


class Cores(NamedTuple):
    """How the cores are used: processes, runs side by side in each, threads in each run."""

    workers: int
    instances: int
    threads: int


def load_classifier(settings: Settings) -> Classifier:
    """Read the artifact, load, warm up and measure the engine, and check the golden answers.

    Raises:
        StartError: The first thing that is wrong, in one line.
    """
    try:
        artifact = read(settings.artifact)
        cores = share_cores(settings, usable_cores())
        engine = load_engine(artifact, settings, cores.threads)
        example = artifact.golden_images()[0]
        plan = measure(engine.run, example, batch_sizes(settings.max_batch_size))
        engine.check_golden(artifact.golden_images())
    except (ArtifactError, InferenceFailedError) as error:
        raise StartError(str(error)) from error
    plan.instances = cores.instances if engine.provider == "cpu" else 1
    log.info(
        "measured",
        extra={
            "fields": {
                "ms_by_batch_size": {size: round(1000 * s, 3) for size, s in plan.seconds.items()},
                "instances": plan.instances,
                "threads": cores.threads,
            }
        },
    )
    return Classifier(artifact, engine, plan, settings)


def load_engine(artifact: Artifact, settings: Settings, threads: int) -> Engine:
    """Load the model of the precision that the settings ask for.

    Raises:
        StartError: If onnxruntime cannot load it, or it is not what the manifest says.
        ArtifactError: If there is no such file, or it is damaged.
    """
    precision: Precision = "float32" if settings.precision == "auto" else settings.precision
    return Engine(
        artifact.model(precision),
        artifact.manifest,
        precision,
        settings.provider,
        settings.provider_policy,
        threads,
    )


def share_cores(settings: Settings, usable: int) -> Cores:
    """Fill in what the settings leave to us, for the cores of one worker.

    Two runs side by side with half of the threads each finish more pictures than one run
    with all: while one waits for Python, the other computes.
    """
    workers = 1 if settings.workers == "auto" else settings.workers
    usable = max(1, usable // workers)
    instances = settings.instances or min(2, usable)
    return Cores(workers, instances, settings.threads or max(1, usable // instances))


def choose_workers(settings: Settings) -> int:
    """Decide on the number of processes: as asked, or by what a picture costs.

    Raises:
        StartError: If the model cannot be loaded.
    """
    usable = usable_cores()
    is_auto = settings.workers == "auto"
    if settings.workers == 1 or (is_auto and (usable == 1 or settings.provider == "cuda")):
        return 1
    try:
        artifact = read(settings.artifact)
        engine = load_engine(artifact, settings, threads=1)
        engine.check_golden(artifact.golden_images())  # one line here, not one from each worker
        if settings.workers != "auto":
            return settings.workers
        if engine.provider != "cpu":
            return 1
        plan = measure(engine.run, np.asarray(artifact.golden_images()[0]), (1,))
    except (ArtifactError, InferenceFailedError) as error:
        raise StartError(str(error)) from error
    return usable if plan.seconds[1] < SMALL_NETWORK_S else 1
