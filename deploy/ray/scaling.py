"""How many replicas Ray Serve should run, by the images in flight.

Utilisation is no signal here: a replica takes as a batch whatever waits, so that it is busy long
before it is full. Ray counts requests, of which one may hold 64 images. This module is loaded by
Ray's controller, which needs nothing else of this repository.
"""

from collections.abc import Mapping
from typing import Any, Protocol

IMAGES_IN_FLIGHT = "images_in_flight"
"""The figure that each replica reports (`record_autoscaling_stats`)."""


class Config(Protocol):
    """What is read of Ray's `AutoscalingConfig`."""

    target_ongoing_requests: float


class Context(Protocol):
    """What is read of Ray's `AutoscalingContext`."""

    config: Config
    target_num_replicas: int
    total_queued_requests: float | None
    aggregated_metrics: Mapping[str, Mapping[Any, float]] | None


def by_images_in_flight(context: Context) -> tuple[float, dict[str, Any]]:
    """Return the number of replicas at which each has `target_ongoing_requests` images in flight.

    Requests that wait in Ray's proxies count as one image each. Ray then applies its bounds, delays
    and factors.
    """
    reported = (context.aggregated_metrics or {}).get(IMAGES_IN_FLIGHT)
    if not reported:  # no replica has reported yet
        return context.target_num_replicas, {}
    images = sum(reported.values()) + (context.total_queued_requests or 0)
    return images / context.config.target_ongoing_requests, {}
