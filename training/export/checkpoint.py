"""From trained weights to an artifact: measured, gated, with its manifest.

Before anything is written, onnxruntime must agree with torch on real pictures, and each
cheaper precision with float32 within its gate; a failed gate writes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.artifact.folder import Artifact
from model.artifact.manifest import Metrics, Precision
from model.artifact.provenance import Data
from model.artifact.trust import Diagrams, Speed
from model.artifact.writing import write
from training.data.dataset import Dataset, spread
from training.errors import ExportError
from training.evaluation.metrics import bins, draw_answers, evaluate
from training.evaluation.predict import Answers, answer, load_network, onnx_predict, torch_predict
from training.export.manifest import (
    assemble,
    difference,
    figures,
    one_of_each,
    refuse_place,
    trained,
)
from training.export.onnx_graph import Parity, Servable, check_parity, to_onnx
from training.export.precisions import GATES, Made, Measured, gate, make, measure, speed_of
from training.runs.folder import RunFolder
from training.runs.metrics import cost_of
from training.runs.record import RunRecord
from training.trust.drift_reference import sum_up
from training.trust.head import Fitted, fit_judge
from training.trust.ood_sets import refuse_without_photographs, strange_sets

GATE_PICTURES = 1_000
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
        licence: Of the data, for the model card; None: what the data set itself says.
    """

    precisions: tuple[Precision, ...] = ("float32",)
    gates: Mapping[Precision, float] = field(default_factory=lambda: GATES)
    photographs: Path | None = None
    licence: str | None = None


def refuse_early(out: Path, options: Options, *, overwrite: bool) -> None:
    """Refuse before any work what would be refused after it.

    Raises:
        ExportError: If the folder's name cannot be an artifact's.
        ArtifactExistsError: If something is there already, and `overwrite` is off.
        DatasetError: If there is no photograph where there should be some.
    """
    refuse_place(out, overwrite=overwrite)
    if options.photographs is not None:
        refuse_without_photographs(options.photographs)


def export_checkpoint(  # noqa: PLR0913  # what, measured on what, where, how, who hears of it
    checkpoint: Path,
    dataset: Dataset,
    out: Path,
    options: Options | None = None,
    *,
    overwrite: bool = False,
    tell: Callable[[str], None] = print,
) -> Artifact:
    """Export trained weights, with everything that the data say about them.

    Args:
        checkpoint: A `.ckpt` file, or a run folder for its best one.
        dataset: What the run was trained on: validation fits and chooses, test measures.
        out: `<name>/<version>/`.
        options: See `Options`.
        overwrite: Replace an artifact that is there.
        tell: Hears what could not be written beside the artifact.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        DatasetError: If there is no photograph where there should be some.
        ExportError: If `out` cannot be an artifact's, the data are not the run's, or a gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    options = options or Options()
    refuse_early(out, options, overwrite=overwrite)
    record, normalize, network = load_network(checkpoint)
    _refuse_other_data(record, dataset)
    predict = torch_predict(network, normalize)
    first = dataset.test[spread(len(dataset.test), GATE_PICTURES)]
    expected = answer(predict, first).logits
    check_parity(expected, expected)  # weights that overflow must not get as far as the fits
    fitted = fit_judge(normalize, network, dataset, seed=record.seed)
    float32 = to_onnx(Servable(normalize, network, fitted.judge), record.preprocessing)
    parity = check_parity(expected, answer(onnx_predict(float32), first).logits)
    every = _every_precision(float32, record, dataset, fitted, options)
    measured = every.measured["float32"]
    told = [each.answers for each in every.measured.values()]
    manifest = assemble(
        out,
        every.made,
        every.figures(parity),
        dataset.test.images[one_of_each(told, dataset.test.targets)],
        architecture=record.architecture,
        labels=record.labels,
        preprocessing=record.preprocessing,
        temperature=fitted.chosen.calibrator.temperature(),
        metrics=measured_metrics(measured.answers, record.labels, dataset),
        provenance=trained(record, cost_of(RunFolder.of(checkpoint).metrics, record.environment)),
        data=_known_of(dataset, options.licence),
        calibration=fitted.chosen.record,
        refusal=fitted.refusal,
        reference=sum_up(float32, dataset, measured.refusal.threshold),
        head_bias=tuple(network.classifier.bias.tolist()),
    )
    artifact = write(out, manifest, every.models(), overwrite=overwrite)
    if checkpoint.is_dir():
        _draw_beside(checkpoint / CALIBRATED, measured.answers, tell)
    return artifact


def _draw_beside(path: Path, answers: Answers, tell: Callable[[str], None]) -> None:
    """Draw the calibrated answers; the artifact, which was asked for, is there without it."""
    try:
        draw_answers(path, answers)
    except OSError as error:
        tell(f"note: {path} cannot be drawn: {error.strerror}")


def _known_of(dataset: Dataset, licence: str | None) -> Data:
    return Data(
        licence=licence or dataset.licence,
        splits={name: len(split) for name, split in dataset.splits.items()},
    )


@dataclass(frozen=True)
class _Every:
    """All precisions of a network, float32 first, and what each is worth."""

    made: list[Made]
    measured: dict[Precision, Measured]
    speeds: dict[Precision, Speed | None]

    def models(self) -> dict[Precision, bytes]:
        """Give the graphs."""
        return {item.precision: item.model for item in self.made}

    def figures(self, parity: Parity) -> dict[Precision, dict[str, Any]]:
        """Name them as the manifest does.

        Args:
            parity: Of float32 with torch; the others are held against float32.
        """
        full = self.measured["float32"].answers
        found = {
            precision: parity if precision == "float32" else difference(full, each.answers)
            for precision, each in self.measured.items()
        }
        return {
            precision: {**figures(found[precision], each), "speed": self.speeds[precision]}
            for precision, each in self.measured.items()
        }


def _every_precision(
    float32: bytes, record: RunRecord, dataset: Dataset, fitted: Fitted, options: Options
) -> _Every:
    """Make each precision, measure it, and hold it against float32's accuracy.

    Raises:
        AccuracyError: If one of them loses more than its gate allows.
    """
    strange = strange_sets(dataset.test.images, record.preprocessing, options.photographs)
    made: list[Made] = []
    measured: dict[Precision, Measured] = {}
    speeds: dict[Precision, Speed | None] = {}
    for precision in options.precisions:
        item = make(float32, precision, dataset.train.images, dataset.validation)
        measured[precision] = measure(item, dataset, fitted, strange)
        full, reduced = measured["float32"].answers, measured[precision].answers
        gate(precision, full, reduced, options.gates.get(precision, 0.0))
        speeds[precision] = speed_of(item, float32, dataset.test.images)
        made.append(item)
    return _Every(made, measured, speeds)


def measured_metrics(answers: Answers, labels: tuple[str, ...], dataset: Dataset | None) -> Metrics:
    """Count what a manifest says of float32's answers to the whole test split."""
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
