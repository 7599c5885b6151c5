"""From trained weights to an artifact: measured, gated, with its manifest.

Before anything is written, onnxruntime must agree with torch on test images, and each cheaper
precision with float32 within its gate. A failed gate writes nothing.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.artifact.folder import Artifact
from model.artifact.manifest import Manifest, Precision
from model.artifact.provenance import Data
from model.artifact.trust import Speed
from model.artifact.writing import write
from training.data.dataset import Dataset, random_subset
from training.errors import ExportError
from training.evaluation.metrics import draw_reliability_diagram, worse_than_softmax
from training.evaluation.predict import Predictions, TrainedNetwork, predict_split
from training.export.figures import difference, file_figures, manifest_metrics
from training.export.golden import (
    GoldenImages,
    choose_golden,
    generated_golden,
    golden_tolerance,
)
from training.export.manifest import build_manifest
from training.export.onnx_graph import Parity, Servable, check_finite, check_parity, to_onnx
from training.export.onnx_metadata import with_metadata
from training.export.options import GATE_IMAGES, Options, check_early
from training.export.precisions import (
    Variant,
    VariantMetrics,
    gate,
    leaving_out,
    make,
    measure,
    measured_predictions,
    speed_of,
)
from training.export.provenance import run_provenance
from training.export.session import ExportSession
from training.runs.folder import RunFolder
from training.runs.metrics import cost_of
from training.runs.record import RunRecord
from training.trust.drift_reference import drift_reference
from training.trust.head import FittedTrustHead, fit_trust_head
from training.trust.ood_sets import ood_sets

CALIBRATED_DIAGRAM = "reliability-calibrated.png"
"""In the run folder, beside `reliability.png`, which shows the network before calibration."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Measured:
    """A precision of the network, and its figures."""

    variant: Variant
    metrics: VariantMetrics
    speed: Speed | None


_Precisions = dict[Precision, _Measured]
"""float32 first."""


def export_checkpoint(
    trained: TrainedNetwork,
    dataset: Dataset,
    out: Path,
    options: Options | None = None,
    *,
    overwrite: bool = False,
) -> Artifact:
    """Export trained weights, with everything that the data say about them.

    Args:
        trained: Network and record of a checkpoint.
        dataset: The run's own: validation chooses, calibration sets thresholds, test measures.
        out: `<name>/<version>/`.
        options: See `Options`.
        overwrite: Replace an artifact that is there.

    Raises:
        DatasetError: If the folder of OOD images holds none.
        ExportError: If `out` cannot be an artifact's, the data are not the run's, or a gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    options = options or Options()
    check_early(out, options, overwrite=overwrite)
    _check_data(trained.record, dataset)
    measuring = dataset.splits[dataset.measuring]
    rows = random_subset(len(measuring), GATE_IMAGES)
    expected = predict_split(trained.predict(), measuring[rows]).logits
    check_finite(expected)
    log.info("fitting the calibrator and the out-of-distribution score")
    fitted = fit_trust_head(trained.normalize, trained.network, dataset, seed=trained.record.seed)
    log.info("writing the ONNX graph and comparing it with torch on %s images", f"{len(rows):,}")
    float32 = _to_session(trained, fitted, dataset, out)
    rise = worse_than_softmax(measured_predictions(float32, dataset))
    if rise is not None and dataset.measuring == "test":
        reason = f"it raised the cross-entropy of the test split {rise}"
        log.warning("calibration is left out: %s. The plain softmax is used.", reason)
        fitted = fitted.uncalibrated(reason)
        float32 = _to_session(trained, fitted, dataset, out)
    parity = check_parity(expected, float32.outputs(dataset.measuring)["logits"][rows])
    precisions = _measure_precisions(float32, dataset, fitted, options)
    precisions, golden = _with_golden(precisions, dataset, options)
    log.info("writing the artifact")
    manifest = _build_manifest(out, trained, dataset, fitted, precisions, parity, options, golden)
    models = {name: each.variant.model for name, each in precisions.items()}
    artifact = write(out, manifest, models, overwrite=overwrite)
    if trained.path.is_dir():
        predictions = precisions["float32"].metrics.predictions
        _draw_diagram(trained.path / CALIBRATED_DIAGRAM, predictions)
    return artifact


def _to_session(
    trained: TrainedNetwork, fitted: FittedTrustHead, dataset: Dataset, out: Path
) -> ExportSession:
    """Export the graph, and load it for the splits that fit and measure."""
    record = trained.record
    model = to_onnx(Servable(trained.normalize, trained.network, fitted.head), record.preprocessing)
    model = with_metadata(model, out, record.architecture, record.labels, record.preprocessing)
    names = {"validation", dataset.thresholding, dataset.measuring}
    splits = {name: dataset.splits[name] for name in names}
    return ExportSession(model, splits)


def _check_data(record: RunRecord, dataset: Dataset) -> None:
    was, found = record.preprocessing, dataset.preprocessing
    fits = (was.crop, was.channels) == (found.crop, found.channels)
    if dataset.labels != record.labels or not fits:
        raise ExportError(
            f"The run was trained on {record.dataset} ({len(record.labels)} labels, "
            f"{was.crop} pixels, {was.channels} channels); {dataset.name} has "
            f"{len(dataset.labels)} labels, {found.crop} pixels, {found.channels} channels. "
            "Name the run's own data with --data."
        )


def _measure_precisions(
    float32: ExportSession, dataset: Dataset, fitted: FittedTrustHead, options: Options
) -> _Precisions:
    """Convert to each precision, measure it, and compare its accuracy with float32's.

    Raises:
        AccuracyError: If one of them that is not optional loses more than its gate allows.
    """
    measuring = dataset.splits[dataset.measuring]
    ood = ood_sets(dataset.preprocessing, options.ood_images)
    targets = dataset.validation.targets
    found: _Precisions = {}
    for precision in options.precisions:
        log.info("%s: converting and measuring", precision)
        with leaving_out(precision, options.optional):
            variant = make(float32, precision, dataset.train, "validation", targets)
            metrics = measure(variant, dataset, fitted, ood)
            full = metrics if precision == "float32" else found["float32"].metrics
            allowed = options.gates.get(precision, 0.0)
            gate(precision, full.predictions, metrics.predictions, allowed)
            speed = speed_of(variant, float32, measuring)
            found[precision] = _Measured(variant, metrics, speed)
    return found


def _with_golden(
    precisions: _Precisions, dataset: Dataset, options: Options
) -> tuple[_Precisions, GoldenImages]:
    """Choose golden images, and leave out optional precisions that they could not check.

    Raises:
        ExportError: If there are none, or one that is not optional could not be checked.
    """
    golden = _golden(precisions, dataset, options)
    kept = {}
    for name, each in precisions.items():
        with leaving_out(name, options.optional):
            golden_tolerance(golden.probabilities, name)
            kept[name] = each
    return kept, golden


def _build_manifest(  # noqa: PLR0913, PLR0917  # all that an export has found
    out: Path,
    trained: TrainedNetwork,
    dataset: Dataset,
    fitted: FittedTrustHead,
    precisions: _Precisions,
    parity: Parity,
    options: Options,
    golden: GoldenImages,
) -> Manifest:
    record, float32 = trained.record, precisions["float32"]
    session = float32.variant.session
    validation = session.outputs("validation")
    threshold = float32.metrics.ood.threshold
    cost = cost_of(RunFolder.of(trained.path).metrics, record.environment)
    return build_manifest(
        out,
        [each.variant for each in precisions.values()],
        _figures(precisions, parity),
        golden,
        architecture=record.architecture,
        labels=record.labels,
        preprocessing=record.preprocessing,
        temperature=fitted.chosen.calibrator.temperature(),
        metrics=manifest_metrics(
            float32.metrics.predictions, record.labels, dataset.name, dataset.measuring
        ),
        provenance=run_provenance(record, cost),
        data=Data(
            licence=options.licence or dataset.licence,
            splits={name: len(split) for name, split in dataset.splits.items() if len(split)},
        ),
        calibration=fitted.chosen.record,
        refusal=fitted.detector,
        reference=drift_reference(
            validation["probabilities"], validation["score"], dataset, threshold
        ),
        head_bias=tuple(trained.network.classifier.bias.tolist()),
    )


def _figures(precisions: _Precisions, parity: Parity) -> dict[Precision, dict[str, Any]]:
    """Collect the figures of each file.

    Args:
        precisions: float32 first.
        parity: Of float32 with torch; the others are compared with float32.
    """
    full = precisions["float32"].metrics.predictions
    found = {
        name: parity if name == "float32" else difference(full, each.metrics.predictions)
        for name, each in precisions.items()
    }
    return {
        name: {**file_figures(found[name], each.metrics), "speed": each.speed}
        for name, each in precisions.items()
    }


def _golden(precisions: _Precisions, dataset: Dataset, options: Options) -> GoldenImages:
    """Choose test images for the golden answers, whose probabilities are known, or draw some."""
    if not options.samples:
        sessions = {name: each.variant.session for name, each in precisions.items()}
        return generated_golden(sessions, dataset.preprocessing)
    measuring = dataset.splits[dataset.measuring]
    predictions = {name: each.metrics.predictions for name, each in precisions.items()}
    rows = choose_golden(list(predictions.values()), measuring.targets)
    probabilities = {
        name: each.variant.session.outputs(dataset.measuring)["probabilities"][rows]
        for name, each in precisions.items()
    }
    return GoldenImages(measuring[rows].images, probabilities)


def _draw_diagram(path: Path, predictions: Predictions) -> None:
    """Draw the calibrated predictions; the artifact is complete without the figure."""
    try:
        draw_reliability_diagram(path, predictions)
    except OSError as error:
        log.warning("note: %s cannot be drawn: %s", path, error.strerror)
