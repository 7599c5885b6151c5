"""Fixtures of the service's tests: artifacts to serve, and the service in this process."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray

from model.artifact.manifest import Precision
from model.artifact.writing import write
from model.preprocessing import Pixels
from service.app import create_app
from service.inference.admission import Admission
from service.inference.batch import Run
from service.inference.batcher import Batcher
from service.inference.cost import CostModel
from service.inference.engine import Engine
from service.inference.outputs import BatchOutputs
from service.log import LIBRARIES, BufferedHandler
from service.postprocessing.batch import BatchAnswers, read_batch
from service.registry.classifier import Classifier
from service.registry.trial import TrialLoad
from service.settings import PREFIX, Settings
from tests.conftest import MakeManifest
from tests.service import graphs

SHIPPED = Path(__file__).parents[2] / "artifacts/fashion-mnist/1"

MakeArtifact = Callable[..., Path]
LoadEngine = Callable[..., Engine]


def outputs_of(values: NDArray[np.float32]) -> BatchOutputs:
    """What a run gives: the values (N, K) as logits and as probabilities."""
    return BatchOutputs(values, values)


class Gate:
    """An engine's run that waits to be let through, and notes what it was given.

    An image's first pixel is its name; its answer is that number, twice.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def __call__(self, images: Pixels) -> BatchOutputs:
        names = images[:, 0, 0, 0]
        self.batches.append(names.tolist())
        self.entered.release()
        if not self._open.acquire(timeout=20):
            raise TimeoutError("The gate was not opened.")
        return outputs_of(np.stack([names, names], axis=1).astype(np.float32))

    async def has_entered(self) -> None:
        """Wait until one more run has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)

    def let_through(self, runs: int = 1) -> None:
        """Let this many runs end."""
        self._open.release(runs)


@dataclass(frozen=True)
class Service:
    """The service in this process, between its start and its end."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def classifier(self) -> Classifier:
        classifier = self.app.state.service.models.find()
        assert isinstance(classifier, Classifier)
        return classifier


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[Service]:
    """Start an application, and end it."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield Service(app, client)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as uvicorn does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _untouched_process() -> Iterator[None]:
    """Hide the settings of the caller's environment; undo what a command did to this process."""
    given = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(PREFIX)}
    names = ("service", "uvicorn", "uvicorn.access", *LIBRARIES)
    loggers = [logging.getLogger(name) for name in names]
    before = [(log.handlers, log.level, log.propagate, log.disabled) for log in loggers]
    yield
    logging.captureWarnings(False)
    for handler in {handler for log in loggers for handler in log.handlers}:  # loggers share one
        handler.flush()  # what it keeps would appear in a later test
        if isinstance(handler, BufferedHandler):
            handler.close()
    for log, state in zip(loggers, before, strict=True):
        log.handlers, log.level, log.propagate, log.disabled = state
        log.setLevel(log.level)  # forgets what the logger remembers of its level
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(given)


@pytest.fixture
def make_artifact(tmp_path: Path, make_manifest: MakeManifest) -> MakeArtifact:
    """Write an artifact of a hand-made model: `<tmp>/<name>/<version>`."""

    def make(
        model: bytes = graphs.plain(),
        version: str = "1",
        precision: Precision = "float32",
        overwrite: bool = False,
        name: str = "tiny",
    ) -> Path:
        models: dict[Precision, bytes] = {precision: model}
        manifest = make_manifest(models).model_copy(update={"version": version, "name": name})
        return write(tmp_path / name / version, manifest, models, overwrite=overwrite).folder

    return make


@pytest.fixture
def load_engine(make_manifest: MakeManifest) -> LoadEngine:
    """Load a hand-made model."""

    def load(
        model: bytes = graphs.plain(), provider: Literal["auto", "cpu"] = "cpu", threads: int = 1
    ) -> Engine:
        manifest = make_manifest({"float32": model or b"nothing"})
        return Engine(model, manifest, "float32", provider, "require", threads)

    return load


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note what would be tried in a child process, which takes a second each."""
    folders: list[Path] = []
    monkeypatch.setattr(TrialLoad, "__call__", lambda _, folder: folders.append(folder))
    return folders


Serve = Callable[..., Awaitable[Service]]
LEAN = {"intra_op_threads": 1, "concurrent_runs": 1}
"""One run at a time, so that a test can say what waits."""


def replace_engine(
    app: FastAPI, run: Callable[[Pixels], BatchOutputs], instances: int = 1
) -> Batcher:
    """Let `run` replace the default model's engine, and be counted like it."""
    classifier = app.state.service.models.find()
    settings, cost = classifier.settings, CostModel({1: 1e-4}, instances)
    classifier.admission = Admission(cost, settings.max_in_flight, settings.deadline_s)
    batcher = classifier.batcher = Batcher(
        reading(classifier, run),
        cost,
        max_batch_size=settings.max_batch_size,
        on_batch=partial(app.state.service.telemetry.record_batch, classifier),
    )
    return batcher


def reading(classifier: Classifier, run: Run) -> Run:
    """Give what the classifier reads from the outputs of a run."""

    def read(images: Pixels, *outputs: Any) -> BatchAnswers:
        return read_batch(run(images, *outputs), images, classifier.trust.threshold)

    return read


def replace_run(batcher: Batcher, run: Run) -> Run:
    """Let `run` replace the engine from now on; return the previous one."""
    runner: Any = batcher._runner
    before: Run = runner._run
    runner._run = run
    return before


def replace_cost(classifier: Classifier, cost: CostModel) -> None:
    """Let the default model have taken so long when it was measured."""
    classifier.admission.cost = classifier.batcher.cost = cost


@pytest.fixture
async def serve(make_artifact: MakeArtifact) -> AsyncIterator[Serve]:
    """Serve a hand-made model, or replace the engine by `run`."""
    async with AsyncExitStack() as stack:

        async def start(
            model: bytes = graphs.plain(),
            run: Callable[[Pixels], BatchOutputs] | None = None,
            overwrite: bool = False,
            **changes: Any,
        ) -> Service:
            artifact = make_artifact(model, overwrite=overwrite)
            changes.setdefault("max_images", min(64, changes.get("max_in_flight", 64)))
            settings = Settings(artifact=artifact, **{**LEAN, **changes})
            app = create_app(settings)
            if run is not None:
                replace_engine(app, run)
            return await stack.enter_async_context(serving(app))

        yield start


@pytest.fixture(scope="session")
async def shipped() -> AsyncIterator[Service]:
    """The default model, served once for all tests that only ask."""
    async with serving(
        create_app(Settings(artifact=SHIPPED, intra_op_threads=1, concurrent_runs=1))
    ) as service:
        yield service
