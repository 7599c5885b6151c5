"""The plan with what it rests on: as JSON, and as a table for people."""

from collections.abc import Iterator
from typing import Self

from pydantic import Field

from model.artifact.manifest import Manifest
from service.capacity.cost import Fit
from service.capacity.measurement import Measured
from service.capacity.plan import Figure, Goal, Part, Plan, Range

BUSY_MACHINE = 0.9
"""A service that got less of its cores when it was asked for all that it can was not alone."""
POOR_FIT = 0.1


class BatchCost(Part):
    """Milliseconds of a batch: a part for each batch and a part for each image."""

    fixed_ms: Range
    image_ms: Range
    residual: Figure = Field(description="Root mean square, as a share.")

    @classmethod
    def of(cls, fit: Fit) -> Self:
        """Write a fit in milliseconds."""
        costs = fit.cost, fit.low, fit.high
        return cls(
            fixed_ms=Range.of(lambda cost: 1000 * cost.fixed_s, costs),
            image_ms=Range.of(lambda cost: 1000 * cost.image_s, costs),
            residual=fit.residual,
        )


class Report(Part):
    """What was asked, what was measured, and the plan."""

    model: str = Field(description="Name and version.")
    precision: str
    provider: str
    cores: int = Field(description="Of a replica.")
    rate_per_s: Figure
    p99_ms: Figure
    batch: BatchCost = Field(description="All that the service does, by its processor time.")
    engine: BatchCost = Field(description="The engine alone, as measured at the start.")
    exported_per_s: Figure | None = Field(
        description="Images a second of the engine where the model was exported; None: unknown."
    )
    round_trip_ms: Figure = Field(description="Of a lone request, beyond its batch.")
    idle_ms: Figure = Field(description="What a batch costs more that finds the engine idle.")
    stall_p99_ms: Figure = Field(
        description="How much longer than the median 1 of 100 lone requests took."
    )
    core_share: Figure = Field(description="Of its cores, what the service got when at its limit.")
    plan: Plan
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, measured: Measured, manifest: Manifest, goal: Goal, plan: Plan) -> Self:
        """Put it together."""
        model = measured.model
        files = {str(name): file for name, file in manifest.files.items()}
        speed = files[model["precision"]].speed
        return cls(
            model=f"{model['name']}/{model['version']}",
            precision=model["precision"],
            provider=model["provider"],
            cores=goal.cores,
            rate_per_s=goal.rate,
            p99_ms=1000 * goal.p99_s,
            batch=BatchCost.of(measured.fit),
            engine=BatchCost.of(measured.engine),
            exported_per_s=None if speed is None else speed.images_per_second,
            round_trip_ms=1000 * measured.round_trip_s,
            idle_ms=1000 * measured.idle_s,
            stall_p99_ms=1000 * measured.stall_p99_s,
            core_share=measured.core_share,
            plan=plan,
            warnings=tuple(_warnings(measured)),
        )


def _warnings(measured: Measured) -> Iterator[str]:
    """Say what makes the plan less sure."""
    if measured.core_share < BUSY_MACHINE:
        yield (
            f"The service got {measured.core_share:.0%} of its cores, because other "
            "programs ran on this machine. Processor time is still right, except for "
            "shared caches."
        )
    if measured.fit.residual > POOR_FIT:
        yield (
            f"The fit differs from the measurements by {measured.fit.residual:.0%}: "
            "measure again on an idle machine."
        )


def as_text(report: Report) -> str:
    """Write the plan for people: what was measured, the plan, and what to set where."""
    return "\n".join(f"{name:<12}{text}" for name, text in _lines(report))


def _lines(report: Report) -> Iterator[tuple[str, str]]:
    plan, load = report.plan, report.plan.planned
    of_cores = f"{report.cores} core{'s' if report.cores > 1 else ''}"
    yield (
        "model",
        f"{report.model} in {report.precision} on {report.provider}, {of_cores} a replica",
    )
    yield (
        "a batch",
        f"{_range(report.batch.fixed_ms)} ms + {_range(report.batch.image_ms)} ms an image; "
        f"the fit misses by {report.batch.residual:.1%}",
    )
    engine = report.engine.fixed_ms.value, report.engine.image_ms.value
    exported = (
        f"; {report.exported_per_s:,.0f} images/s where it was exported"
        if report.exported_per_s
        else ""
    )
    yield (
        "",
        f"of which the engine {engine[0]:.3g} ms + {engine[1]:.3g} ms{exported}; the rest is HTTP, "
        "decoding and Python",
    )
    yield (
        "",
        f"after a pause {report.idle_ms:.3g} ms more; 1 of 100 lone requests takes "
        f"{report.stall_p99_ms:.3g} ms longer than usual",
    )
    yield (
        "a replica",
        f"{_range(plan.limit_per_s)} images/s with 99 of 100 within {report.p99_ms:g} ms; "
        f"{_range(plan.capacity_per_s)} in full batches",
    )
    yield (
        "planned for",
        f"{load.rate_per_s:,.0f} images/s: p99 {load.p99_ms:.3g} ms, mean {load.mean_ms:.3g} ms, "
        f"{load.in_flight:.3g} in flight, batches of {load.batch_size:.3g}, busy {load.busy:.0%}, "
        f"refused {load.refused:.2%}",
    )
    yield (
        "replicas",
        f"{_range(plan.replicas)} for {report.rate_per_s:,.0f} images/s; "
        f"{plan.min_replicas} without any reserve",
    )
    yield (
        "settings",
        f"RESNET_MAX_BATCH_SIZE={plan.max_batch_size} RESNET_MAX_IN_FLIGHT={plan.max_in_flight} "
        f"RESNET_DEADLINE_S={plan.deadline_s:g}",
    )
    yield (
        "autoscaler",
        f"{plan.target_rate_per_s:,.0f} images/s of a replica, or {plan.target_in_flight:.3g} in "
        "flight: averageValue of an HPA, threshold of KEDA, target_ongoing_requests of Ray",
    )
    yield "Ray", f"max_ongoing_requests: {plan.max_in_flight}"
    yield "HAProxy", f"maxconn {plan.max_in_flight} of each server"
    if plan.cost_per_million is not None:
        yield "cost", f"{_range(plan.cost_per_million)} for a million images"
    for warning in report.warnings:
        yield "warning", warning


def _range(figure: Range) -> str:
    return f"{figure.value:,.4g} ({figure.low:,.4g} to {figure.high:,.4g})"
