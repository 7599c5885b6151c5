"""Load a model as the settings say: read, choose a precision, load, check, measure.

`auto` depends on the time of one image on one thread; see `service.registry.cores`.
"""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from model.artifact.folder import Artifact, ArtifactError, read
from model.artifact.manifest import Manifest, Precision
from service.cpus import PrecisionChoice, choose_precision, int8_instructions, usable_cores
from service.errors import InferenceFailedError, ServiceError, StartError
from service.inference.cost import CostModel, batch_sizes, measure
from service.inference.engine import Engine, has_cuda_build
from service.log import log
from service.registry.classifier import Classifier
from service.registry.cores import SMALL_NETWORK_S, Cores, share_cores, suits_inline
from service.registry.folders import default_folders
from service.registry.observers import Observers
from service.registry.versions import VersionsFile
from service.registry.watchdog import LOAD_TIMEOUT_S, ready_within
from service.settings import Settings


def load_classifier(
    settings: Settings,
    served: Iterable[Classifier] = (),
    observers: Observers = Observers(),  # noqa: B008  # frozen
) -> Classifier:
    """Read the artifact, load, warm up and measure the engine, and check the golden answers.

    Args:
        settings: The artifact, and how to run it.
        served: Models of this process. If one of them is of the same kind, its cost model and
            its use of the cores are copied.
        observers: Callbacks for the model's events.

    Raises:
        StartError: The first problem found, in one line.
    """
    try:
        artifact = read(settings.artifact)
        if settings.model_name is not None:
            artifact = artifact.renamed(settings.model_name)
        engine, cost = _like_one_served(artifact, settings, served) or _measured(artifact, settings)
    except InferenceFailedError as error:  # its message is for clients
        cause = str(error.__cause__ or error).splitlines()[0][:200]
        raise StartError(f"{settings.artifact} fails on its golden images: {cause}") from error
    except (ArtifactError, ServiceError) as error:
        raise StartError(str(error)) from error
    if engine.provider != "cpu":
        _log_ignored_settings(settings, engine.provider)
    if artifact.passed_over:
        which, why = ", ".join(artifact.passed_over), f"An earlier version wrote {artifact.folder}."
        log.warning("manifest fields ignored", extra={"fields": {"which": which, "why": why}})
    log.info(
        "measured",
        extra={
            "fields": {
                "ms_by_batch_size": {size: round(1000 * s, 3) for size, s in cost.seconds.items()},
                "instances": cost.instances,
                "threads": cost.threads,
                "inline": cost.inline,
            }
        },
    )
    return Classifier(artifact, engine, cost, settings, observers)


def try_artifact(settings: Settings) -> None:
    """Load the engine, check the golden answers and run the largest batch; measure nothing.

    Raises:
        StartError: The first problem found, in one line.
    """
    try:
        artifact = read(settings.artifact)
        engine = load_engine(artifact, settings, threads=1)
        engine.run(artifact.golden_images()[:1].repeat(settings.max_batch_size, axis=0))
    except (ArtifactError, ServiceError) as error:
        raise StartError(str(error)) from error


def _like_one_served(
    artifact: Artifact, settings: Settings, served: Iterable[Classifier]
) -> tuple[Engine, CostModel] | None:
    """Load the engine like that of a served model of the same kind; None if there is none.

    Times measured while the service answers requests are those of a busy machine: they could
    change the use of the cores, and make the service reject what it could answer.
    """
    kind = _kind(artifact.manifest)
    for classifier in served:
        if _kind(classifier.manifest) == kind:
            like = classifier.engine
            engine = load_engine(artifact, settings, like.threads)
            if (engine.precision, engine.provider) == (like.precision, like.provider):
                return engine, copy.copy(classifier.batcher.cost)
    return None


def _kind(manifest: Manifest) -> tuple[object, ...]:
    """What the time of a run depends on, besides precision and provider."""
    return manifest.architecture, manifest.input, len(manifest.labels), manifest.summary.macs


def _measured(artifact: Artifact, settings: Settings) -> tuple[Engine, CostModel]:
    """Load the engine, and measure the times of its batch sizes."""
    usable = usable_cores(at_most=settings.max_cores)
    engine, cores = _load_for_cores(artifact, settings, usable)
    example = artifact.golden_images()[0]
    seconds = measure(engine.run, example, batch_sizes(settings.max_batch_size))
    engine.shrink()
    if engine.provider != "cpu":
        return engine, CostModel(seconds)
    inline = suits_inline(cores, usable, seconds)
    return engine, CostModel(seconds, cores.instances, cores.threads, inline=inline)


def _load_for_cores(artifact: Artifact, settings: Settings, usable: int) -> tuple[Engine, Cores]:
    """Load the engine with as many threads as suit the network, unless the settings name a number.

    The time of one image on one thread decides: a small network gains almost nothing by more.
    """
    cores, small = (share_cores(settings, usable, is_small=kind) for kind in (False, True))
    if small == cores:
        return load_engine(artifact, settings, cores.session_threads), cores
    engine = load_engine(artifact, settings, threads=1)
    if engine.provider != "cpu":
        return engine, cores
    if is_small(engine, artifact):
        cores = small
    if engine.threads != cores.session_threads:
        del engine  # frees its memory before the next one is loaded
        engine = load_engine(artifact, settings, cores.session_threads)
    return engine, cores


def _log_ignored_settings(settings: Settings, provider: str) -> None:
    """Warn about settings that have no effect on a GPU."""
    asked = {
        "RESNET_CONCURRENT_RUNS": settings.concurrent_runs,
        "RESNET_INTRA_OP_THREADS": settings.intra_op_threads,
    }
    if names := " and ".join(name for name, value in asked.items() if value):
        why = f"On {provider.upper()} the GPU runs one batch at a time. Leave these settings out."
        log.warning("settings ignored", extra={"fields": {"which": names, "why": why}})


def load_engine(artifact: Artifact, settings: Settings, threads: int) -> Engine:
    """Load the precision that the settings name, or with `auto` the one that suits the machine.

    If the choice of `auto` fails its golden answers here, float32 is loaded instead, with a
    warning. A precision that is named must pass.

    Raises:
        ArtifactError: If the artifact has no such precision, or its file is damaged.
        StartError: If the model cannot be served.
    """
    if settings.precision != "auto":
        return _checked(artifact, settings, settings.precision, threads)
    available = tuple(artifact.manifest.files)
    cuda = settings.provider != "cpu" and has_cuda_build()
    choice = choose_precision(available, cuda=cuda, int8_instructions=int8_instructions())
    try:
        engine = _checked(artifact, settings, choice.precision, threads)
        if cuda and engine.provider != "cuda":  # onnxruntime fell back to the CPU
            choice = choose_precision(available, cuda=False, int8_instructions=int8_instructions())
            engine = _checked(artifact, settings, choice.precision, threads)
    except (StartError, ServiceError) as error:
        if choice.precision == "float32" or "float32" not in available:
            raise
        log.warning("precision fallback", extra={"fields": {"why": str(error)}})
        choice = PrecisionChoice("float32", f"{choice.precision} failed here")
        engine = _checked(artifact, settings, "float32", threads)
    log.info("precision", extra={"fields": {"is": choice.precision, "because": choice.reason}})
    return engine


def _checked(artifact: Artifact, settings: Settings, precision: Precision, threads: int) -> Engine:
    """Load one precision, and check its golden answers on this machine."""
    engine = Engine(
        artifact.model(precision),
        artifact.manifest,
        precision,
        settings.provider,
        settings.provider_policy,
        threads,
        device_id=next(iter(settings.device_ids), 0),
    )
    engine.check_golden(artifact.golden_images())
    return engine


def is_small(engine: Engine, artifact: Artifact) -> bool:
    """Whether Python's share of an image's time matters beside the engine's.

    Args:
        engine: With one thread.
        artifact: The engine's.
    """
    seconds = measure(engine.run, np.asarray(artifact.golden_images()[0]), (1,))
    return seconds[1] < SMALL_NETWORK_S


def choose_workers(
    settings: Settings, trial: Callable[[Path], None] = lambda _: None, gpus: int = 0
) -> int:
    """Choose the number of processes: as set, or one a GPU, or by the time of an image.

    Args:
        settings: Of several versions, the newest good one decides, which will be served.
        trial: Loads each of several versions in its own process, which a bad file may crash.
        gpus: That workers may use.

    Raises:
        StartError: If no version can be loaded, with the reason of the newest.
    """
    usable = usable_cores(at_most=settings.max_cores)
    is_auto = settings.workers == "auto"
    if is_auto and settings.provider == "cuda":
        return max(1, gpus)
    if settings.workers == 1 or (is_auto and usable == 1 and gpus <= 1):
        return 1
    folders = default_folders(settings, VersionsFile(settings).read())
    failures: list[Exception] = []
    for folder in folders:  # one line for a bad artifact, in place of one from each worker
        try:
            if len(folders) > 1:
                trial(folder)
            with ready_within(LOAD_TIMEOUT_S, str(folder)):
                return _workers_for(read(folder), settings, usable, gpus)
        except (ArtifactError, ServiceError, StartError, OSError) as error:
            failures.append(error)
    raise StartError(str(failures[0])) from failures[0]


def _workers_for(artifact: Artifact, settings: Settings, usable: int, gpus: int) -> int:
    engine = load_engine(artifact, settings, threads=1)
    if settings.workers != "auto":
        return settings.workers
    if engine.provider != "cpu":
        return max(1, gpus)
    return usable if is_small(engine, artifact) else 1
