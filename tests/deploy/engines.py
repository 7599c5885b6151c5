"""What the files of `deploy/` and `docker-compose.yml` say about one thing, engine by engine."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings
from tests.deploy.rendering import NAMES, ROOT, Pod, settings_of

COMPOSE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def read_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(), yaml.CSafeLoader)  # a safe one, in C


def seconds(text: str) -> float:
    """Read a time such as `250ms` or `60s`."""
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


@dataclass(frozen=True)
class Serving:
    """How an engine runs the service.

    Attributes:
        name: Of the file or folder, and of what is in it.
        settings: Of the service there.
        grace_s: Between the request to end and the end by force.
        listed_s: How long it may still be sent requests after it is not ready; None: the engine
            takes it out of the list itself before it asks it to end.
    """

    name: str
    settings: Settings
    grace_s: float
    listed_s: float | None


def compose_services() -> dict[str, Any]:
    """List the services that run our image, by name."""
    services = read_yaml(COMPOSE)["services"]
    return {name: each for name, each in services.items() if "resnet-service" in each["image"]}


def compose_settings(service: Any) -> Settings:
    """Read the settings that a service gets where nothing is set on the host."""
    given = {}
    for name, text in service["environment"].items():
        default = re.fullmatch(r"\$\{\w+:-(.*)\}", text or "")
        if default is not None:
            given[name] = default[1]
        elif text is not None:
            given[name] = text
    return settings_of(given)


def in_compose() -> Iterator[Serving]:
    for name, service in compose_services().items():
        grace_s = seconds(service["stop_grace_period"])
        yield Serving(f"docker-compose.yml {name}", compose_settings(service), grace_s, None)


RAY = read_yaml(DEPLOY / "ray/serve.yaml")
RAY_DEPLOYMENT = RAY["applications"][0]["deployments"][0]


def in_ray() -> Iterator[Serving]:
    settings = Settings(**RAY["applications"][0]["args"])
    yield Serving("deploy/ray", settings, RAY_DEPLOYMENT["graceful_shutdown_timeout_s"], None)


def in_pods() -> Iterator[Serving]:
    for name in NAMES:
        pod = Pod(name)
        probe = pod.container["readinessProbe"]
        # Then the endpoint has to reach every node, for which a second is plenty.
        listed_s = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"] + 1
        grace_s = pod.spec["terminationGracePeriodSeconds"]
        yield Serving(name, pod.settings, grace_s, listed_s)


SERVING = [*in_compose(), *in_ray(), *in_pods()]


@dataclass(frozen=True)
class Proxy:
    """A proxy before the service.

    Attributes:
        file: Its configuration.
        settings: That the service needs behind it, by the file's first lines; those of a service of
            Compose, if the servers are its containers.
        idle_s: How long it keeps idle connections, each value that it names.
        waits_s: How long it waits for an answer; none: not said.
        slots: Requests at a time that it sends to one server; none: any number.
        notices_s: How long it takes to see that a server is not ready; None: it does not ask.
        ports: Of the service.
        paths: That it asks for health.
    """

    file: str
    settings: Settings
    idle_s: list[float]
    waits_s: list[float]
    slots: list[int]
    notices_s: float | None
    ports: set[int]
    paths: set[str]


def read_proxy(path: Path) -> Proxy:
    """Read a configuration of nginx or HAProxy."""
    head, text = _parted(path.read_text())
    needed = dict(re.findall(r"(RESNET_[A-Z_]+)=(\S*[^\s.,])", head))
    containers = re.search(r"server-template \S+ \S+ (\w+):", text)
    interval = re.search(r"\binter (\w+)", text)
    falls = re.search(r"\bfall (\d+)", text)
    servers = re.findall(r"^\s*server(?:-template)? .*$", text, re.M)
    return Proxy(
        file=str(path.relative_to(ROOT)),
        settings=(
            compose_settings(compose_services()[containers[1]])
            if containers
            else settings_of(needed)
        ),
        idle_s=_times(
            r"(?:keepalive_timeout|timeout http-keep-alive|pool-purge-delay) (\w+)", text
        ),
        waits_s=_times(r"timeout (?:server|client) (\w+)", text),
        slots=[int(number) for number in re.findall(r"server .*\bmaxconn (\d+)", text)],
        notices_s=seconds(interval[1]) * int(falls[1]) if interval and falls else None,
        ports={int(port) for line in servers for port in re.findall(r":(\d+)\b", line)},
        paths=set(re.findall(r"(?:httpchk GET|uri) (/\w+)", text)),
    )


def _parted(text: str) -> tuple[str, str]:
    """Part the comment at the beginning from the rest, whose comments are left out."""
    lines = text.splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end]), re.sub(r"(?m)(^|\s)#.*$", "", "\n".join(lines[end:]))


def _times(pattern: str, text: str) -> list[float]:
    return [seconds(found) for found in re.findall(pattern, text)]


PROXIES = [
    read_proxy(path)
    for path in sorted([*DEPLOY.glob("haproxy/*.cfg"), *DEPLOY.glob("nginx/*.conf")])
]
