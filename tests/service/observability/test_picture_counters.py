"""Counters of the default model's pictures: whose count, under which labels, for how long."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from model.artifact.trust import Histogram, Reference
from service.observability.metrics import PictureCounters
from service.postprocessing.drift import Drift, Seen
from tests.service.conftest import Serve
from tests.service.pictures import WHITE

ANSWERS, STRANGERS = "resnet_answers_total", "resnet_out_of_distribution_total"
HALVES = Histogram(edges=(0.5,), shares=(0.5, 0.5))
SCORED = Reference(
    n=1000,
    labels=(0.5, 0.5),
    confidence=HALVES,
    out_of_distribution=0.05,
    brightness=HALVES,
    side=HALVES,
)
ORDINARY = Seen(label=0, confidence=0.9, in_distribution=True, brightness=0.5, side=28)
STRANGE = Seen(label=1, confidence=0.9, in_distribution=False, brightness=0.5, side=28)


class Service:
    """Models as far as their pictures are counted; `default` may be replaced."""

    def __init__(self, default: Drift) -> None:
        self.default = default
        self.registry = CollectorRegistry()
        self.counters = PictureCounters(lambda: self.default, self.registry)

    def observe(self, drift: Drift, *pictures: Seen) -> None:
        drift.on_picture = self.counters.count
        drift.observe(pictures)

    def count(self, label: str) -> float | None:
        return self.registry.get_sample_value(ANSWERS, {"label": label})

    def strangers(self) -> float | None:
        return self.registry.get_sample_value(STRANGERS)


def test_pictures_are_counted_beyond_the_window() -> None:
    drift = Drift(("a", "b"), SCORED, window=3)
    service = Service(drift)

    service.observe(drift, *[ORDINARY] * 7, *[STRANGE] * 5)

    assert (service.count("a"), service.count("b"), service.strangers()) == (7, 5, 5)


def test_labels_and_help_are_there_before_the_first_picture() -> None:
    text = generate_latest(Service(Drift(("a", "b"), SCORED, 3)).registry).decode()

    for line in (
        "# HELP resnet_answers_total Pictures by top label.",
        'resnet_answers_total{label="a"} 0.0',
        'resnet_answers_total{label="b"} 0.0',
        "# HELP resnet_out_of_distribution_total Pictures whose score is under the threshold.",
        "resnet_out_of_distribution_total 0.0",
    ):
        assert line in text.splitlines()


def test_pictures_of_other_models_are_not_counted() -> None:
    service = Service(Drift(("a", "b"), SCORED, 3))

    service.observe(Drift(("a", "c"), SCORED, 3), STRANGE, ORDINARY)

    assert (service.count("a"), service.count("c"), service.strangers()) == (0, None, 0)


def test_without_a_score_there_is_no_counter_of_strange_pictures() -> None:
    drift = Drift(("a", "b"), None, 3)
    service = Service(drift)

    service.observe(drift, STRANGE)

    assert (service.count("b"), service.strangers()) == (1, None)


def test_the_next_default_models_labels_come_and_the_old_counts_stay() -> None:
    old, new = Drift(("a", "b"), SCORED, 3), Drift(("b", "c", "d"), SCORED, 3)
    service = Service(old)
    service.observe(old, ORDINARY, STRANGE)

    service.default = new
    service.observe(new, ORDINARY, STRANGE)
    service.observe(old, ORDINARY)  # a request that began before

    assert [service.count(label) for label in "abcd"] == [1, 2, 1, 0]
    assert service.strangers() == 2


def test_a_score_may_come_and_go_with_the_default_model() -> None:
    scored, blind = Drift(("a", "b"), SCORED, 3), Drift(("a", "b"), None, 3)
    service = Service(blind)

    for service.default in (scored, blind, scored):
        service.observe(service.default, STRANGE)

    assert (service.count("b"), service.strangers()) == (3, 2)


@pytest.mark.anyio
async def test_the_service_counts_the_pictures_that_it_answers(serve: Serve) -> None:
    service = await serve()

    for _ in range(3):
        await service.client.post("/predict", content=WHITE)

    text = (await service.client.get("/metrics")).text
    assert 'resnet_answers_total{label="bright"} 3.0' in text
    assert 'resnet_answers_total{label="dark"} 0.0' in text
