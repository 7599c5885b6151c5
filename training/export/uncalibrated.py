"""From weights without calibration data to an artifact: random weights, or pretrained ones.

The gates are those of `training.export.checkpoint`. Figures that cannot be measured are left out
of the manifest.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.architecture.spec import Architecture
from model.artifact.folder import Artifact
from model.artifact.manifest import Precision
from model.artifact.provenance import Provenance
from model.artifact.writing import write
from model.preprocessing import Preprocessing
from training.data.dataset import Dataset, MemorySplit, Split
from training.errors import ExportError
from training.evaluation.metrics import accuracy
from training.evaluation.predict import Predictions, predict_split, torch_predict
from training.export.figures import difference, file_figures, manifest_metrics
from training.export.golden import GoldenImages, generated_golden
from training.export.manifest import build_manifest
from training.export.onnx_graph import Servable, check_finite, check_parity, to_onnx
from training.export.onnx_metadata import with_metadata
from training.export.options import Options, check_early
from training.export.precisions import (
    Variant,
    gate,
    leaving_out,
    make,
    measured_predictions,
    predictions_of,
    speed_of,
)
from training.export.provenance import untrained_provenance
from training.export.random_weights import build_random
from training.export.session import ExportSession

log = logging.getLogger(__name__)
GOLDEN_IMAGES = 2
"""Golden answers of the manifest."""
GATE = "gate"
"""Name of the images on which onnxruntime must agree with torch."""


@dataclass(frozen=True)
class UncalibratedModel:
    """Weights that were not trained here, and what is needed to serve them."""

    servable: Servable
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    provenance: Provenance


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
        ExportError: If `out` cannot be an artifact's, or the gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    check_early(out, options or Options(), overwrite=overwrite)
    preprocessing, normalize, network, images = build_random(architecture, seed)
    model = UncalibratedModel(
        Servable(normalize, network),
        preprocessing,
        tuple(f"label {index}" for index in range(architecture.num_classes)),
        untrained_provenance(seed),
    )
    return export_uncalibrated(model, images, out, options, overwrite=overwrite)


def export_uncalibrated(  # noqa: PLR0913  # what, of what, where, how
    model: UncalibratedModel,
    images: Tensor,
    out: Path,
    options: Options | None = None,
    *,
    dataset: Dataset | None = None,
    overwrite: bool = False,
) -> Artifact:
    """Export a network without a calibrator: there are no data that may fit one.

    Args:
        model: The network.
        images: For the gate and the golden answers, uint8 (N, S, S, C).
        out: `<name>/<version>/`.
        options: See `Options`.
        dataset: Its test split is measured; None: nothing is.
        overwrite: Replace an artifact that is there.

    Raises:
        ExportError: If a gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    options = options or Options()
    servable, network = model.servable, model.servable.network
    predict = torch_predict(network, servable.normalize)
    gated = MemorySplit(images, torch.zeros(len(images)))
    expected = predict_split(predict, gated).logits
    check_finite(expected)
    splits: dict[str, Split] = {GATE: gated}
    if dataset is not None:
        splits |= {name: dataset.splits[name] for name in ("validation", dataset.measuring)}
    content = to_onnx(servable, model.preprocessing)
    content = with_metadata(content, out, network.architecture, model.labels, model.preprocessing)
    float32 = ExportSession(content, splits)
    parity = check_parity(expected, float32.outputs(GATE)["logits"])
    variants: list[Variant] = []
    figures: dict[Precision, dict[str, Any]] = {}
    for precision in options.precisions:
        log.info("%s: converting and measuring", precision)
        with leaving_out(precision, options.optional):
            variant = _make(float32, precision, gated, dataset)
            found = _figures(variant, float32, dataset, options)
            figures[precision] = {**found, "speed": speed_of(variant, float32, gated)}
            variants.append(variant)
    golden = _golden(variants, images, generated=dataset is None)
    if not options.samples:
        sessions = {each.precision: each.session for each in variants}
        golden = generated_golden(sessions, model.preprocessing)
    figures["float32"] |= file_figures(parity, None)
    metrics = None
    if dataset is not None:
        predictions = measured_predictions(float32, dataset)
        metrics = manifest_metrics(predictions, model.labels, dataset.name, dataset.measuring)
    manifest = build_manifest(
        out,
        variants,
        figures,
        golden,
        architecture=network.architecture,
        labels=model.labels,
        preprocessing=model.preprocessing,
        temperature=1.0,
        metrics=metrics,
        provenance=model.provenance,
        head_bias=tuple(network.classifier.bias.tolist()),
    )
    models = {variant.precision: variant.model for variant in variants}
    return write(out, manifest, models, overwrite=overwrite)


def _make(
    float32: ExportSession, precision: Precision, images: Split, dataset: Dataset | None
) -> Variant:
    """Convert a graph.

    Training and validation split choose the ranges of int8; the test split only measures. Without
    a data set, the gate's images do both, and float32's labels are the truth.
    """
    if dataset is None:
        return make(float32, precision, images, GATE, _gate_predictions(float32).targets)
    targets = dataset.validation.targets
    return make(float32, precision, dataset.train, "validation", targets)


def _gate_predictions(session: ExportSession, float32: ExportSession | None = None) -> Predictions:
    """Return the predictions for the gate's images; float32's labels are the targets."""
    targets = (float32 or session).outputs(GATE)["logits"].argmax(1)
    return predictions_of(session, GATE, targets)


def _figures(
    variant: Variant, float32: ExportSession, dataset: Dataset | None, options: Options
) -> dict[str, Any]:
    """Compare a precision with float32, on the test split if there is one.

    Raises:
        AccuracyError: If it loses more accuracy than its gate allows.
    """
    if dataset is None:
        full = _gate_predictions(float32)
        reduced = _gate_predictions(variant.session, float32)
        return {**file_figures(difference(full, reduced), None), "top1": None}
    full = measured_predictions(float32, dataset)
    reduced = measured_predictions(variant.session, dataset)
    gate(variant.precision, full, reduced, options.gates.get(variant.precision, 0.0))
    return {**file_figures(difference(full, reduced), None), "top1": accuracy(reduced)}


def _golden(variants: list[Variant], images: Tensor, *, generated: bool) -> GoldenImages:
    """Choose the first images (N, S, S, C) for which all precisions predict the same label.

    Raises:
        ExportError: If there is none.
    """
    found = {each.precision: each.session.outputs(GATE)["probabilities"] for each in variants}
    tops = torch.stack([probabilities.argmax(1) for probabilities in found.values()])
    rows = (tops == tops[0]).all(0).nonzero().flatten()[:GOLDEN_IMAGES]
    if not len(rows):
        raise ExportError(
            "The precisions give the same label for no image. Use other images, or export "
            "only float32."
        )
    probabilities = {name: values[rows] for name, values in found.items()}
    return GoldenImages(images[rows], probabilities, generated)
