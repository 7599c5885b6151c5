"""Recipes for schedulers: Slurm's script with stand-ins, Kubeflow's job against a schema."""

import os
import subprocess
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "slurm/train.sbatch"

# torchrun notes how it was started, waits for SIGTERM, and writes a checkpoint.
STAND_INS = {
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; else echo "$@" >>calls; fi',
    "scancel": 'echo scancel "$@" >>calls; kill -TERM "$(cat torchrun.pid)"',
    "srun": 'while [ "$1" != torchrun ]; do shift; done; exec "$@"',
    "torchrun": """echo $$ >torchrun.pid; printf '%s\\n' "$@" >options
        trap 'mkdir -p run/checkpoints; touch run/checkpoints/last.ckpt; exit 1' TERM
        [ -z "$FAILS" ] || exit 3
        [ -e run/checkpoints/last.ckpt ] || while :; do sleep 0.02; done""",
}


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the script as Slurm's batch step on the first of two nodes."""
    for name, body in STAND_INS.items():
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/bash\n{body}\n")
        command.chmod(0o755)

    def start(**variables: str) -> subprocess.Popen[bytes]:
        slurm = {"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": "node[7-8]"}
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            ["/bin/bash", SCRIPT, "images", "run", "--recipe", "photos"],
            cwd=tmp_path,
            env={"PATH": path, "SLURM_JOB_NUM_NODES": "2", "FAILS": "", **slurm, **variables},
            stdout=subprocess.DEVNULL,
        )

    return start


def test_at_the_time_limit_slurms_job_stops_the_run_and_is_queued_again(
    job: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    first = job(SLURM_GPUS_ON_NODE="4")
    while not (tmp_path / "options").exists():
        assert first.poll() is None
        time.sleep(0.01)
    subprocess.run(["/bin/kill", "-USR1", str(first.pid)], check=True)
    assert first.wait(30) == 0
    begun = (tmp_path / "options").read_text().split()

    second = job(SLURM_RESTART_COUNT="1", PROCESSES="3")

    assert second.wait(30) == 0
    assert (tmp_path / "calls").read_text() == "scancel --signal=TERM 42\nrequeue 42\n"
    assert begun[:2] == ["--nnodes=2", "--nproc-per-node=4"]
    assert {"--rdzv-endpoint=node7:29400", "--rdzv-id=42-0"} <= set(begun)
    assert begun[-6:] == ["--data", "images", "--out", "run", "--recipe", "photos"]
    resumed = (tmp_path / "options").read_text().split()
    assert {"--nproc-per-node=3", "--rdzv-id=42-1"} <= set(resumed)
    assert resumed[-5:] == ["--data", "images", "--out", "run", "--resume"]


def test_a_run_that_fails_is_not_queued_again(
    job: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    assert job(FAILS="1").wait(30) == 3
    assert not (tmp_path / "calls").exists()


class Strict(BaseModel):
    """Has the fields of Kubeflow Trainer's Go types that we use, and refuses all others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Named(Strict):
    name: str = Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)


class Variable(Strict):
    name: str
    value: str


class Resources(Strict):
    requests: dict[str, str]
    limits: dict[str, str]


class Trainer(Strict):
    image: str = Field(max_length=500)
    num_nodes: int = Field(alias="numNodes", ge=1)
    num_proc_per_node: int = Field(alias="numProcPerNode", ge=1)
    command: list[str]
    env: list[Variable]
    resources_per_node: Resources = Field(alias="resourcesPerNode")


class Claim(Strict):
    claim_name: str = Field(alias="claimName")
    read_only: bool = Field(False, alias="readOnly")


class EmptyDir(Strict):
    medium: Literal["Memory"]
    size_limit: str = Field(alias="sizeLimit")


class Volume(Strict):
    name: str
    claim: Claim | None = Field(None, alias="persistentVolumeClaim")
    empty_dir: EmptyDir | None = Field(None, alias="emptyDir")


class Mount(Strict):
    name: str
    path: str = Field(alias="mountPath")
    read_only: bool = Field(False, alias="readOnly")


class Container(Strict):
    name: Literal["node"]  # the runtime's; its variables are set under `trainer` alone
    mounts: list[Mount] = Field(alias="volumeMounts")


class Pod(Strict):
    volumes: list[Volume]
    containers: list[Container]


class PodTemplate(Strict):
    spec: Pod


class Job(Strict):
    template: PodTemplate


class JobTemplate(Strict):
    spec: Job


class ReplicatedJob(Strict):
    name: Literal["node"]  # the runtime's
    template: JobTemplate


class JobSet(Strict):
    jobs: list[ReplicatedJob] = Field(alias="replicatedJobs")


class JobSetTemplate(Strict):
    spec: JobSet


class RuntimeSpec(Strict):
    template: JobSetTemplate


class Patch(Strict):
    manager: str
    runtime: RuntimeSpec = Field(alias="trainingRuntimeSpec")


class Spec(Strict):
    runtime_ref: Named = Field(alias="runtimeRef")
    trainer: Trainer
    patches: list[Patch] = Field(alias="runtimePatches")


class TrainJob(Strict):
    api_version: Literal["trainer.kubeflow.org/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["TrainJob"]
    metadata: Named
    spec: Spec


@pytest.fixture(scope="module")
def trainjob() -> Any:
    return yaml.safe_load((DEPLOY / "kubeflow/trainjob.yaml").read_text())


def test_the_trainjob_has_fields_that_exist_and_mounts_what_it_uses(trainjob: Any) -> None:
    spec = TrainJob.model_validate(trainjob).spec
    pod = spec.patches[0].runtime.template.spec.jobs[0].template.spec.template.spec

    assert spec.trainer.command[0] == "torchrun"  # nothing else reads Trainer's variables
    assert {mount.name for mount in pod.containers[0].mounts} == {each.name for each in pod.volumes}
    assert spec.trainer.resources_per_node.limits["nvidia.com/gpu"] == str(
        spec.trainer.num_proc_per_node
    )
    script = spec.trainer.command[-1]
    assert subprocess.run(["/bin/sh", "-n", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (lambda it: it["spec"], "podTemplateOverrides"),
        (lambda it: it["spec"]["trainer"], "numNode"),
        (lambda it: it["spec"]["runtimePatches"][0]["trainingRuntimeSpec"], "spec"),
    ],
)
def test_a_field_that_does_not_exist_is_refused(
    trainjob: Any, place: Callable[[Any], Any], key: str
) -> None:
    changed = deepcopy(trainjob)
    place(changed)[key] = 1

    with pytest.raises(ValidationError, match=key):
        TrainJob.model_validate(changed)
