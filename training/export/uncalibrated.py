"""From weights that no data may calibrate to an artifact: random ones, or from elsewhere.

The gates are those of `training.export.checkpoint`; what cannot be known is left out of the
manifest.
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
from training.evaluation.metrics import top1
from training.evaluation.predict import Answers, Predict, answer, onnx_predict, torch_predict
from training.export.checkpoint import Options, measured_metrics, refuse_early
from training.export.manifest import assemble, difference, figures, untrained
from training.export.onnx_graph import Parity, Servable, check_parity, to_onnx
from training.export.precisions import Made, gate, make, speed_of
from training.export.random_weights import draw

GOLDEN = 2
"""Pictures whose answers the manifest holds."""


@dataclass(frozen=True)
class Subject:
    """Weights that were not trained here, with what has to be known to serve them."""

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
    refuse_early(out, options or Options(), overwrite=overwrite)
    preprocessing, normalize, network, pictures = draw(architecture, seed)
    subject = Subject(
        Servable(normalize, network),
        preprocessing,
        tuple(f"label {index}" for index in range(architecture.num_classes)),
        untrained(seed),
    )
    return export_uncalibrated(subject, pictures, out, options, overwrite=overwrite)


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
    servable, network = subject.servable, subject.servable.network
    float32 = to_onnx(servable, subject.preprocessing)
    expected = _answered(torch_predict(network, servable.normalize), pictures)
    full = _answered(onnx_predict(float32), pictures)  # the truth for the other precisions
    split = Split(pictures, full.targets)
    parity = check_parity(expected.logits, full.logits)
    whole = None if dataset is None else answer(onnx_predict(float32), dataset.test)
    made: list[Made] = []
    files: dict[Precision, dict[str, Any]] = {}
    right = torch.ones(len(pictures), dtype=torch.bool)
    for precision in options.precisions:
        item = make(float32, precision, *_for_ranges(dataset, split))
        reduced = answer(onnx_predict(item.model), split)
        right &= reduced.logits.argmax(1) == split.targets
        found, share = difference(full, reduced), None
        if whole is not None and dataset is not None:
            found, share = _on_test_split(item, whole, dataset, options)
        found = parity if precision == "float32" else found
        speed = speed_of(item, float32, pictures)
        files[precision] = {**figures(found, None), "speed": speed, "top1": share}
        made.append(item)
    manifest = assemble(
        out,
        made,
        files,
        _golden(pictures, right),
        architecture=network.architecture,
        labels=subject.labels,
        preprocessing=subject.preprocessing,
        temperature=1.0,
        metrics=None if whole is None else measured_metrics(whole, subject.labels, dataset),
        provenance=subject.provenance,
        head_bias=tuple(network.classifier.bias.tolist()),
    )
    return write(out, manifest, {item.precision: item.model for item in made}, overwrite=overwrite)


def _answered(predict: Predict, pictures: Tensor) -> Answers:
    """Answer pictures whose labels nobody knows: what comes out is their target, too."""
    logits = answer(predict, Split(pictures, torch.zeros(len(pictures)))).logits
    return Answers(logits, logits.argmax(1))


def _on_test_split(
    made: Made, whole: Answers, dataset: Dataset, options: Options
) -> tuple[Parity, float]:
    """Hold a precision against float32 on the whole test split; give its top-1, too.

    Raises:
        AccuracyError: If it loses more than its gate allows.
    """
    answers = answer(onnx_predict(made.model), dataset.test)
    gate(made.precision, whole, answers, options.gates.get(made.precision, 0.0))
    return difference(whole, answers), top1(answers)


def _golden(pictures: Tensor, right: Tensor) -> Tensor:
    """Choose the first pictures (N, S, S, C) that all precisions answer alike, bool (N,).

    Raises:
        ExportError: If there is none.
    """
    if not right.any():
        raise ExportError("The precisions agree on no picture. Try other pictures, or float32.")
    return pictures[right][:GOLDEN]


def _for_ranges(dataset: Dataset | None, split: Split) -> tuple[Tensor, Split]:
    """Give the pictures that find int8's ranges, and the split that chooses between calibrators.

    The test split does neither: it measures. Without a data set there are only the gate's.
    """
    return (split.images, split) if dataset is None else (dataset.train.images, dataset.validation)
