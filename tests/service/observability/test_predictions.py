"""Counters of the default model's images: which count, under which labels, for how long."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from model.artifact.trust import Histogram, Reference
from service.observability.predictions import PredictionCounters
from service.postprocessing.drift import Drift, Observation
from tests.service.conftest import Serve
from tests.service.images import WHITE

PREDICTIONS, OUTSIDE = "resnet_predictions_total", "resnet_out_of_distribution_total"
HALVES = Histogram(edges=(0.5,), shares=(0.5, 0.5))
SCORED = Reference(
    n=1000,
    labels=(0.5, 0.5),
    confidence=HALVES,
    out_of_distribution=0.05,
    brightness=HALVES,
    side=HALVES,
)
INSIDE_IMAGE = Observation(label=0, confidence=0.9, in_distribution=True, brightness=0.5, side=28)
OUTSIDE_IMAGE = Observation(label=1, confidence=0.9, in_distribution=False, brightness=0.5, side=28)


class Service:
    """ModelRegistry as far as their images are counted; the default model may be replaced."""

    def __init__(self, default: Drift) -> None:
        self.registry = CollectorRegistry()
        self.counters = PredictionCounters(self.registry)
        self.counters.refresh(default)

    def observe(self, drift: Drift, *images: Observation) -> None:
        for image in images:
            self.counters.count(drift, image)

    def count(self, label: str) -> float | None:
        return self.registry.get_sample_value(PREDICTIONS, {"label": label})

    def outside(self) -> float | None:
        return self.registry.get_sample_value(OUTSIDE)


def test_images_are_counted_beyond_the_window() -> None:
    drift = Drift(("a", "b"), SCORED, window=3)
    service = Service(drift)

    service.observe(drift, *[INSIDE_IMAGE] * 7, *[OUTSIDE_IMAGE] * 5)

    assert (service.count("a"), service.count("b"), service.outside()) == (7, 5, 5)


def test_labels_and_help_are_there_before_the_first_image() -> None:
    text = generate_latest(Service(Drift(("a", "b"), SCORED, 3)).registry).decode()

    for line in (
        "# HELP resnet_predictions_total Images by top label.",
        'resnet_predictions_total{label="a"} 0.0',
        'resnet_predictions_total{label="b"} 0.0',
        "# HELP resnet_out_of_distribution_total Images whose score is under the threshold.",
        "resnet_out_of_distribution_total 0.0",
    ):
        assert line in text.splitlines()


def test_images_of_other_models_are_not_counted() -> None:
    service = Service(Drift(("a", "b"), SCORED, 3))

    service.observe(Drift(("a", "c"), SCORED, 3), OUTSIDE_IMAGE, INSIDE_IMAGE)

    assert (service.count("a"), service.count("c"), service.outside()) == (0, None, 0)


def test_without_a_score_there_is_no_counter_of_outliers() -> None:
    drift = Drift(("a", "b"), None, 3)
    service = Service(drift)

    service.observe(drift, OUTSIDE_IMAGE)

    assert (service.count("b"), service.outside()) == (1, None)


def test_the_next_default_models_labels_come_and_the_old_counts_stay() -> None:
    old, new = Drift(("a", "b"), SCORED, 3), Drift(("b", "c", "d"), SCORED, 3)
    service = Service(old)
    service.observe(old, INSIDE_IMAGE, OUTSIDE_IMAGE)

    service.counters.refresh(new)
    service.observe(new, INSIDE_IMAGE, OUTSIDE_IMAGE)
    service.observe(old, INSIDE_IMAGE)  # a request that began before

    assert [service.count(label) for label in "abcd"] == [1, 2, 1, 0]
    assert service.outside() == 2


def test_a_score_may_come_and_go_with_the_default_model() -> None:
    scored, blind = Drift(("a", "b"), SCORED, 3), Drift(("a", "b"), None, 3)
    service = Service(blind)

    for default in (scored, blind, scored):
        service.counters.refresh(default)
        service.observe(default, OUTSIDE_IMAGE)

    assert (service.count("b"), service.outside()) == (3, 2)


@pytest.mark.anyio
async def test_the_service_counts_the_images_that_it_answers(serve: Serve) -> None:
    service = await serve()

    for _ in range(3):
        await service.client.post("/predict", content=WHITE)

    text = (await service.client.get("/metrics")).text
    assert 'resnet_predictions_total{label="bright"} 3.0' in text
    assert 'resnet_predictions_total{label="dark"} 0.0' in text
