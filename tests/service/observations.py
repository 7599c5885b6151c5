"""Traffic as a window of drift sees it, and a reference for it."""

from collections.abc import Callable, Iterable

from model.artifact.trust import Histogram, Reference
from service.postprocessing.drift import Drift, Observation

REFERENCE = Reference(
    n=1000,
    labels=(0.5, 0.5),
    confidence=Histogram(edges=(0.9,), shares=(0.2, 0.8)),
    out_of_distribution=0.05,
    brightness=Histogram(edges=(0.5,), shares=(0.5, 0.5)),
    side=Histogram(edges=(24.0, 48.0), shares=(0.0, 1.0, 0.0)),
)


def observations(
    count: int, change: Callable[[int], dict[str, float]] = lambda _: {}
) -> list[Observation]:
    """Traffic just like the reference, unless `change` says otherwise."""
    return [
        Observation(
            **{  # type: ignore[arg-type]
                "label": index % 2,
                "confidence": 0.8 if index % 5 == 0 else 0.95,
                "in_distribution": float(index % 20 != 0),
                "brightness": 0.3 if index % 2 else 0.7,
                "side": 28,
                **change(index),
            }
        )
        for index in range(count)
    ]


def observe(drift: Drift, images: Iterable[Observation]) -> None:
    for image in images:
        drift.observe(image)
