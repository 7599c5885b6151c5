"""Validate manifests offline, strictly: a field that no schema knows is a fault.

Kubernetes' own kinds have the schemas of `kubernetes-validate`. Kinds of others have ours, in
`schemas.yaml`: the fields that we use, and no more. Pods inside them are checked as a Pod.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

VERSION = "1.30"
"""Of Kubernetes: the oldest one that docs/kubernetes.md names, which knows the fewest fields."""
OTHERS: dict[str, Any] = yaml.load(
    (Path(__file__).parent / "schemas.yaml").read_text(), yaml.CSafeLoader
)


class NoSchemaError(Exception):
    """Nobody knows this kind: it would pass unread."""


def faults(resource: Any) -> Iterator[str]:
    """Name each field that breaks a rule, or that does not exist.

    Raises:
        NoSchemaError: If there is no schema of its kind.
    """
    kind = f"{resource['apiVersion']}/{resource['kind']}"
    if kind not in OTHERS:
        yield from _faults_of_kubernetes(resource)
        return
    for error in jsonschema.Draft202012Validator(OTHERS[kind]).iter_errors(resource):
        yield _line(error)
    yield from _faults_of_kubernetes(_as_pod(resource))


def _faults_of_kubernetes(resource: Any) -> Iterator[str]:
    try:
        kubernetes_validate.validate(resource, VERSION, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        raise NoSchemaError(error.message) from error
    except kubernetes_validate.ValidationError as error:
        yield _line(error)


def _line(error: jsonschema.ValidationError) -> str:
    return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


def _as_pod(resource: Any) -> dict[str, Any]:
    """Make a pod of what KServe would put into one; a pod of nothing else for other kinds."""
    spec = {
        name: value
        for part in (resource["spec"], resource["spec"].get("predictor", {}))
        for name, value in part.items()
        if name in OF_PODS
    }
    nothing = [{"name": "kserve-container", "image": "none"}]
    pod = {"metadata": {"name": "pod"}, "spec": {"containers": nothing, **spec}}
    return {"apiVersion": "v1", "kind": "Pod", **pod}


OF_PODS = frozenset(
    (
        "automountServiceAccountToken",
        "containers",
        "enableServiceLinks",
        "securityContext",
        "terminationGracePeriodSeconds",
        "topologySpreadConstraints",
        "volumes",
    )
)
"""Fields of a pod that a runtime or a predictor may have, of those that we use."""
