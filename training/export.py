"""From trained or random weights to an artifact: measured, gated, with its manifest.

Before anything is written, onnxruntime must agree with torch on real pictures, and each
cheaper precision with float32 within its gate; a failed gate writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.architecture import Architecture
from model.artifact import Artifact, refuse_taken, write
from model.manifest import Metrics, Precision, Provenance
from model.preprocessing import Preprocessing
from model.summary import summarize
from model.trust import Diagrams
from training.assemble import assemble, difference, figures, one_of_each, provenance
from training.datasets.dataset import Dataset, Split
from training.evaluate import bins, draw_answers, evaluate
from training.graph import ExportError, Parity, Servable, check_parity, to_onnx
from training.judge import fit_judge
from training.precisions import GATES, Made, Measured, gate, make, measure, speed_of
from training.predict import Answers, Predict, answer, load_network, onnx_predict, torch_predict
from training.random_weights import draw
from training.reference import sum_up
from training.run import RunRecord
from training.strange import strange_sets

GATE_PICTURES = 1_000
GOLDEN_OF_UNCALIBRATED = 2
MOST_CONFUSABLE = 100
"""Labels up to which the manifest keeps the confusion matrix."""
CALIBRATED = "reliability-calibrated.png"
"""In the run folder, beside `reliability.png`, which shows the network before calibration."""


@dataclass(frozen=True)
class Options:
    """What the person who exports may decide.

    Attributes:
        precisions: float32 first.
        gates: Points of top-1 that each precision may lose.
        photographs: A folder of pictures of anything else, to measure refusal with.
    """

    precisions: tuple[Precision, ...] = ("float32",)
    gates: Mapping[Precision, float] = field(default_factory=lambda: GATES)
    photographs: Path | None = None


def export_checkpoint(
    checkpoint: Path,
    dataset: Dataset,
    out: Path,
    options: Options | None = None,
    *,
    overwrite: bool = False,
) -> Artifact:
    """Export trained weights, with everything that the data say about them.

    Args:
        checkpoint: A `.ckpt` file, or a run folder for its best one.
        dataset: What the run was trained on: validation fits and chooses, test measures.
        out: `<name>/<version>/`.
        options: See `Options`.
        overwrite: Replace an artifact that is there.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        ExportError: If the data are not the run's, or a gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    options = options or Options()
    refuse_taken(out, overwrite=overwrite)
    record, normalize, network = load_network(checkpoint)
    _refuse_other_data(record, dataset)
    predict, first = torch_predict(network, normalize), dataset.test[:GATE_PICTURES]
    expected = answer(predict, first).logits
    check_parity(expected, expected)  # weights that overflow must not get as far as the fits
    fitted = fit_judge(normalize, network, dataset, seed=record.seed)
    float32 = to_onnx(Servable(normalize, network, fitted.judge), record.preprocessing)
    parity = check_parity(expected, answer(onnx_predict(float32), first).logits)
    strange = strange_sets(dataset.test.images, record.preprocessing, options.photographs)
    side = record.preprocessing.crop
    macs = summarize(record.architecture, side, side).macs
    made: list[Made] = []
    files: dict[Precision, dict[str, Any]] = {}
    measured: dict[Precision, Measured] = {}
    for precision in options.precisions:
        made.append(make(float32, precision, dataset.train.images, dataset.validation))
        measured[precision] = measure(made[-1].model, dataset, fitted, strange)
        full, reduced = measured["float32"].answers, measured[precision].answers
        gate(precision, full, reduced, options.gates.get(precision, 0.0))
        found = parity if precision == "float32" else difference(full, reduced)
        speed = speed_of(made[-1], float32, dataset.test.images, macs)
        files[precision] = {**figures(found, measured[precision]), "speed": speed}
    answers = measured["float32"].answers
    shown = one_of_each([each.answers for each in measured.values()], dataset.test.targets)
    manifest = assemble(
        out,
        made,
        files,
        dataset.test.images[shown],
        architecture=record.architecture,
        labels=record.labels,
        preprocessing=record.preprocessing,
        temperature=fitted.chosen.calibrator.temperature(),
        metrics=_metrics(answers, record.labels, dataset),
        provenance=provenance(
            record.seed,
            recipe=record.recipe.name,
            dataset_sha256=dataset.sha256,
            weights=record.weights,
        ),
        calibration=fitted.chosen.record,
        refusal=fitted.refusal,
        reference=sum_up(float32, dataset, measured["float32"].refusal.threshold),
        head_bias=tuple(network.classifier.bias.tolist()),
    )
    models = {item.precision: item.model for item in made}
    artifact = write(out, manifest, models, overwrite=overwrite)
    if checkpoint.is_dir():
        draw_answers(checkpoint / CALIBRATED, answers)
    return artifact


def export_random(
    architecture: Architecture,
    out: Path,
    options: Options | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
) -> Artifact:
    """Export seeded random weights, to serve and load-test any member of the family.

    Raises:
        ExportError: If the gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    refuse_taken(out, overwrite=overwrite)
    preprocessing, normalize, network, pictures = draw(architecture, seed)
    subject = Subject(
        Servable(normalize, network),
        preprocessing,
        tuple(f"label {index}" for index in range(architecture.num_classes)),
        provenance(seed),
    )
    return export_uncalibrated(subject, pictures, out, options, overwrite=overwrite)


@dataclass(frozen=True)
class Subject:
    """Weights that were not trained here, with what has to be known to serve them."""

    servable: Servable
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    provenance: Provenance


def export_uncalibrated(  # noqa: PLR0913  # what, of what, where, how
    subject: Subject,
    pictures: Tensor,
    out: Path,
    options: Options | None = None,
    *,
    dataset: Dataset | None = None,
    overwrite: bool = False,
) -> Artifact:
    """Export a network without a calibrator: there is nothing that may fit one.

    Args:
        subject: The network.
        pictures: For the gate and the golden answers, uint8 (N, S, S, C).
        out: `<name>/<version>/`.
        options: See `Options`.
        dataset: Its test split is measured, if there is one.
        overwrite: Replace an artifact that is there.

    Raises:
        ExportError: If a gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    options = options or Options()
    servable, preprocessing = subject.servable, subject.preprocessing
    network, side = servable.network, preprocessing.crop
    float32 = to_onnx(servable, preprocessing)
    full = answer(onnx_predict(float32), Split(pictures, torch.zeros(len(pictures))))
    split = Split(pictures, full.logits.argmax(1))  # float32's answers are the truth here
    parity = _parity(torch_predict(network, servable.normalize), float32, split)
    macs = summarize(network.architecture, side, side).macs
    whole = None if dataset is None else answer(onnx_predict(float32), dataset.test)
    made: list[Made] = []
    files: dict[Precision, dict[str, Any]] = {}
    right = torch.ones(len(pictures), dtype=torch.bool)
    for precision in options.precisions:
        made.append(make(float32, precision, *_for_ranges(dataset, split)))
        predict = onnx_predict(made[-1].model)
        reduced, top1 = answer(predict, split), None
        right &= reduced.logits.argmax(1) == split.targets
        found = difference(full, reduced)
        if whole is not None and dataset is not None:
            answers = answer(predict, dataset.test)
            gate(precision, whole, answers, options.gates.get(precision, 0.0))
            found, top1 = difference(whole, answers), _top1(answers)
        found = parity if precision == "float32" else found
        speed = speed_of(made[-1], float32, pictures.repeat(4, 1, 1, 1), macs)
        files[precision] = {**figures(found, None), "speed": speed, "top1": top1}
    if not right.any():
        raise ExportError("The precisions agree on no picture. Try other pictures, or float32.")
    manifest = assemble(
        out,
        made,
        files,
        pictures[right][:GOLDEN_OF_UNCALIBRATED],
        architecture=network.architecture,
        labels=subject.labels,
        preprocessing=preprocessing,
        temperature=1.0,
        metrics=None if whole is None else _metrics(whole, subject.labels, dataset),
        provenance=subject.provenance,
        head_bias=tuple(network.classifier.bias.tolist()),
    )
    models = {item.precision: item.model for item in made}
    return write(out, manifest, models, overwrite=overwrite)


def _for_ranges(dataset: Dataset | None, split: Split) -> tuple[Tensor, Split]:
    """Give the pictures that find int8's ranges, and the split that chooses between calibrators.

    The test split does neither: it measures. Without a data set there are only the gate's.
    """
    return (split.images, split) if dataset is None else (dataset.train.images, dataset.validation)


def _top1(answers: Answers) -> float:
    return round((answers.logits.argmax(1) == answers.targets).double().mean().item(), 6)


def _metrics(answers: Answers, labels: tuple[str, ...], dataset: Dataset | None) -> Metrics:
    name = "unknown" if dataset is None else dataset.name
    whole = evaluate(answers, labels=labels, dataset=name, split="test")
    figures = whole.model_dump(include=set(Metrics.model_fields))
    if len(labels) > MOST_CONFUSABLE:  # a million counts would dwarf the rest of the manifest
        figures["confusion"] = None
    diagrams = Diagrams(
        before=bins(answers.logits.softmax(1), answers.targets),
        after=bins(answers.calibrated(), answers.targets),
    )
    return Metrics(**figures, reliability=diagrams)


def _refuse_other_data(record: RunRecord, dataset: Dataset) -> None:
    was, found = record.preprocessing, dataset.preprocessing
    fits = (was.crop, was.channels) == (found.crop, found.channels)
    if dataset.labels != record.labels or not fits:
        raise ExportError(
            f"The run was trained on {record.dataset} ({len(record.labels)} labels, "
            f"{was.crop} pixels, {was.channels} channels); {dataset.name} has "
            f"{len(dataset.labels)} labels, {found.crop} pixels, {found.channels} channels. "
            "Name the run's own data with --data."
        )


def _parity(predict: Predict, model: bytes, split: Split) -> Parity:
    """Hold onnxruntime against torch on some pictures."""
    return check_parity(answer(predict, split).logits, answer(onnx_predict(model), split).logits)
