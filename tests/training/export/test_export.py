"""From weights to an artifact: what its manifest says is what the file does."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import Tensor

from model.architecture.family import get_architecture
from model.architecture.summary import summarize
from model.artifact.folder import Artifact, read
from model.artifact.manifest import Precision
from training.data.dataset import Dataset
from training.errors import ExportError
from training.evaluation.predict import load_network, onnx_outputs, onnx_session
from training.export.checkpoint import export_checkpoint
from training.export.golden import golden_tolerance
from training.export.uncalibrated import export_random
from training.fit.loop import Outcome
from training.recipe.presets import get_recipe
from training.runs.metrics import read_rows
from training.runs.reading import RECORD_KEY, read_checkpoint
from training.runs.record import CheckpointError


@pytest.fixture(scope="module")
def exported(
    trained: Outcome, small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """The finished run's artifact, to be read only."""
    out = tmp_path_factory.mktemp("artifacts") / "small-fashion" / "3"
    return export_checkpoint(load_network(trained.folder.path), small_fashion, out)


def test_the_artifact_reads_back_with_all_checks(exported: Artifact) -> None:
    artifact = read(exported.folder)

    manifest = artifact.manifest
    model = artifact.model("float32")
    assert manifest == exported.manifest
    assert (manifest.name, manifest.version) == ("small-fashion", "3")
    assert manifest.files["float32"].sha256 == hashlib.sha256(model).hexdigest()
    assert {path.name for path in exported.folder.iterdir()} == {
        "README.md",
        "manifest.json",
        "model.onnx",
    }


def test_the_manifest_carries_what_the_run_was(
    exported: Artifact, small_fashion: Dataset, trained: Outcome
) -> None:
    manifest = exported.manifest

    assert manifest.labels == small_fashion.labels
    assert manifest.preprocessing == small_fashion.preprocessing
    assert manifest.architecture.name == "mini_resnet"
    assert manifest.summary == summarize(manifest.architecture, 14, 14)
    assert manifest.provenance.recipe == "default"
    assert manifest.provenance.seed == 3
    assert manifest.provenance.dataset_sha256 == small_fashion.sha256
    assert manifest.provenance.torch == torch.__version__
    changes = manifest.provenance.changes
    was = read_checkpoint(trained.folder.best)[0]
    assert (
        get_recipe("default", [f"{name}={value}" for name, value in changes.items()]) == was.recipe
    )
    assert manifest.provenance.commit == was.commit
    assert manifest.data is not None
    assert manifest.data.splits == {n: len(s) for n, s in small_fashion.splits.items() if len(s)}
    cost, rows = manifest.provenance.cost, read_rows(trained.folder.metrics)
    assert cost is not None
    assert cost.epochs == trained.epochs
    assert (cost.seconds, cost.cpu_seconds) == (
        float(rows[-1]["seconds"]),
        float(rows[-1]["cpu_seconds"]),
    )
    assert trained.folder.path.name not in manifest.model_dump_json()


def test_the_figures_are_those_of_the_onnx_file_on_the_test_split(
    exported: Artifact, small_fashion: Dataset
) -> None:
    manifest = exported.manifest
    session = onnx_session(exported.model("float32"))
    probabilities = onnx_outputs(session, small_fashion.test.images, ("probabilities",))[
        "probabilities"
    ]

    metrics = manifest.metrics
    assert metrics is not None
    hits = (probabilities.argmax(1) == small_fashion.test.targets).float().mean().item()
    assert metrics.top1 == pytest.approx(hits, abs=1e-6)
    assert manifest.files["float32"].top1 == pytest.approx(metrics.top1)
    own = probabilities[torch.arange(300), small_fashion.test.targets]
    assert metrics.loss == pytest.approx(-own.log().mean().item(), rel=1e-5)
    assert (metrics.dataset, metrics.split, metrics.n) == ("fashion-mnist", "test", 300)


def test_the_calibrator_is_chosen_on_the_validation_split_and_helps_on_the_test_split(
    exported: Artifact,
) -> None:
    manifest = exported.manifest
    chosen, figures = manifest.calibration, manifest.files["float32"].calibration

    assert chosen is not None
    assert figures is not None
    assert (chosen.split, chosen.n, chosen.folds) == ("validation", 120, 5)
    tried = chosen.cross_validated_nll
    assert tried[chosen.method] == min(tried.values())
    assert (manifest.temperature is not None) == (chosen.method == "temperature")
    assert figures.after.nll < figures.before.nll


def test_the_golden_answers_come_out_again(exported: Artifact, small_fashion: Dataset) -> None:
    images = exported.golden_images()
    session = onnx_session(exported.model("float32"))

    (probabilities,) = session.run(["probabilities"], {"images": images})

    stored = [image.tobytes() for image in small_fashion.test.images.numpy()]
    for image, row, golden in zip(images, probabilities, exported.manifest.golden, strict=True):
        np.testing.assert_allclose(row, golden.probabilities, atol=2e-6)
        assert int(row.argmax()) == golden.top1
        assert golden.label == exported.manifest.labels[golden.top1]
        # It is an image of the test split, and the answer is its label.
        assert int(small_fashion.test.targets[stored.index(image.tobytes())]) == golden.top1


def test_the_golden_answers_show_each_label_at_most_once(exported: Artifact) -> None:
    shown = [golden.top1 for golden in exported.manifest.golden]

    assert len(shown) == len(set(shown)) > 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"labels": ("a", "b")}, "2 labels"),
        ({"crop": 10}, "10 pixels"),
        ({"channels": 3}, "3 channels"),
    ],
)
def test_data_other_than_the_runs_are_refused(
    trained: Outcome,
    small_fashion: Dataset,
    tmp_path: Path,
    change: dict[str, Any],
    cause: str,
) -> None:
    if "labels" not in change:
        change = {"preprocessing": small_fashion.preprocessing.model_copy(update=change)}
    dataset = replace(small_fashion, **change)

    with pytest.raises(ExportError, match=cause) as refused:
        export_checkpoint(load_network(trained.folder.path), dataset, tmp_path / "a" / "1")

    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_overflow_do_not_pass_the_gate_and_write_nothing(
    trained: Outcome, small_fashion: Dataset, tmp_path: Path
) -> None:
    content = torch.load(trained.folder.best, weights_only=True)
    content["state_dict"]["network.layer2.0.conv1.weight"].fill_(float("inf"))
    torch.save(content, tmp_path / "broken.ckpt")

    with pytest.raises(ExportError, match="logits are not finite"):
        export_checkpoint(
            load_network(tmp_path / "broken.ckpt"), small_fashion, tmp_path / "a" / "1"
        )

    assert [path.name for path in tmp_path.iterdir()] == ["broken.ckpt"]


def test_a_checkpoint_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, RECORD_KEY: None}, tmp_path / "foreign.ckpt")

    with pytest.raises(CheckpointError, match="has no record of a run"):
        load_network(tmp_path / "foreign.ckpt")


def test_random_weights_make_an_artifact_and_repeat_by_their_seed(tmp_path: Path) -> None:
    spec = get_architecture("mini_resnet")

    first, again = (
        export_random(spec, tmp_path / folder / "net" / "1", seed=5)
        for folder in ("first", "again")
    )

    manifest = read(tmp_path / "first" / "net").manifest
    assert manifest == first.manifest
    assert manifest.architecture == spec
    assert (manifest.input.size, manifest.input.channels) == (28, spec.in_channels)
    assert manifest.metrics is None
    assert manifest.provenance.recipe is None
    assert manifest.provenance.seed == 5
    assert len(set(manifest.labels)) == spec.num_classes
    assert manifest.files["float32"].max_abs_logit_error <= 1e-4
    assert len(manifest.golden) == 2
    assert first.model("float32") == again.model("float32")
    assert manifest.golden == again.manifest.golden


@pytest.mark.parametrize(("error", "tolerance"), [(0.0, 0.01), (0.1, 0.21), (0.3, 0.5)])
def test_a_cheaper_precision_may_be_off_by_what_it_showed_and_no_more_than_the_reader_takes(
    error: float, tolerance: float
) -> None:
    probabilities: dict[Precision, Tensor] = {
        "float32": torch.tensor([[1.0, 0.0]]),
        "int8": torch.tensor([[1 - error, error]]),
    }

    assert golden_tolerance(probabilities, "int8") == pytest.approx(tolerance)


def test_a_cheaper_precision_that_golden_answers_could_not_check_is_refused() -> None:
    probabilities: dict[Precision, Tensor] = {
        "float32": torch.tensor([[1.0, 0.0]]),
        "int8": torch.tensor([[0.4, 0.6]]),
    }

    with pytest.raises(ExportError, match=r"int8 differs from float32's by 0\.6; golden"):
        golden_tolerance(probabilities, "int8")


def test_the_file_alone_says_what_it_reads_and_what_its_outputs_are(exported: Artifact) -> None:
    manifest = exported.manifest
    session = onnx_session(exported.model("float32"))

    about = session.get_modelmeta()
    said = about.custom_metadata_map

    page = (Path(__file__).parents[3] / "docs/artifact.md").read_text(encoding="utf-8")
    table = page.partition("| key | value |")[2].partition("\n\n")[0]
    firsts = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    documented = {name for first in firsts for name in re.findall(r"`(\w+)`", first)}

    assert documented == set(said)
    assert tuple(json.loads(said["labels"])) == manifest.labels
    assert (said["name"], said["version"], about.version) == ("small-fashion", "3", 3)
    assert (said["crop"], said["resize"], said["channels"]) == ("14", "14", "1")
    assert tuple(json.loads(said["mean"])) == manifest.preprocessing.mean
    assert tuple(json.loads(said["std"])) == manifest.preprocessing.std
    assert (about.graph_name, about.description) == (
        "mini_resnet",
        "small-fashion 3: mini_resnet, 10 labels",
    )


def test_the_lines_of_python_in_the_readme_run_as_written_and_give_the_artifacts_answer(
    exported: Artifact, tmp_path: Path
) -> None:
    folder = tmp_path / "1"
    shutil.copytree(exported.folder, folder)
    golden = exported.manifest.golden[0]
    (folder / "image.jpg").write_bytes(base64.b64decode(golden.png))  # what a file is, it says
    (code,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.M | re.S)

    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )

    lines = [line.split(maxsplit=1) for line in finished.stdout.splitlines()]
    assert len(code.splitlines()) <= 16
    assert len(lines) == 5
    assert lines[0][1] == golden.label
    assert float(lines[0][0]) == pytest.approx(max(golden.probabilities), abs=1e-3)
