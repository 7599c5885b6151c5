"""The service on Ray Serve: `serve run deploy.ray.app:build`, `serve deploy deploy/ray/serve.yaml`.

Each replica makes the same FastAPI application as `serve-model`, from the same settings, when it
starts: nothing of it is pickled. docs/ray.md says what is equal, and what it costs.
"""

import asyncio
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import BackpressureConfig

from deploy.ray.metrics import Mirror
from deploy.ray.replica import ReplicaLife, read_replica_settings
from deploy.ray.scaling import IMAGES_IN_FLIGHT


class Replica:
    """One replica; Ray calls its methods on the event loop.

    Args:
        settings: Settings of the service by name; the rest is read from the environment.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        cores = ray.get_runtime_context().get_assigned_resources().get("CPU")
        self._settings = read_replica_settings(settings, cores)
        self._life: ReplicaLife
        self._mirror: Mirror

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Load the models and make the application; Ray starts it afterwards."""
        life = await asyncio.to_thread(ReplicaLife, self._settings, lambda _: self._mirror.update())
        self._life, self._mirror = life, Mirror(life.service.telemetry)
        return life.app

    async def check_health(self) -> None:
        """Tell Ray that this replica works.

        Raises:
            EngineStalledError: If it does not; Ray replaces it after three times.
        """
        self._life.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Report the images in flight, for `deploy.ray.scaling`."""
        return {IMAGES_IN_FLIGHT: float(self._life.images_in_flight)}


DEPLOYMENT = serve.deployment(
    name="resnet",
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=512,
    max_queued_requests=256,
    backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
    health_check_period_s=5,
    health_check_timeout_s=30,
    graceful_shutdown_timeout_s=45,
    max_surge_percent=100,
)(serve.ingress()(Replica))
"""With the options of serve.yaml, which says why; `serve run` has no file."""


def build(args: dict[str, Any]) -> serve.Application:
    """Bind the settings: `args` of the configuration file, or name=value of `serve run`.

    Raises:
        StartError: If one is unknown, not allowed, or has no effect in a replica.
    """
    read_replica_settings(args)
    return DEPLOYMENT.bind(args)
