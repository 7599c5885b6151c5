"""From the cost of a replica's batches to a plan: how many replicas, and what to set where.

Arithmetic and simulation: it neither measures nor prints.
"""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.functional_serializers import PlainSerializer

from service.capacity.cost import Cost
from service.capacity.measurement import Measured
from service.capacity.simulation import Replica, Simulated, simulate

HEADROOM = 0.7
"""Of the images in flight at which the percentile is just met, what an autoscaler aims at: a new
replica takes a while to come, and one may fail."""
BATCHES_IN_TIME = 2
"""A batch is no longer than a request can wait for: the batch that runs, and then its own."""
PATIENCE = 2
"""A request is refused if it would take more than so many times the wanted percentile."""
STEP = 0.02
"""Rates are found to this share."""
HOUR_S = 3600

Figure = Annotated[float, PlainSerializer(lambda value: float(f"{value:.4g}"))]
"""Written with four digits; no measurement here has more."""


class CapacityError(Exception):
    """The goal cannot be met; the message is one line with the way out."""


class Goal(NamedTuple):
    """What is asked for.

    Attributes:
        rate: Requests a second of one image, for all replicas.
        p99_s: 99 of 100 requests are answered within it.
        cores: Of a replica.
        price: Of a replica an hour; None: nobody asks.
    """

    rate: float
    p99_s: float
    cores: int = 1
    price: float | None = None


class Part(BaseModel):
    """A part of the plan, as `--json` writes it."""

    model_config = ConfigDict(frozen=True)


class Range(Part):
    """A figure, and what it would be for the cheapest and the dearest cost within error bars."""

    value: Figure
    low: Figure
    high: Figure

    @classmethod
    def of(cls, figure: Callable[[Cost], float], costs: tuple[Cost, Cost, Cost]) -> Self:
        """Work a figure out for the fitted cost, and for the two at the ends of its error bars."""
        found = [figure(cost) for cost in costs]
        return cls(value=found[0], low=min(found), high=max(found))


class Load(Part):
    """What a replica does at a rate, as simulated."""

    rate_per_s: Figure
    mean_ms: Figure
    p99_ms: Figure
    batch_size: Figure = Field(description="Mean.")
    in_flight: Figure = Field(description="Mean number of images that are not yet answered.")
    busy: Figure = Field(description="Share of the time; it says little about what is left.")
    refused: Figure = Field(description="Share of the requests.")


class Plan(Part):
    """How many replicas a rate needs, and their settings."""

    capacity_per_s: Range = Field(description="Of a replica, in full batches.")
    limit_per_s: Range = Field(description="Of a replica: the rate at which the p99 is just met.")
    planned: Load = Field(description="A replica at the rate that it is planned for.")
    replicas: Range = Field(description="For the rate, with the reserve of the autoscaler's aim.")
    min_replicas: int = Field(description="Without any reserve.")
    max_batch_size: int
    max_in_flight: int
    deadline_s: Figure
    target_in_flight: Figure = Field(description="Of a replica, for an autoscaler.")
    target_rate_per_s: Figure = Field(description="The same, in images a second.")
    cost_per_million: Range | None = Field(description="In the price's currency; None: no price.")


def make_plan(measured: Measured, goal: Goal) -> Plan:
    """Plan replicas of one kind behind a balancer that deals requests out in turn.

    Raises:
        CapacityError: If one image takes longer than the goal allows.
    """
    fit, rest_s = measured.fit, measured.round_trip_s
    costs = fit.cost, fit.low, fit.high
    within_s = goal.p99_s - rest_s
    _check(measured, goal)
    size = _batch_size(fit.cost, measured.max_batch_size, within_s)

    def replica(cost: Cost) -> Replica:
        return Replica(cost, size, measured.runners, idle_s=measured.idle_s, stalls=measured.stalls)

    def limit(cost: Cost) -> float:
        return highest_rate(replica(cost), lambda found: found.percentile_s(99) <= within_s)

    def planned(cost: Cost) -> float:
        return highest_rate(replica(cost), lambda found: found.in_flight <= target)

    limits = Range.of(limit, costs)
    target = HEADROOM * simulate(replica(fit.cost), limits.value).in_flight
    rates = Range.of(planned, costs)
    replicas = Range(
        value=math.ceil(goal.rate / rates.value),
        low=math.ceil(goal.rate / rates.high),
        high=math.ceil(goal.rate / rates.low),
    )
    deadline_s = PATIENCE * goal.p99_s
    max_in_flight = _in_flight(replica(fit.cost), deadline_s)
    limited = replica(fit.cost)._replace(max_in_flight=max_in_flight, deadline_s=deadline_s)
    return Plan(
        capacity_per_s=Range.of(lambda cost: replica(cost).capacity, costs),
        limit_per_s=limits,
        planned=_load(rates.value, simulate(limited, rates.value), rest_s),
        replicas=replicas,
        min_replicas=math.ceil(goal.rate / limits.value),
        max_batch_size=size,
        max_in_flight=max_in_flight,
        deadline_s=deadline_s,
        target_in_flight=target,
        target_rate_per_s=rates.value,
        cost_per_million=_per_million(replicas, goal),
    )


def highest_rate(replica: Replica, is_met: Callable[[Simulated], bool]) -> float:
    """Find the highest rate at which a condition on the simulated replica is met.

    Where even the smallest share of the capacity does not meet it, that share is returned.
    """
    low, high = STEP**2 * replica.capacity, replica.capacity
    while high - low > STEP * high:
        middle = (low + high) / 2
        if is_met(simulate(replica, middle)):
            low = middle
        else:
            high = middle
    return low


def _check(measured: Measured, goal: Goal) -> None:
    """Refuse a goal that even a lone request would miss, or that is too close to tell."""
    usual_s, most_s = (
        cost.seconds(1) + measured.idle_s + measured.round_trip_s
        for cost in (measured.fit.cost, measured.fit.high)
    )
    most_s += measured.stall_p99_s
    if most_s > goal.p99_s:
        raise CapacityError(
            f"A request takes {1000 * usual_s:.3g} ms with nothing else to do (1 of 100 up to "
            f"{1000 * most_s:.3g} ms, error bars included), so no number of replicas can answer "
            f"99 of 100 within {1000 * goal.p99_s:g} ms. Allow more time, give a replica more "
            "--cores, or use a smaller network."
        )


def _batch_size(cost: Cost, limit: int, within_s: float) -> int:
    """Give the largest batch of which one can run and another be waited for."""
    sizes = range(limit, 1, -1)
    return next((n for n in sizes if BATCHES_IN_TIME * cost.seconds(n) <= within_s), 1)


def _in_flight(replica: Replica, deadline_s: float) -> int:
    """Admit what is answered within the deadline even if all that is in flight runs before it."""
    batches = int(deadline_s / replica.cost.seconds(replica.max_batch_size))
    return replica.runners * replica.max_batch_size * max(BATCHES_IN_TIME, batches)


def _load(rate: float, found: Simulated, rest_s: float) -> Load:
    return Load(
        rate_per_s=rate,
        mean_ms=1000 * (found.mean_s + rest_s),
        p99_ms=1000 * (found.percentile_s(99) + rest_s),
        batch_size=found.batch_size,
        in_flight=found.in_flight,
        busy=found.busy,
        refused=found.refused,
    )


def _per_million(replicas: Range, goal: Goal) -> Range | None:
    """Price a million images at the rate; replicas that wait cost the same."""
    if goal.price is None:
        return None
    each = 1_000_000 * goal.price / HOUR_S / goal.rate
    return Range(value=each * replicas.value, low=each * replicas.low, high=each * replicas.high)
