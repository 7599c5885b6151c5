"""Name what Ray Serve would silently ignore in a configuration file: keys that it does not know.

`python -m deploy.ray.check deploy/ray/serve.yaml`. Ray need not be installed; `make test-scale`
compares the table with Ray's own schemas. What stands in `args` are settings of the service.
"""

import difflib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.ray.replica import read_replica_settings
from service.errors import StartError

_LOGGING = "encoding log_level logs_dir enable_access_log additional_log_standard_attrs"
_APPLICATION, _DEPLOYMENT = "applications", "applications.deployments"
_AUTOSCALING = f"{_DEPLOYMENT}.autoscaling_config"
KNOWN: Mapping[str, str] = {  # where -> the keys that Ray knows there
    "": "proxy_location http_options grpc_options controller_options logging_config tracing_config "
    "applications target_capacity",
    "http_options": "host port root_path request_timeout_s keep_alive_timeout_s ssl_keyfile "
    "ssl_certfile ssl_keyfile_password ssl_ca_certs",
    "logging_config": _LOGGING,
    _APPLICATION: "name route_prefix import_path runtime_env host port deployments "
    "autoscaling_policy args logging_config external_scaler_enabled",
    f"{_APPLICATION}.logging_config": _LOGGING,
    _DEPLOYMENT: "name num_replicas max_ongoing_requests max_queued_requests backpressure_config "
    "user_config autoscaling_config graceful_shutdown_wait_loop_s graceful_shutdown_timeout_s "
    "health_check_period_s health_check_timeout_s ray_actor_options placement_group_bundles "
    "placement_group_strategy placement_group_bundle_label_selector max_replicas_per_node "
    "logging_config request_router_config gang_scheduling_config deployment_actors "
    "rolling_update_percentage max_surge_percent",
    f"{_DEPLOYMENT}.logging_config": _LOGGING,
    f"{_DEPLOYMENT}.backpressure_config": "status_code retry_after_s",
    f"{_DEPLOYMENT}.ray_actor_options": "runtime_env num_cpus num_gpus memory resources "
    "accelerator_type label_selector fallback_strategy",
    _AUTOSCALING: "min_replicas initial_replicas max_replicas target_ongoing_requests "
    "metrics_interval_s look_back_period_s smoothing_factor upscale_smoothing_factor "
    "downscale_smoothing_factor upscaling_factor downscaling_factor downscale_delay_s "
    "downscale_to_zero_delay_s upscale_delay_s aggregation_function policy",
    f"{_AUTOSCALING}.policy": "policy_function policy_kwargs",
}


def faults(config: Mapping[str, Any]) -> Iterator[str]:
    """Name each unknown key, and the first fault of each application's settings, a line each."""
    yield from _unknown("", config)
    for application in config.get("applications", ()):
        try:
            read_replica_settings(application.get("args", {}))
        except StartError as error:
            yield f"applications.args: {error}"


def _unknown(where: str, found: Any) -> Iterator[str]:
    """Walk down as far as Ray's keys are known."""
    if isinstance(found, list):
        for each in found:
            yield from _unknown(where, each)
    elif isinstance(found, Mapping) and where in KNOWN:
        for key, value in found.items():
            path, known = f"{where}.{key}".removeprefix("."), KNOWN[where].split()
            if key in known:
                yield from _unknown(path, value)
            else:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f" Did you mean {close[0]}?" if close else ""
                yield f"{path} is no key of Ray Serve, which would ignore it.{hint}"


def main(path: Path) -> int:
    """Print the faults of a file; the exit code is 1 if there are any."""
    lines = list(faults(yaml.safe_load(path.read_text(encoding="utf-8"))))
    sys.stderr.writelines(f"{path}: {line}\n" for line in lines)
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
