"""The manifests of Kubernetes in `deploy/`, rendered as `kubectl apply -k` would."""

import functools
import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
FOLDERS = [
    *sorted(folder.parent for folder in KUBERNETES.glob("overlays/*/kustomization.yaml")),
    ROOT / "tests/deploy/keda",  # the component, in an overlay as its first lines say
    ROOT / "deploy/kserve",
]
"""Each of them is applied as a whole."""
NAMES = [str(folder.relative_to(ROOT)) for folder in FOLDERS]


@functools.cache
def _rendered(folder: str) -> str:
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    kubectl = shutil.which("kubectl", path=path)
    assert kubectl, "kubectl is missing; the extra `dev` brings it."
    done = subprocess.run(
        [kubectl, "kustomize", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # kustomize warns of what is deprecated
    return json.dumps(list(yaml.load_all(done.stdout, yaml.CSafeLoader)))


def render(folder: str) -> list[Any]:
    """Return the resources of a folder: a copy of their own for each caller."""
    return list(json.loads(_rendered(folder)))


def of_kind(resources: list[Any], kind: str) -> Any:
    """Return the one resource of a kind."""
    (found,) = (each for each in resources if each["kind"] == kind)
    return found


def has_kind(resources: list[Any], kind: str) -> bool:
    return any(each["kind"] == kind for each in resources)


class Pod:
    """The pods of a folder: their spec, the one container, and its settings.

    KServe merges a runtime and an InferenceService into one.
    """

    def __init__(self, folder: str) -> None:
        self.resources = resources = render(folder)
        if has_kind(resources, "Deployment"):
            self.workload = of_kind(resources, "Deployment")["spec"]
            self.spec = self.workload["template"]["spec"]
        else:
            predictor = of_kind(resources, "InferenceService")["spec"]["predictor"]
            self.workload = {"strategy": predictor["deploymentStrategy"]}
            self.spec = {**predictor, **of_kind(resources, "ClusterServingRuntime")["spec"]}
        (self.container,) = self.spec["containers"]

    @property
    def environment(self) -> dict[str, str]:
        """The variables; of those that are taken from a field, the field's value."""
        given: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            name = source["configMapRef"]["name"]
            (found,) = (each for each in self.resources if each["metadata"]["name"] == name)
            given |= found["data"]
        for variable in self.container.get("env", []):
            value = variable.get("value")
            given[variable["name"]] = self._field(variable) if value is None else value
        return given

    def _field(self, variable: Any) -> str:
        kind, _, name = variable["valueFrom"]["resourceFieldRef"]["resource"].partition(".")
        return str(self.container["resources"][kind][name])

    @property
    def settings(self) -> Settings:
        """The settings, as the service reads them; a name that is none is refused."""
        return settings_of(self.environment)

    def probes(self) -> Iterator[tuple[str, Any]]:
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            yield name, self.container[name]

    def port(self, port: int | str) -> int:
        """Return the number of a port of the container."""
        (found,) = (
            each["containerPort"]
            for each in self.container["ports"]
            if port in {each["name"], each["containerPort"]}
        )
        return int(found)


def settings_of(environment: dict[str, str]) -> Settings:
    """Read variables as the service does; a name or value that it refuses is an error."""
    given: dict[str, Any] = {
        name.removeprefix("RESNET_").lower(): text for name, text in environment.items()
    }
    return Settings(**given)
