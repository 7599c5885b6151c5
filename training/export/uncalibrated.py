"""From weights without calibration data to an artifact: random weights, or pretrained ones.

The gates are those of `training.export.checkpoint`. Figures that cannot be measured are left out
of the manifest.
"""

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
from training.data.dataset import Dataset, Split
from training.errors import ExportError
from training.evaluation.metrics import accuracy
from training.evaluation.predict import Predictions, predict_split, torch_predict
from training.export.figures import difference, file_figures, manifest_metrics
from training.export.golden import GoldenImages
from training.export.manifest import build_manifest
from training.export.onnx_graph import Servable, check_finite, check_parity, to_onnx
from training.export.options import Options, check_early
from training.export.precisions import Variant, gate, make, predictions_of, speed_of
from training.export.provenance import untrained_provenance
from training.export.random_weights import build_random
from training.export.session import ExportSession

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
    expected = predict_split(predict, Split(images, torch.zeros(len(images)))).logits
    check_finite(expected)
    splits = {GATE: images}
    if dataset is not None:
        splits |= {"validation": dataset.validation.images, "test": dataset.test.images}
    float32 = ExportSession(to_onnx(servable, model.preprocessing), splits)
    parity = check_parity(expected, float32.outputs(GATE)["logits"])
    variants: list[Variant] = []
    figures: dict[Precision, dict[str, Any]] = {}
    for precision in options.precisions:
        variants.append(_make(float32, precision, images, dataset))
        found = _figures(variants[-1], float32, dataset, options)
        speed = speed_of(variants[-1], float32, images)
        figures[precision] = {**found, "speed": speed}
    figures["float32"] |= file_figures(parity, None)
    metrics = None
    if dataset is not None:
        predictions = predictions_of(float32, "test", dataset.test.targets)
        metrics = manifest_metrics(predictions, model.labels, dataset.name)
    manifest = build_manifest(
        out,
        variants,
        figures,
        _golden(variants, images),
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
    float32: ExportSession, precision: Precision, images: Tensor, dataset: Dataset | None
) -> Variant:
    """Convert a graph.

    Training and validation split choose the ranges of int8; the test split only measures. Without
    a data set, the gate's images do both, and float32's labels are the truth.
    """
    if dataset is None:
        return make(float32, precision, images, GATE, _gate_predictions(float32).targets)
    targets = dataset.validation.targets
    return make(float32, precision, dataset.train.images, "validation", targets)


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
    full = predictions_of(float32, "test", dataset.test.targets)
    reduced = predictions_of(variant.session, "test", dataset.test.targets)
    gate(variant.precision, full, reduced, options.gates.get(variant.precision, 0.0))
    return {**file_figures(difference(full, reduced), None), "top1": accuracy(reduced)}


def _golden(variants: list[Variant], images: Tensor) -> GoldenImages:
    """Choose the first images (N, S, S, C) for which all precisions predict the same label.

    Raises:
        ExportError: If there is none.
    """
    found = {each.precision: each.session.outputs(GATE)["probabilities"] for each in variants}
    tops = torch.stack([probabilities.argmax(1) for probabilities in found.values()])
    rows = (tops == tops[0]).all(0).nonzero().flatten()[:GOLDEN_IMAGES]
    if not len(rows):
        raise ExportError("The precisions agree on no image. Try other images, or float32.")
    return GoldenImages(images[rows], {name: values[rows] for name, values in found.items()})
