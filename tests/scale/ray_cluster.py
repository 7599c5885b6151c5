"""Two nodes of Ray on this machine, and the service on them as `serve deploy` puts it there."""

import copy
import os
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from ray.cluster_utils import Cluster

from deploy.ray.check import faults
from tests.service.process import ROOT, free_port

FILE = ROOT / "deploy/ray/serve.yaml"
SERVE = Path(sysconfig.get_path("scripts")) / "serve"
OBJECT_STORE_BYTES = 80 * 2**20
PATIENCE_S = 240.0
"""On a machine that is busy with other things."""
FAST = {  # by default replicas report every 10 s
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # The proxy of a node without replicas ends after 30 s, when the balancer has left it. Here the
    # kernel deals connections out to both proxies, whatever their health checks say.
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "3600",
    "RAY_health_check_failure_threshold": "30",  # a node that is slow today is not dead
    "PYTHONPATH": str(ROOT),
}


def wait_for(what: str, check: Callable[[], Any]) -> Any:
    """Return the first true value of `check`."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := check():
            return found
        time.sleep(0.25)
    raise AssertionError(f"{what} did not come within {PATIENCE_S:g} s")


class RayCluster:
    """Two nodes, each with its own proxy; both listen on the same port, and the kernel shares it.

    Attributes:
        port: Of the proxies.
        metrics_ports: Of the nodes' agents.
    """

    def __init__(self) -> None:
        self.port, self._dashboard, *self.metrics_ports = (free_port() for _ in range(4))
        node = {"num_cpus": 2, "object_store_memory": OBJECT_STORE_BYTES}
        head = {"include_dashboard": True, "dashboard_port": self._dashboard}
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={**node, **head, "metrics_export_port": self.metrics_ports[0]},
        )
        self._cluster.add_node(**node, metrics_export_port=self.metrics_ports[1])
        self._cluster.wait_for_nodes()

    def deploy(self, folder: Path, args: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        """Deploy serve.yaml with changes, wait until it runs, and return the replicas.

        Args:
            folder: For the changed file.
            args: Settings of the service.
            options: Of the deployment; None removes one.
        """
        before = {each["replica_id"] for each in self.replicas()}
        config = copy.deepcopy(yaml.safe_load(FILE.read_text(encoding="utf-8")))
        config["http_options"] |= {"host": "127.0.0.1", "port": self.port}
        application = config["applications"][0]
        changes_settings = application["args"] | args != self._args()
        application["args"] |= args
        deployment = application["deployments"][0]
        deployment |= {"ray_actor_options": {"num_cpus": 0.5}} | options
        application["deployments"] = [
            {name: value for name, value in deployment.items() if value is not None}
        ]
        assert not list(faults(config))
        file = folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        done = subprocess.run(
            [SERVE, "deploy", file, "--address", f"http://127.0.0.1:{self._dashboard}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr

        def runs() -> bool:
            replaced = {each["replica_id"] for each in self.replicas()}.isdisjoint(before)
            return self._is_healthy() and (replaced or not changes_settings)

        wait_for("the deployment", runs)
        return self.replicas()

    def details(self) -> dict[str, Any]:
        """What Ray says of its proxies and applications."""
        url = f"http://127.0.0.1:{self._dashboard}/api/serve/applications/"
        answer = httpx.get(url, timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def replicas(self) -> list[dict[str, Any]]:
        """All replicas that are not stopped: replica_id, node_id, pid, state."""
        application = self.details()["applications"].get("resnet", {"deployments": {}})
        deployment = application["deployments"].get("resnet", {"replicas": []})
        return list(deployment["replicas"])

    def running(self) -> list[dict[str, Any]]:
        """Those that take requests."""
        return [each for each in self.replicas() if each["state"] == "RUNNING"]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def exported(self) -> str:
        """The metrics that both nodes export."""
        return "".join(
            httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
            for port in self.metrics_ports
        )

    def shutdown(self) -> None:
        self._cluster.shutdown()

    def _args(self) -> dict[str, Any]:
        application = self.details()["applications"].get("resnet", {})
        config = application.get("deployed_app_config") or {}
        return dict(config.get("args", {}))

    def _is_healthy(self) -> bool:
        found = self.details()
        application = found["applications"].get("resnet", {})
        status = application.get("status")
        assert status != "DEPLOY_FAILED", application.get("message")
        proxies = [each["status"] for each in found["proxies"].values()]
        replicas = [each["state"] for each in self.replicas()]
        return status == "RUNNING" and proxies == ["HEALTHY"] * 2 and set(replicas) == {"RUNNING"}


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    before = {name: os.environ.get(name) for name in FAST}
    os.environ.update(FAST)
    cluster = RayCluster()
    try:
        yield cluster
    finally:
        cluster.shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
