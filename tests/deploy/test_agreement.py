"""One service, many engines: what their files say must fit together, and fit the service."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service import cli
from service.api.routes import health
from service.api.v2 import infer
from tests.deploy.engines import (
    COMPOSE,
    DEPLOY,
    PROXIES,
    RAY,
    RAY_DEPLOYMENT,
    SERVING,
    Proxy,
    Serving,
    compose_services,
)
from tests.deploy.rendering import NAMES, ROOT, Pod, has_kind, of_kind

DOCKERFILE = (ROOT / "Dockerfile").read_text()
FOLDERS = {"compose", "haproxy", "kserve", "kubernetes", "monitoring", "nginx", "ray"}
"""Of `deploy/`: what is checked here, and `monitoring`, whose tests are with the metrics."""
TRAINING = {"kubeflow", "slurm"}
"""What serves nothing."""
IN_FLIGHT = 24
"""Images of one process, at which each engine adds another."""
each_pod = pytest.mark.parametrize("folder", NAMES)
each_proxy = pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.file)
each_serving = pytest.mark.parametrize("serving", SERVING, ids=lambda serving: serving.name)


def test_no_folder_is_left_out() -> None:
    assert {path.name for path in DEPLOY.iterdir() if path.is_dir()} - TRAINING == FOLDERS
    assert {each.name.split()[0] for each in SERVING} == {COMPOSE.name, "deploy/ray", *NAMES}
    assert {each.file.removeprefix("deploy/") for each in PROXIES} == {
        "haproxy/haproxy.cfg",
        "haproxy/scale.cfg",
        "nginx/resnet.conf",
    }


# Time to end


@each_serving
def test_the_grace_period_covers_every_request_that_may_be_accepted(serving: Serving) -> None:
    """As docs/operations.md has it under Ending."""
    has = serving.settings

    assert serving.grace_s >= has.drain_delay_s + has.body_timeout_s + has.deadline_s + 3
    assert has.drain_delay_s + has.body_timeout_s > has.deadline_s


@each_serving
def test_requests_are_accepted_until_nobody_sends_any_more(serving: Serving) -> None:
    assert serving.settings.drain_delay_s > (serving.listed_s or 0)


@each_proxy
def test_a_proxy_sees_that_a_server_drains_before_its_port_closes(proxy: Proxy) -> None:
    assert proxy.settings.drain_delay_s > (proxy.notices_s or 0)


# Connections


@each_proxy
def test_a_proxy_closes_idle_connections_before_the_service_does(proxy: Proxy) -> None:
    assert proxy.idle_s
    assert max(proxy.idle_s) < proxy.settings.keep_alive_timeout_s


@each_proxy
def test_a_proxy_waits_for_the_services_own_answer(proxy: Proxy) -> None:
    slowest_s = proxy.settings.body_timeout_s + proxy.settings.deadline_s

    assert all(waits_s > slowest_s for waits_s in proxy.waits_s)


@each_proxy
def test_a_proxy_sends_a_server_enough_for_two_batches(proxy: Proxy) -> None:
    """With less, one that is full waits for images that wait in the proxy."""
    assert all(slots >= 2 * proxy.settings.max_batch_size for slots in proxy.slots)


def test_ray_waits_for_the_services_own_answer_and_sends_enough_for_two_batches() -> None:
    (has,) = (each.settings for each in SERVING if each.name == "deploy/ray")
    http = RAY["http_options"]

    assert http["request_timeout_s"] > has.body_timeout_s + has.deadline_s
    assert http["keep_alive_timeout_s"] == has.keep_alive_timeout_s
    assert http["port"] == has.port
    assert RAY_DEPLOYMENT["max_ongoing_requests"] >= 2 * has.max_batch_size
    assert RAY_DEPLOYMENT["autoscaling_config"]["target_ongoing_requests"] == IN_FLIGHT


# Ports, paths and names


@each_proxy
def test_a_proxy_asks_ports_and_paths_that_are_there(proxy: Proxy) -> None:
    assert proxy.ports == {proxy.settings.port, proxy.settings.grpc_port} - {0}
    assert proxy.paths <= {"/readyz"}


def test_compose_publishes_the_port_that_the_service_listens_on() -> None:
    ports = {port for each in compose_services().values() for port in each.get("ports", [])}

    assert {port.rpartition(":")[2] for port in ports} == {"8000"}
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M) == ["8000"]


@each_pod
def test_probes_ask_ports_and_paths_that_are_there(folder: str) -> None:
    pod = Pod(folder)
    routes = {route.path for module in (health, infer) for route in module.router.routes}

    for name, probe in pod.probes():
        path, port = probe["httpGet"]["path"], pod.port(probe["httpGet"]["port"])
        kind = "live" if name == "livenessProbe" else "ready"
        assert path in routes
        assert kind in path
        assert port in {listens_on(pod), pod.settings.metrics_port}
        assert pod.settings.tls_cert is None or port == pod.settings.metrics_port


def listens_on(pod: Pod) -> int:
    """The port in the arguments, else that of the settings."""
    options = options_of(pod)
    return int(options.get("port", pod.settings.port))


def options_of(pod: Pod) -> dict[str, str]:
    arguments = pod.container.get("args", [])
    return dict(each[2:].split("=") for each in arguments if each.startswith("--"))


@each_pod
def test_ports_of_the_container_and_of_its_service_are_those_it_listens_on(folder: str) -> None:
    pod = Pod(folder)
    numbers = {each["containerPort"] for each in pod.container["ports"]}

    assert numbers == {listens_on(pod), pod.settings.metrics_port} - {0}
    if has_kind(pod.resources, "Service"):
        service = of_kind(pod.resources, "Service")
        assert all(pod.port(each["targetPort"]) for each in service["spec"]["ports"])


@each_pod
def test_arguments_are_those_of_the_command(folder: str) -> None:
    """Kubernetes' `args` replace the image's CMD as a whole, so they need a `command`."""
    pod = Pod(folder)

    assert "ENTRYPOINT" not in DOCKERFILE
    assert ("args" in pod.container) == ("command" in pod.container)
    assert options_of(pod).keys() <= inspect.signature(cli._serve).parameters.keys()
    assert pod.container.get("command", ["serve-model"]) == ["serve-model"]


@each_pod
def test_no_service_puts_settings_into_the_pods(folder: str) -> None:
    """A Service `resnet` sets RESNET_PORT=tcp://... in each pod that has service links."""
    pod = Pod(folder)
    names = [each["metadata"]["name"] for each in pod.resources if each["kind"] == "Service"]

    assert pod.spec["enableServiceLinks"] is False
    assert not any(name.startswith("resnet") for name in names)


def test_the_metrics_that_files_ask_for_are_there() -> None:
    documented = re.findall(
        r"^\| `(resnet_\w+)` \|", (ROOT / "docs/operations.md").read_text(), re.M
    )  # which a test of the service compares with /metrics
    suffixes = "_bucket|_count|_sum"
    asked = {
        re.sub(rf"({suffixes})$", "", name)
        for path in DEPLOY.rglob("*.y*ml")
        for name in re.findall(r"\bresnet_[a-z_]+\b", path.read_text())
    }

    assert asked
    assert asked <= set(documented)


# Images, users and resources


@each_pod
def test_a_pod_runs_an_image_that_compose_builds_as_its_user(folder: str) -> None:
    pod = Pod(folder)
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.M)
    security = {**pod.spec.get("securityContext", {}), **pod.container["securityContext"]}

    assert pod.container["image"] in {each["image"] for each in compose_services().values()}
    assert security["runAsUser"] == int(user)
    assert security.get("fsGroup", int(user)) == int(user)
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert "/tmp" in {each["mountPath"] for each in pod.container["volumeMounts"]}  # noqa: S108


@each_pod
def test_a_pod_has_a_fixed_memory_and_no_limit_of_cores_but_knows_its_share(folder: str) -> None:
    pod = Pod(folder)
    wanted, limits = (pod.container["resources"][kind] for kind in ("requests", "limits"))

    assert wanted["memory"] == limits["memory"]
    assert "cpu" not in limits
    assert pod.settings.max_cores == int(wanted["cpu"])


@each_pod
def test_gpus_are_asked_for_where_they_are_used(folder: str) -> None:
    pod = Pod(folder)
    gpus = int(pod.container["resources"]["limits"].get("nvidia.com/gpu", 0))

    assert (gpus > 0) == (pod.settings.provider == "cuda") == pod.container["image"].endswith("gpu")
    assert (gpus > 1) == (pod.settings.workers == "auto")


@each_pod
def test_secrets_are_mounted_where_the_settings_look_and_closed_to_others(folder: str) -> None:
    pod = Pod(folder)
    mounts = {each["mountPath"]: each["name"] for each in pod.container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod.spec["volumes"]}

    files = (pod.settings.tls_cert, pod.settings.tls_key, pod.settings.api_keys_file)
    for file in filter(None, files):
        assert volumes[mounts[str(file.parent)]]["secret"]["defaultMode"] == 0o440


# Scaling


def selectors(resources: list[Any]) -> Iterator[Any]:
    """Every selector, wherever it stands."""
    for kind, *names in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
        ("ServiceMonitor", "selector"),
    ):
        for name in names:
            yield of_kind(resources, kind)["spec"][name]["matchLabels"]
    yield of_kind(resources, "Service")["spec"]["selector"]
    spec = of_kind(resources, "Deployment")["spec"]["template"]["spec"]
    for spread in spec["topologySpreadConstraints"]:
        yield spread["labelSelector"]["matchLabels"]


@pytest.mark.parametrize("folder", [name for name in NAMES if "kserve" not in name])
def test_selectors_select_the_pods_and_nothing_else(folder: str) -> None:
    """An empty selector would be everything in the namespace."""
    resources = render_of(folder)
    labels = of_kind(resources, "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert list(selectors(resources)) == [labels] * 7
    assert of_kind(resources, "Service")["metadata"]["labels"] == labels  # of the ServiceMonitor
    assert {each["metadata"].get("namespace") for each in resources} == {"classifier", None}


def render_of(folder: str) -> list[Any]:
    return Pod(folder).resources


@each_pod
def test_every_engine_scales_by_the_same_images_in_flight(folder: str) -> None:
    pod = Pod(folder)
    signal, target, behaviour = scaling(pod.resources)

    assert "resnet_images_in_flight" in signal
    assert target == IN_FLIGHT == pod.settings.max_batch_size * 3 / 4
    assert behaviour == scaling(render_of(NAMES[0]))[2]


def scaling(resources: list[Any]) -> tuple[str, int, Any]:
    """Return the signal, its target for a pod, and how fast pods come and go."""
    if has_kind(resources, "InferenceService"):
        predictor = of_kind(resources, "InferenceService")["spec"]["predictor"]
        (metric,) = predictor["autoScaling"]["metrics"]
        external = metric["external"]
        assert external["target"]["type"] == "AverageValue"
        query, target = external["metric"]["query"], external["target"]["averageValue"]
        return query, int(target), scaling(render_of(NAMES[0]))[2]  # KServe's own
    if has_kind(resources, "ScaledObject"):
        assert not has_kind(resources, "HorizontalPodAutoscaler")
        spec = of_kind(resources, "ScaledObject")["spec"]
        (trigger,) = spec["triggers"]
        assert (
            spec["scaleTargetRef"]["name"] == of_kind(resources, "Deployment")["metadata"]["name"]
        )
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return trigger["metadata"]["query"], int(trigger["metadata"]["threshold"]), behaviour
    spec = of_kind(resources, "HorizontalPodAutoscaler")["spec"]
    (metric,) = spec["metrics"]
    pods = metric["pods"]
    assert spec["scaleTargetRef"]["name"] == of_kind(resources, "Deployment")["metadata"]["name"]
    assert "replicas" not in of_kind(resources, "Deployment")["spec"]  # `apply` would reset them
    return pods["metric"]["name"], int(pods["target"]["averageValue"]), spec["behavior"]


@each_pod
def test_a_rollout_takes_no_pod_away_before_a_new_one_is_ready_unless_gpus_are_short(
    folder: str,
) -> None:
    pod = Pod(folder)
    rolling = pod.workload["strategy"]["rollingUpdate"]

    surge = {"maxUnavailable": 0, "maxSurge": 1}
    assert rolling == ({"maxUnavailable": 1, "maxSurge": 0} if "gpu" in folder else surge)


# KServe


def test_an_inference_service_asks_for_what_its_runtime_offers() -> None:
    resources = render_of("deploy/kserve")
    runtime = of_kind(resources, "ClusterServingRuntime")
    model = of_kind(resources, "InferenceService")["spec"]["predictor"]["model"]
    pod = Pod("deploy/kserve")

    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = runtime["spec"]["supportedModelFormats"]
    assert model["modelFormat"] in [
        {"name": each["name"], "version": each["version"]} for each in formats
    ]
    assert pod.container["name"] == "kserve-container"
    assert "/mnt/models" in pod.container["args"]
    assert options_of(pod) == {"name": "{{.Name}}", "port": "8080"}
    annotations = runtime["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == options_of(pod)["port"]
