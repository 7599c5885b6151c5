"""From an artifact to an engine that may serve: precision chosen, warm, golden answers right."""

import logging

from model.artifact import Artifact
from model.manifest import Precision
from service.engine import Engine, offers_cuda
from service.errors import StartError
from service.processor import Choice, byte_products, choose
from service.settings import Settings

log = logging.getLogger("service")


def load_engine(artifact: Artifact, settings: Settings) -> Engine:
    """Load the precision that was asked for, or with `auto` the one that suits the machine.

    A cheaper precision that `auto` chose and that fails its golden answers here gives way
    to float32, and the log says so; one that was asked for by name refuses to start.

    Raises:
        ArtifactError: If the artifact has no such precision, or its file is damaged.
        StartError: If the model cannot be served.
    """
    if settings.precision != "auto":
        return _ready(artifact, settings, settings.precision)
    held = tuple(artifact.manifest.files)
    cuda = settings.provider != "cpu" and offers_cuda()
    choice = choose(held, cuda=cuda, byte_products=byte_products())
    try:
        engine = _ready(artifact, settings, choice.precision)
        if cuda and engine.provider != "cuda":  # onnxruntime offered it and fell back
            choice = choose(held, cuda=False, byte_products=byte_products())
            engine = _ready(artifact, settings, choice.precision)
    except StartError as error:
        if choice.precision == "float32" or "float32" not in held:
            raise
        log.warning("precision gave way", extra={"fields": {"why": str(error)}})
        choice = Choice("float32", f"{choice.precision} failed here")
        engine = _ready(artifact, settings, "float32")
    log.info("precision", extra={"fields": {"is": choice.precision, "because": choice.reason}})
    return engine


def _ready(artifact: Artifact, settings: Settings, precision: Precision) -> Engine:
    engine = Engine(
        artifact.model(precision),
        artifact.manifest,
        precision,
        settings.provider,
        settings.provider_policy,
        settings.threads,
    )
    engine.warm_up((1, settings.max_batch_size))
    engine.check_golden(artifact.golden_images())
    return engine
