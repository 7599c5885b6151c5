"""The manifests are what Kubernetes, KServe, KEDA and the Prometheus operator understand."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.rendering import NAMES, of_kind, render
from tests.deploy.schemas import NoSchemaError, faults


def test_every_manifest_has_a_schema_and_fits_it() -> None:
    manifests = {
        json.dumps(each, sort_keys=True): f"{folder} {each['kind']}"
        for folder in NAMES
        for each in render(folder)
    }
    found = {name: list(faults(json.loads(text))) for text, name in manifests.items()}

    assert len(found) > len(NAMES)
    assert not any(found.values()), found


Change = Callable[[Any], Any]
DEPLOYMENT = ("deploy/kubernetes/overlays/cpu", "Deployment")
KEDA = ("tests/deploy/keda", "ScaledObject")
RUNTIME = ("deploy/kserve", "ClusterServingRuntime")
INFERENCE = ("deploy/kserve", "InferenceService")


def container(resource: Any) -> Any:
    spec = resource["spec"]
    return spec.get("template", resource)["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("where", "place", "key"),
    [
        (DEPLOYMENT, lambda it: it["spec"]["template"]["spec"], "terminationGracePeriod"),
        (DEPLOYMENT, lambda it: container(it)["readinessProbe"], "failureTreshold"),
        (DEPLOYMENT, lambda it: it["spec"], "minReadySecond"),
        (RUNTIME, lambda it: it["spec"], "protocolVersion"),
        (RUNTIME, lambda it: it["spec"], "terminationGracePeriodSeconds"),  # the predictor's
        (RUNTIME, lambda it: container(it)["livenessProbe"], "periodSecond"),
        (RUNTIME, lambda it: it["spec"]["supportedModelFormats"][0], "autoselect"),
        (INFERENCE, lambda it: it["spec"]["predictor"], "minReplica"),
        (INFERENCE, lambda it: it["spec"]["predictor"]["model"], "storageURI"),
        (INFERENCE, lambda it: it["metadata"]["annotations"], "serving.kserve.io/mode"),
        (KEDA, lambda it: it["spec"], "pollInterval"),
        (KEDA, lambda it: it["spec"]["triggers"][0], "metrictype"),
        (
            ("deploy/kubernetes/overlays/cpu", "ServiceMonitor"),
            lambda it: it["spec"]["endpoints"][0],
            "intervall",
        ),
    ],
)
def test_a_misspelt_field_is_a_fault(where: tuple[str, str], place: Change, key: str) -> None:
    changed = of_kind(render(where[0]), where[1])
    place(changed)[key] = 1

    lines = list(faults(changed))

    assert any(key in line for line in lines), lines


@pytest.mark.parametrize(
    ("where", "place", "key", "value"),
    [
        (DEPLOYMENT, lambda it: it["spec"], "minReadySeconds", "soon"),
        (RUNTIME, lambda it: container(it)["ports"][0], "containerPort", "http"),
        (INFERENCE, lambda it: it["spec"]["predictor"], "terminationGracePeriodSeconds", "60s"),
        (
            INFERENCE,
            lambda it: it["metadata"]["annotations"],
            "serving.kserve.io/deploymentMode",
            "RawDeployment",
        ),
        (INFERENCE, lambda it: it["metadata"], "name", "fashion.mnist"),
        (INFERENCE, lambda it: it["spec"]["predictor"]["model"], "storageUri", "/models/1"),
        (KEDA, lambda it: it["spec"]["triggers"][0]["metadata"], "threshold", 16),
    ],
)
def test_a_value_that_does_not_fit_is_a_fault(
    where: tuple[str, str], place: Change, key: str, value: object
) -> None:
    changed = of_kind(render(where[0]), where[1])
    place(changed)[key] = value

    assert any(key in line for line in faults(changed))


def test_a_kind_without_a_schema_is_not_passed_unread() -> None:
    changed = {**of_kind(render("deploy/kserve"), "InferenceService"), "kind": "InferenceServise"}

    with pytest.raises(NoSchemaError, match="InferenceServise"):
        list(faults(changed))
