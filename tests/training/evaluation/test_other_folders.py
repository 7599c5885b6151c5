"""`evaluate-model` on folders that a model was not made from, and of artifacts."""

import json
import re
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import onnxruntime as ort
from PIL import Image

from model.artifact.folder import read
from tests.conftest import FASHION_MNIST, Command, MakeImages
from tests.service.conftest import SHIPPED
from training.cli.main import evaluate_script
from training.data.fashion_mnist import read_fashion_mnist
from training.evaluation.requirements import (
    AT_LEAST,
    AT_MOST,
    Requirement,
    read_requirements,
)


@pytest.fixture
def images(make_images: MakeImages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One flat split with two of the model's labels, one that it lacks, and a broken file."""
    monkeypatch.chdir(tmp_path)
    root = make_images(labels={"Ankle boot": 12, "coat": 8, "Hat": 3})
    (root / "coat/broken.png").write_text("no image", encoding="utf-8")
    return root


def test_an_artifact_is_measured_on_a_flat_folder_with_some_of_its_labels(
    command: Command, images: Path, tmp_path: Path
) -> None:
    finished = command(evaluate_script, SHIPPED, "--data", images)

    assert finished.code == 0, finished.err
    assert "left out: 3 images of labels that the model does not have: Hat" in finished.out
    assert "note: there are no images of 8 of the model's 10 labels" in finished.out
    assert "left out, 1 unreadable file:" in finished.out
    out = tmp_path / "evaluations/fashion-mnist-1/images"
    figures = json.loads((out / "evaluation.json").read_text())
    assert {path.name for path in out.iterdir()} >= {"confusion.png", "mistakes.png"}
    artifact = read(SHIPPED)
    labels = artifact.manifest.labels
    files = sorted(images.glob("Ankle boot/*.png")) + sorted(images.glob("coat/[0-9].png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])[..., None]
    session = ort.InferenceSession(artifact.model("float32"))
    (probabilities,) = session.run(["probabilities"], {"images": pixels})
    truth = np.array([labels.index("Ankle boot")] * 12 + [labels.index("Coat")] * 8)
    assert figures["n"] == 20
    assert figures["top1"] == pytest.approx((probabilities.argmax(1) == truth).mean())
    own = probabilities[np.arange(20), truth]
    assert figures["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)
    assert figures["per_label"]["Bag"] is None


def test_the_exit_code_says_whether_what_is_required_is_met(
    command: Command, images: Path, tmp_path: Path
) -> None:
    given = (SHIPPED, "--data", images, "--precision", "int8", "--out", tmp_path / "report")

    met = command(evaluate_script, *given, "--require", "top1=0", "--require", "nll=99")
    missed = command(evaluate_script, *given, "--require", "n=21", "--require", "nll=0")
    bad = command(evaluate_script, *given, "--require", "accuracy=1")

    assert (met.code, met.err) == (0, "")
    assert missed.code == 3
    assert missed.err.startswith("not met: n is 20; it must be at least 21\nnot met: nll is ")
    assert bad.code == 2
    assert "names are top1, top5" in bad.err


def test_a_folder_with_splits_is_measured_on_its_test_split_or_on_validation(
    command: Command, make_images: MakeImages, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        root = make_images(f"both/{split}", {"Coat": 2}).parent
    report = ("--out", tmp_path / "report")

    validated = command(evaluate_script, SHIPPED, "--data", root, *report)
    make_images("both/test", {"Coat": 3})
    tested = command(evaluate_script, SHIPPED, "--data", root, *report)

    assert "both, 2 validation images: loss" in validated.out
    assert "the validation split may have chosen the weights" in validated.out
    assert "both, 3 test images: loss" in tested.out


def test_the_four_files_of_fashion_mnist_measure_an_artifact_too(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    excerpt = partial(read_fashion_mnist, sha256=None)
    monkeypatch.setattr("training.evaluation.measured.read_fashion_mnist", excerpt)

    finished = command(
        evaluate_script, SHIPPED, "--data", FASHION_MNIST, "--out", tmp_path / "report"
    )

    assert finished.code == 0, finished.err
    assert "fashion-mnist, 300 test images: loss" in finished.out
    assert json.loads((tmp_path / "report/evaluation.json").read_text())["top1"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ((), "With --data, name the images to measure it on"),
        (("--data", "nowhere"), "nowhere is not a folder"),
        (("--data", "."), "must hold readable images"),
        (("--data", ".", "--precision", "int4"), "must be one of float32, float16, int8"),
    ],
)
def test_what_cannot_measure_an_artifact_is_one_line(
    command: Command,
    arguments: tuple[str, ...],
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    finished = command(evaluate_script, SHIPPED, *arguments)

    assert finished.code == 1
    assert finished.err.startswith("error: ")
    assert cause in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("size=3", "names are top1, top5, balanced, worst_label, n, nll, ece, brier$"),
        ("top1", r"top1 must be a number between 0 and 1$"),
        ("top1=x", r"top1 must be a number between 0 and 1$"),
        ("top1=nan", r"top1 must be a number between 0 and 1$"),
        ("ece=-1", r"ece must be a number between 0 and 1$"),
        ("top1=1.01", r"top1 must be a number between 0 and 1$"),
        ("top1=90", r"not a percentage: top1=0\.9$"),
        ("brier=2.1", r"brier must be a number between 0 and 2$"),
        ("n=inf", r"n must be a number of 0 or more$"),
    ],
)
def test_a_requirement_that_no_figure_can_have_is_refused(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        read_requirements([text])


@pytest.mark.parametrize(
    ("requirement", "found", "is_met"),
    [
        (Requirement("top1", 0.9), 0.9, True),
        (Requirement("top1", 0.9), 0.89, False),
        (Requirement("ece", 0.05), 0.05, True),
        (Requirement("ece", 0.05), 0.06, False),
        (Requirement("nll", 1.0), float("nan"), False),
    ],
)
def test_a_requirement_is_met_up_to_its_value(
    requirement: Requirement, found: float, is_met: bool
) -> None:
    assert (requirement.failure({requirement.name: found}) == "") is is_met


def test_the_docs_list_every_figure_that_can_be_required_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs/artifact.md").read_text(encoding="utf-8")
    table = page.partition("| `--require` | met if |")[2].partition("\n\n")[0]

    listed = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[:40])}
    assert listed == {*AT_LEAST, *AT_MOST}
