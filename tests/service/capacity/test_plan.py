"""Plans, against arithmetic by hand and the simulated queue that they must hold in."""

import json
import math
from functools import partial
from pathlib import Path

import pytest

from model.artifact.folder import read_manifest
from service.capacity import plan as planning
from service.capacity.cost import Cost, Fit
from service.capacity.measurement import Measured
from service.capacity.plan import CapacityError, Goal, Plan, make_plan
from service.capacity.report import Report, as_text
from service.capacity.simulation import Replica, simulate

SHIPPED = Path(__file__).parents[3] / "artifacts/fashion-mnist/1"
GOAL = Goal(rate=20_000, p99_s=0.040, price=0.36)


def measured(fixed_s: float = 5e-3, image_s: float = 1e-3, spread: float = 0.02) -> Measured:
    cost = Cost(fixed_s, image_s)
    low, high = (Cost(*(part * (1 + side) for part in cost)) for side in (-spread, spread))
    fit = Fit(cost, low, high, residual=spread)
    model = {"name": "shoes", "version": "3", "precision": "int8", "provider": "cpu"}
    return Measured(fit, fit, 1, 32, round_trip_s=0.0, core_share=1.0, model=model)


@pytest.fixture(scope="module", name="plan")
def _plan() -> Plan:
    return make_plan(measured(), GOAL)


def test_a_gpu_like_replica_is_planned_as_others_have_simulated_it(plan: Plan) -> None:
    # 1 ms an image and 5 ms a batch: 610 images/s for 40 ms, batches of 7.8, 13 in flight
    assert plan.limit_per_s.value == pytest.approx(610, rel=0.04)
    assert plan.target_in_flight == pytest.approx(0.7 * 13, rel=0.08)


def test_the_planned_rate_keeps_the_goal_with_its_limits(plan: Plan) -> None:
    limits = plan.max_batch_size, 1, plan.max_in_flight, plan.deadline_s
    found = simulate(Replica(Cost(5e-3, 1e-3), *limits), plan.target_rate_per_s, seed=7)

    assert found.percentile_s(99) < GOAL.p99_s
    assert found.refused == 0
    assert plan.max_batch_size == 15  # two batches of 15 are 40 ms
    assert plan.max_in_flight == 15 * 4  # in 80 ms four of them run
    assert plan.planned.p99_ms == pytest.approx(1000 * found.percentile_s(99), rel=0.1)


def test_replicas_and_price_follow_from_the_rate_of_one(plan: Plan) -> None:
    assert plan.replicas.value == math.ceil(20_000 / plan.target_rate_per_s)
    assert plan.replicas.low < plan.replicas.value < plan.replicas.high
    assert plan.min_replicas == math.ceil(20_000 / plan.limit_per_s.value)
    assert plan.cost_per_million is not None
    # 0.36 an hour are 0.0001 a second, and a million images take 50 s
    assert plan.cost_per_million.value == pytest.approx(0.005 * plan.replicas.value)


def test_a_goal_under_the_time_of_one_image_is_refused_in_one_line() -> None:
    with pytest.raises(CapacityError, match=r"takes 6 ms .* within 5 ms\. Allow more") as refusal:
        make_plan(measured(), GOAL._replace(p99_s=0.005))

    assert "\n" not in str(refusal.value)


def test_a_goal_within_the_error_bars_of_one_image_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"up to 6\.6 ms"):
        make_plan(measured(spread=0.1), GOAL._replace(p99_s=0.0065))


def test_a_goal_that_one_lone_request_in_25_misses_is_refused() -> None:
    now_and_then = measured()._replace(stalls=2 * (0.01,) + 48 * (0.0,))

    with pytest.raises(CapacityError, match=r"1 of 100 up to 16\.1 ms"):
        make_plan(now_and_then, GOAL._replace(p99_s=0.012))


def test_stalls_and_cold_caches_ask_for_more_replicas(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "simulate", partial(simulate, requests=2_000))
    slower = measured()._replace(idle_s=2e-3, stalls=(0.02,) + 99 * (0.0,))

    assert make_plan(slower, GOAL).replicas.value > 1.1 * plan.replicas.value


def test_a_report_is_json_with_every_part_and_text_with_every_setting(plan: Plan) -> None:
    report = Report.of(measured(), read_manifest(SHIPPED), GOAL, plan)

    written = json.loads(report.model_dump_json())
    assert written["plan"]["replicas"]["value"] == plan.replicas.value
    assert written["batch"]["fixed_ms"] == {"value": 5.0, "low": 4.9, "high": 5.1}
    assert written["exported_per_s"] > 0
    text = as_text(report)
    for setting in ("RESNET_MAX_BATCH_SIZE=15", "max_ongoing_requests: 60", "maxconn 60"):
        assert setting in text


def test_a_busy_machine_and_a_poor_fit_are_told(plan: Plan) -> None:
    one = measured(spread=0.2)._replace(core_share=0.4)

    report = Report.of(one, read_manifest(SHIPPED), GOAL, plan)

    assert "got 40% of its cores" in report.warnings[0]
    assert "differs from the measurements by 20%" in report.warnings[1]
