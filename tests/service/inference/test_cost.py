import copy
import time

import numpy as np
import pytest

from model.preprocessing import Pixels
from service.inference import cost as cost_module
from service.inference.cost import OUTLIER, RUNS, SLOW_S, TRUST_S, CostModel, batch_sizes, measure


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (3, (1, 2, 3)),
        (32, (1, 2, 4, 8, 16, 32)),
        (33, (1, 2, 4, 8, 16, 32, 33)),
        (63, (1, 2, 4, 8, 16, 32, 63)),
    ],
)
def test_batch_sizes_are_powers_of_two_and_the_limit(limit: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(limit) == sizes


def test_each_size_is_warmed_up_and_then_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_module, "SLOW_S", 0.25)  # this machine may be busy
    seen: list[int] = []
    example = np.full((2, 2, 1), 7, np.uint8)

    def run(images: Pixels) -> None:
        assert (images == 7).all()
        is_first = len(images) not in seen
        seen.append(len(images))
        time.sleep(0.05 if is_first else 0.002)  # the first run is not counted

    seconds = measure(run, example, (1, 4))

    assert seen == [1] * (1 + RUNS) + [4] * (1 + RUNS)
    assert [*seconds] == [1, 4]
    assert all(0.002 <= took < 0.04 for took in seconds.values())


def test_a_slow_size_is_measured_once() -> None:
    seen: list[int] = []

    def run(images: Pixels) -> None:
        seen.append(len(images))
        time.sleep(SLOW_S + 0.01)

    measure(run, np.zeros((1, 1, 1), np.uint8), (1,))

    assert len(seen) == 2


@pytest.mark.parametrize("slow", range(4))
def test_one_slow_run_at_the_start_spoils_nothing(
    slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_module, "SLOW_S", 0.1)  # this machine may be busy
    calls = iter(range(99))

    def run(_: Pixels) -> None:
        time.sleep(0.11 if next(calls) == slow else 0.001)

    seconds = measure(run, np.zeros((1, 1, 1), np.uint8), (1,))

    assert seconds[1] < 0.05


@pytest.mark.parametrize("size", [1, 4, 16])
def test_one_size_measured_at_a_bad_moment_is_outvoted(size: int) -> None:
    cost = CostModel({1: 0.01, 4: 0.02, 16: 0.06, size: 100.0})

    assert cost.estimate_wait_s(16) < 0.2
    assert cost.estimate_wait_s(16, is_idle=True) < 0.2


def test_the_rate_begins_as_the_cheapest_batch_was_measured() -> None:
    cost = CostModel({1: 0.01, 4: 0.02}, instances=2)

    assert cost.per_image_s == pytest.approx(0.0025)
    assert cost.estimate_wait_s(8) == pytest.approx(0.02)


@pytest.mark.parametrize(("seconds", "size"), [(0.1, 4), (0.02, 4), (0.019, 2), (0.005, 0)])
def test_the_longest_batch_within_a_time_is_one_that_was_measured(
    seconds: float, size: int
) -> None:
    assert CostModel({1: 0.006, 2: 0.01, 4: 0.02}).largest_batch_within(seconds) == size


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ({1: 0.1, 2: 0.2, 4: 0.4}, 1),  # no cheaper: no image shall wait for the others
        ({1: 0.043, 2: 0.0834, 4: 0.1672}, 1),  # a ResNet-50: 3 % cheaper are not worth it
        ({1: 0.1, 2: 0.15, 4: 0.295}, 2),
        ({1: 0.1, 2: 0.11, 4: 0.12}, 9),  # cheaper all the way: as many as are allowed
        ({1: 0.004, 2: 0.008, 4: 0.016}, 9),  # no cheaper, but soon done
        ({1: 0.008, 2: 0.016, 4: 0.032}, 2),
    ],
)
def test_a_batch_is_as_large_as_pays(seconds: dict[int, float], size: int) -> None:
    assert CostModel(seconds).best_batch_size(9) == size


def test_the_rate_is_updated_by_what_runs_take() -> None:
    cost = CostModel({1: 0.01})

    for _ in range(100):
        cost.update(10, 0.5)

    assert cost.per_image_s == pytest.approx(0.05, rel=0.01)
    assert cost.seconds == {1: 0.01}


@pytest.mark.parametrize("is_idle", [True, False])
def test_no_image_is_sooner_than_the_shortest_run(is_idle: bool) -> None:
    cost = CostModel({1: 0.043, 2: 0.0834, 4: 0.1672}, instances=2)  # a ResNet-50

    assert cost.estimate_wait_s(1, is_idle=is_idle) == 0.043
    assert cost.estimate_wait_s(4, is_idle=is_idle) == pytest.approx(0.0834)


def test_a_shortest_run_measured_at_a_bad_moment_heals() -> None:
    cost = CostModel({1: 0.2, 2: 0.3})

    cost.update(1, 0.02)

    assert cost.estimate_wait_s(1) == pytest.approx(0.137)  # from 0.15 a tenth of the way to 0.02
    assert cost.estimate_wait_s(0) == 0.02


def test_one_run_of_a_machine_that_was_suspended_hardly_moves_the_rate() -> None:
    cost = CostModel({1: 0.01})

    cost.update(1, 100)

    assert cost.estimate_wait_s(1) == pytest.approx(0.01 * (1 + 0.1 * (OUTLIER - 1)))


def test_a_rate_that_was_spoilt_heals_with_the_next_runs() -> None:
    cost = CostModel({1: 100.0})

    for _ in range(3):
        cost.update(1, 0.01)

    assert cost.estimate_wait_s(1) <= OUTLIER * 0.01
    assert cost.estimate_wait_s(1, is_idle=True) == 0.01


def test_an_idle_engine_is_judged_by_the_best_that_was_seen() -> None:
    cost = CostModel({1: 0.01}, instances=2)

    for _ in range(50):
        cost.update(1, 1_000)
    cost.update(2, 0.012)
    for _ in range(50):
        cost.update(1, 1_000)

    assert cost.estimate_wait_s(1) > 10
    assert cost.estimate_wait_s(4, is_idle=True) == pytest.approx(0.012)


def test_times_that_no_run_confirmed_for_long_are_not_credible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.perf_counter()
    monkeypatch.setattr("service.inference.cost.time.perf_counter", lambda: now)
    cost = CostModel({1: 0.5})
    at_once = cost.is_credible(10)
    now += TRUST_S + 1
    later = cost.is_credible(10)
    cost.update(1, 0.5)

    assert (at_once, later, cost.is_credible(10)) == (True, False, True)


def test_a_service_that_could_not_answer_one_image_in_time_is_not_credible() -> None:
    cost = CostModel({1: 10.0})

    assert cost.is_credible(10.1)
    assert not cost.is_credible(9.9)


@pytest.mark.parametrize("seconds", [100.0, 0.02])
def test_the_first_decoded_image_counts_a_second_at_most(seconds: float) -> None:
    cost = CostModel({1: 0.001})

    cost.update_decode(seconds, 2)

    assert cost.estimate_wait_s(0, 1) == pytest.approx(1.5 * min(seconds / 2, 1) + 0.001)


def test_one_decoded_image_of_a_suspended_machine_hardly_counts() -> None:
    cost = CostModel({1: 0.001})
    cost.update_decode(0.02, 1)

    cost.update_decode(100, 1)

    assert cost.estimate_wait_s(0, 1) < 0.1


def test_a_model_of_the_same_kind_begins_with_what_is_known_and_goes_its_own_way() -> None:
    cost = CostModel({1: 0.01, 2: 0.02}, 2, 3, inline=True)
    cost.update(1, 0.02)

    other = copy.copy(cost)
    before = other.estimate_wait_s(8)
    cost.update(1, 0.09)

    layout = (other.seconds, other.instances, other.threads, other.inline)
    assert layout == (cost.seconds, 2, 3, True)
    assert other.estimate_wait_s(8) == before < cost.estimate_wait_s(8)
