"""Callbacks for the events of a model that is served; `service.observability` provides them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.postprocessing.drift import Drift, Observation


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Observers:
    """Callbacks of a model, all called on the event loop.

    Attributes:
        on_batch: After each run of the engine, with the `Classifier`, images and seconds.
        on_image: After each image, with the model's window and an observation of it.
    """

    on_batch: Callable[[Any, int, float], None] = _ignore
    on_image: Callable[[Drift, Observation], None] = _ignore


NO_OBSERVERS = Observers()
