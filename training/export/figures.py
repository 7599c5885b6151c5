"""The figures of an export under the manifest's names."""

from typing import Any

from model.artifact.manifest import Metrics
from model.artifact.trust import Diagrams
from training.evaluation.metrics import accuracy, evaluate, reliability_bins
from training.evaluation.predict import Predictions
from training.export.onnx_graph import Parity
from training.export.precisions import VariantMetrics

MAX_CONFUSION_LABELS = 100
"""With more labels the manifest has no confusion matrix: its counts would dwarf the rest."""


def manifest_metrics(
    predictions: Predictions, labels: tuple[str, ...], dataset: str, split: str
) -> Metrics:
    """Compute float32's figures on a whole split.

    Args:
        predictions: Of the split.
        labels: In the order of the targets.
        dataset: Name of the data set.
        split: Name of the split.
    """
    whole = evaluate(predictions, labels=labels, dataset=dataset, split=split)
    figures = whole.model_dump(include=set(Metrics.model_fields))
    if len(labels) > MAX_CONFUSION_LABELS:
        figures["confusion"] = None
    diagrams = Diagrams(
        before=reliability_bins(predictions.logits.softmax(1), predictions.targets),
        after=reliability_bins(predictions.calibrated(), predictions.targets),
    )
    return Metrics(**figures, reliability=diagrams)


def difference(float32: Predictions, reduced: Predictions) -> Parity:
    """Compare a precision's predictions with float32's."""
    same = float32.calibrated().argmax(1) == reduced.calibrated().argmax(1)
    return Parity(
        max_abs_logit_error=(float32.logits - reduced.logits).abs().max().item(),
        top1_agreement=same.double().mean().item(),
    )


def file_figures(parity: Parity, metrics: VariantMetrics | None) -> dict[str, Any]:
    """Collect the figures of one file.

    Args:
        parity: With torch for float32, with float32 for the others.
        metrics: None: there is no data to measure with.
    """
    fields: dict[str, Any] = {
        "max_abs_logit_error": parity.max_abs_logit_error,
        "top1_agreement": parity.top1_agreement,
    }
    if metrics is not None:
        fields |= {
            "top1": round(accuracy(metrics.predictions), 6),
            "calibration": metrics.calibration,
            "prediction_sets": metrics.prediction_sets,
            "refusal": metrics.ood,
        }
    return fields
