"""From settings to a model that may be served: read, choose a precision, load, check, measure.

`auto` looks at what one picture costs on one thread; `cores` says what
follows from that.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from model.artifact.folder import Artifact, ArtifactError, read
from model.artifact.manifest import Manifest, Precision
from service.cpus import Choice, byte_products, choose, usable_cores
from service.errors import InferenceFailedError, ServiceError, StartError
from service.inference.cost import Plan, batch_sizes, measure
from service.inference.engine import Engine, offers_cuda
from service.log import log
from service.registry.classifier import Classifier
from service.registry.cores import SMALL_NETWORK_S, Cores, share_cores, suits_loop
from service.registry.folders import default_folders
from service.registry.watchdog import LOAD_TIMEOUT_S, ready_within
from service.settings import Settings


def load_classifier(settings: Settings, served: Iterable[Classifier] = ()) -> Classifier:
    """Read the artifact, load, warm up and measure the engine, and check the golden answers.

    Args:
        settings: Say which artifact, and how to run it.
        served: Models of this process. One of the same kind was measured already, and not
            beside requests: its times and its use of the cores are taken over.

    Raises:
        StartError: The first thing that is wrong, in one line.
    """
    try:
        artifact = read(settings.artifact)
        engine, plan = _like_one_served(artifact, settings, served) or _measured(artifact, settings)
    except InferenceFailedError as error:  # whose own text is for clients of a service that runs
        cause = str(error.__cause__ or error).splitlines()[0][:200]
        raise StartError(f"{settings.artifact} fails on its golden pictures: {cause}") from error
    except (ArtifactError, ServiceError) as error:
        raise StartError(str(error)) from error
    if engine.provider != "cpu":
        _tell_passed_over(settings, engine.provider)
    if artifact.passed_over:
        which, why = ", ".join(artifact.passed_over), f"An earlier version wrote {artifact.folder}."
        log.warning("passed over", extra={"fields": {"which": which, "why": why}})
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


def try_artifact(settings: Settings) -> None:
    """Load the engine, check the golden answers and run the largest batch; measure nothing.

    Raises:
        StartError: The first thing that is wrong, in one line.
    """
    try:
        artifact = read(settings.artifact)
        engine = load_engine(artifact, settings, threads=1)
        engine.run(artifact.golden_images()[:1].repeat(settings.max_batch_size, axis=0))
    except (ArtifactError, ServiceError) as error:
        raise StartError(str(error)) from error


def _like_one_served(
    artifact: Artifact, settings: Settings, served: Iterable[Classifier]
) -> tuple[Engine, Plan] | None:
    """Load the engine as that of a served model of the same kind; None if there is none.

    Times that are measured beside requests are those of a busy machine; they could turn the
    use of the cores round, and make the service refuse what it could answer.
    """
    kind = _kind(artifact.manifest)
    for classifier in served:
        if _kind(classifier.manifest) == kind:
            like = classifier.engine
            engine = load_engine(artifact, settings, like.threads)
            if (engine.precision, engine.provider) == (like.precision, like.provider):
                return engine, classifier.batcher.plan.again()
    return None


def _kind(manifest: Manifest) -> tuple[object, ...]:
    """What the time of a run depends on, beside precision and provider."""
    return manifest.architecture, manifest.input, len(manifest.labels), manifest.summary.macs


def _measured(artifact: Artifact, settings: Settings) -> tuple[Engine, Plan]:
    """Load the engine, and measure what decides how it is used."""
    usable = usable_cores()
    engine, cores = _load_laid_out(artifact, settings, usable)
    example = artifact.golden_images()[0]
    plan = measure(engine.run, example, batch_sizes(settings.max_batch_size))
    if engine.provider == "cpu":
        plan.instances, plan.threads = cores.instances, cores.threads
        plan.on_loop = suits_loop(cores, usable, plan)
    return engine, plan


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


def is_small(engine: Engine, artifact: Artifact) -> bool:
    """Tell whether Python's share of a picture counts beside the engine's.

    Args:
        engine: On one thread.
        artifact: What it was loaded from.
    """
    plan = measure(engine.run, np.asarray(artifact.golden_images()[0]), (1,))
    return plan.seconds[1] < SMALL_NETWORK_S


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
            with ready_within(LOAD_TIMEOUT_S, str(folder)):
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
