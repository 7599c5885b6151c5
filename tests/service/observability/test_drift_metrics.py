"""Gauges of a drift window, as Prometheus sees them."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.observability.drift import drift_metrics
from service.postprocessing.drift import CHANGED, UNKNOWN, Drift
from tests.service.observations import REFERENCE, observations, observe


class Window(Collector):
    """A drift window on its own."""

    def __init__(self, drift: Drift) -> None:
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        return drift_metrics(self._drift)


def test_prometheus_sees_no_index_that_says_nothing() -> None:
    registry, drift = CollectorRegistry(), Drift(("a", "b"), REFERENCE, 300)
    registry.register(Window(drift))
    observe(drift, observations(20, lambda _: {"label": 0}))
    few, psi = generate_latest(registry).decode(), drift.report().quantities["labels"].psi
    observe(drift, observations(280))

    assert psi > CHANGED
    assert "resnet_drift_psi{" not in few
    assert "resnet_window_confidence_ratio" in few
    assert 'resnet_drift_psi{quantity="labels"}' in generate_latest(registry).decode()


def test_an_artifact_without_a_score_says_nothing_of_outliers() -> None:
    usual = REFERENCE.model_copy(update={"out_of_distribution": None})
    registry, drift = CollectorRegistry(), Drift(("a", "b"), usual, 300)
    registry.register(Window(drift))
    observe(drift, observations(300, lambda _: {"in_distribution": UNKNOWN}))

    assert "out_of_distribution" not in generate_latest(registry).decode()


def test_prometheus_sees_gauges_and_indices() -> None:
    registry, drift = CollectorRegistry(), Drift(("a", "b"), REFERENCE, 300)
    registry.register(Window(drift))
    observe(drift, observations(300))

    text = generate_latest(registry).decode()

    for line in (
        "resnet_window_side_pixels 28.0",
        "resnet_window_out_of_distribution_ratio 0.05",
        'resnet_drift_psi{quantity="labels"} 0.0',
    ):
        assert line in text
