"""`deploy.ray.check` knows the keys of Ray's own schemas, and the values are valid."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("ray.serve", reason="Ray is in .venv-ray: make test-scale")

from pydantic import BaseModel
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, BackpressureConfig
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    LoggingConfig,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from deploy.ray.check import KNOWN

FILE = Path(__file__).parents[2] / "deploy/ray/serve.yaml"
DEPLOYMENT = "applications.deployments"
SCHEMAS: dict[str, type[BaseModel]] = {
    "": ServeDeploySchema,
    "http_options": HTTPOptionsSchema,
    "logging_config": LoggingConfig,
    "applications": ServeApplicationSchema,
    "applications.logging_config": LoggingConfig,
    DEPLOYMENT: DeploymentSchema,
    f"{DEPLOYMENT}.logging_config": LoggingConfig,
    f"{DEPLOYMENT}.backpressure_config": BackpressureConfig,
    f"{DEPLOYMENT}.ray_actor_options": RayActorOptionsSchema,
    f"{DEPLOYMENT}.autoscaling_config": AutoscalingConfig,
    f"{DEPLOYMENT}.autoscaling_config.policy": AutoscalingPolicy,
}


def test_every_place_of_the_table_is_compared() -> None:
    assert KNOWN.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("place", SCHEMAS)
def test_the_known_keys_are_those_of_rays_schema(place: str) -> None:
    assert set(KNOWN[place].split()) == SCHEMAS[place].model_fields.keys()


def test_ray_takes_the_values_of_the_configuration() -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))

    (deployment,) = config.applications[0].deployments
    assert deployment.max_ongoing_requests == 512
