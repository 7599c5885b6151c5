"""The simulated queue, against what queueing theory knows of it, and against a plain one."""

import heapq

import numpy as np
import pytest

from service.capacity.cost import Cost
from service.capacity.simulation import Replica, simulate

NO_LIMIT = 10**6


def inoue_bound(fixed: float, image: float, rate: float) -> float:
    """Upper bound of the mean latency where a batch has no limit (arXiv 1912.06322)."""
    busy = rate * image
    first = (image + fixed) / (2 * (1 - busy))
    first *= 1 + 2 * rate * fixed + (1 - rate * fixed) / (1 + busy)
    second = 1.5 * fixed / (1 - busy) + image / 2 * (busy + 2) / (1 - busy**2)
    return min(first, second)


@pytest.mark.parametrize("busy", [0.3, 0.8])
def test_single_images_wait_as_in_an_m_d_1_queue(busy: float) -> None:
    found = simulate(Replica(Cost(0, 1), 1), busy, requests=40_000)

    assert found.mean_s == pytest.approx(1 + busy / (2 * (1 - busy)), rel=0.04)
    assert found.busy == pytest.approx(busy, rel=0.02)


def test_stalls_make_images_wait_as_pollaczek_and_khinchine_say() -> None:
    rate, often, long = 0.4, 0.1, 5.0
    stalls = (long,) + (0.0,) * round(1 / often - 1)

    found = simulate(Replica(Cost(0, 1), 1, stalls=stalls), rate, requests=100_000)

    mean, square = 1 + often * long, (1 - often) + often * (1 + long) ** 2
    waited = rate * square / 2 / (1 - rate * mean)
    assert found.mean_s == pytest.approx(mean + waited, rel=0.05)
    assert found.busy == pytest.approx(rate * mean, rel=0.02)


def test_a_long_batch_has_as_many_stalls_as_it_takes_longer() -> None:
    busy = Replica(Cost(0, 1), 4, stalls=(0.5,))

    found = simulate(busy, 1_000 * busy.capacity, requests=4_000)

    assert busy.capacity == pytest.approx(1 / 1.5)
    assert found.latencies.max() == pytest.approx(4_000 * 1.5, rel=0.01)


@pytest.mark.parametrize("fixed", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("busy", [0.2, 0.8])
def test_batches_take_as_long_as_inoues_closed_form(fixed: float, busy: float) -> None:
    found = simulate(Replica(Cost(fixed, 1), NO_LIMIT), busy)

    bound = inoue_bound(fixed, 1, busy)
    assert 0.92 * bound < found.mean_s < 1.03 * bound


def test_images_in_flight_are_rate_times_latency() -> None:
    found = simulate(Replica(Cost(1, 1), 8), 0.5)

    assert found.in_flight == pytest.approx(0.5 * found.mean_s, rel=0.03)


@pytest.mark.parametrize(("runners", "refused"), [(1, 0.8 / 1.8), (2, 0.32 / 2.12)])
def test_without_a_queue_erlangs_share_is_refused(runners: int, refused: float) -> None:
    replica = Replica(Cost(0, 1), 1, runners, max_in_flight=runners)

    found = simulate(replica, 0.8)

    assert found.refused == pytest.approx(refused, rel=0.04)
    assert found.latencies.max() == pytest.approx(1)


def test_nothing_is_answered_later_than_the_deadline_and_one_batch() -> None:
    replica = Replica(Cost(1, 1), 4, deadline_s=6)

    found = simulate(replica, 2 * replica.capacity)

    assert found.latencies.max() <= 6 + replica.cost.seconds(4)
    answered = 2 * replica.capacity * (1 - found.refused)
    assert answered == pytest.approx(replica.capacity, rel=0.02)


def test_a_full_queue_answers_within_its_bound() -> None:
    replica = Replica(Cost(1, 1), 4, max_in_flight=12)

    found = simulate(replica, 3 * replica.capacity)

    assert found.latencies.max() <= 12 / 4 * replica.cost.seconds(4) + 1e-9
    assert found.refused == pytest.approx(2 / 3, abs=0.02)


def test_percentiles_are_those_of_a_plain_event_loop() -> None:
    replica, rate, count = Replica(Cost(2, 1), 6), 0.6, 20_000
    arrivals = np.cumsum(np.random.default_rng(3).exponential(1 / rate, count))
    events = [(float(time), 0) for time in arrivals]
    heapq.heapify(events)
    waiting: list[float] = []
    running: list[float] = []
    latencies: list[float] = []
    while events:
        now, is_end = heapq.heappop(events)
        if is_end:
            latencies += [now - arrival for arrival in running]
            running = []
        else:
            waiting.append(now)
        if waiting and not running:
            running, waiting = waiting[:6], waiting[6:]
            heapq.heappush(events, (now + 2 + len(running), 1))

    found = simulate(replica, rate, requests=count)

    assert found.percentile_s(99) == pytest.approx(np.percentile(latencies, 99), rel=0.08)
    assert found.percentile_s(50) == pytest.approx(np.median(latencies), rel=0.03)


def test_the_same_seed_gives_the_same_latencies() -> None:
    replica = Replica(Cost(1, 1), 8)

    first, again, other = (simulate(replica, 0.5, requests=500, seed=s) for s in (1, 1, 2))

    assert np.array_equal(first.latencies, again.latencies)
    assert not np.array_equal(first.latencies, other.latencies)
