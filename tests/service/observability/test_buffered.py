"""Metrics that count many values at once, beside prometheus-client's own."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service.observability import buffered
from service.observability.buffered import BufferedCounter, BufferedHistogram

BOUNDS = (0.5, 1.0, 2.0)


def test_a_histogram_reads_as_if_each_value_had_been_observed() -> None:
    values = [0.5, 1, 1.5, 2, 2.5, 1e9, 0, *np.random.default_rng(0).uniform(0, 3, 50).tolist()]
    own, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = BufferedHistogram("x", "y", ("z",), buckets=BOUNDS, registry=own).labels("a")
    expected = Histogram("x", "y", ("z",), buckets=BOUNDS, registry=theirs).labels("a")

    for value in values:
        histogram.values.append(value)
        expected.observe(value)

    labels = {"z": "a", "le": "1.0"}
    assert own.get_sample_value("x_bucket", labels) == theirs.get_sample_value("x_bucket", labels)
    lines = [set(generate_latest(each).decode().splitlines()) for each in (own, theirs)]
    assert all(line.startswith(("x_sum", "x_created")) for line in lines[0] ^ lines[1])
    assert own.get_sample_value("x_sum", {"z": "a"}) == pytest.approx(sum(values))


def test_a_counter_counts_what_is_added_once() -> None:
    registry = CollectorRegistry()
    counter = BufferedCounter("x", "y", registry=registry)
    counter.more += 2
    counter.more += 3

    counter.flush()

    assert [registry.get_sample_value("x_total") for _ in range(2)] == [5, 5]


def test_a_client_library_that_lacks_what_is_used_stops_the_start() -> None:
    class Other:
        pass

    buffered.check_hooks()
    with pytest.raises(RuntimeError, match=r"lacks Other\._metric_init, Other\._child_samples"):
        buffered.check_hooks((Counter, Other))
