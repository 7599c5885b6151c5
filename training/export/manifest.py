"""Put a manifest together: files with digests and figures, golden answers, provenance."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from model.artifact.golden import pack
from model.artifact.manifest import (
    FILE_NAMES,
    MAX_TOLERANCE,
    Golden,
    Input,
    Manifest,
    ModelFile,
    Name,
    Precision,
    Version,
)
from model.artifact.provenance import Cost, Provenance
from model.artifact.writing import check_free
from model.preprocessing import Preprocessing
from model.validation import first_fault
from training.errors import ExportError
from training.evaluation.predict import Answers, onnx_outputs, onnx_session
from training.export.onnx_graph import OPSET, Parity
from training.export.precisions import Made, Measured
from training.recipe.presets import RECIPES
from training.recipe.recipe import Recipe
from training.runs.environment import commit, now
from training.runs.record import RunRecord

GOLDEN_MARGIN = 2.0
"""A cheaper precision may be this many times as far from float32 as it was at export ..."""
GOLDEN_FLOOR = 0.01
"""... and this much more."""
GOLDEN_PICTURES = 10

Figures = Mapping[Precision, Mapping[str, Any]]
"""Precision -> fields of `ModelFile` that were measured."""


def difference(full: Answers, reduced: Answers) -> Parity:
    """Hold a precision's answers against float32's."""
    same = full.calibrated().argmax(1) == reduced.calibrated().argmax(1)
    return Parity(
        max_abs_logit_error=(full.logits - reduced.logits).abs().max().item(),
        top1_agreement=same.double().mean().item(),
    )


def figures(found: Parity, measured: Measured | None) -> dict[str, Any]:
    """Collect a file's figures under the manifest's names."""
    fields: dict[str, Any] = {
        "max_abs_logit_error": found.max_abs_logit_error,
        "top1_agreement": found.top1_agreement,
    }
    if measured is not None:
        answers = measured.answers
        right = answers.calibrated().argmax(1) == answers.targets
        fields |= {
            "top1": round(right.double().mean().item(), 6),
            "calibration": measured.calibration,
            "prediction_sets": measured.prediction_sets,
            "refusal": measured.refusal,
        }
    return fields


def refuse_place(out: Path, *, overwrite: bool) -> None:
    """Say early that no artifact could be written to a folder.

    Raises:
        ExportError: If the folder's name cannot be an artifact's.
        ArtifactExistsError: If something is there already, and `overwrite` is off.
    """
    name = out.absolute().parent.name
    if not _is_a(Version, out.name):
        raise ExportError(
            f"{out}: the version (={out.name!r}), the last part of --out, must be a whole number "
            "from 1 on: artifacts/shoes/1."
        )
    if not _is_a(Name, name):
        raise ExportError(
            f"{out}: the name (={name!r}), the part of --out before the version, must be 1 to 64 "
            "letters of the English alphabet, digits, '_', '.' and '-': artifacts/shoes/1."
        )
    check_free(out, overwrite=overwrite)


def _is_a(form: Any, text: str) -> bool:
    try:
        TypeAdapter(form).validate_python(text)
    except ValidationError:
        return False
    return True


def assemble(  # noqa: PLR0913  # a manifest has many parts
    out: Path,
    made: Sequence[Made],
    measured: Figures,
    shown: Tensor,
    *,
    architecture: Architecture,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    **fields: Any,
) -> Manifest:
    """Build the manifest of an artifact that is to be written to `out`.

    Args:
        out: `<name>/<version>/`.
        made: All precisions, float32 first.
        measured: Their figures.
        shown: Pictures for the golden answers, uint8 (N, S, S, C).
        architecture: Of the network.
        preprocessing: Its own.
        labels: Of the network's outputs, in their order.
        fields: The manifest's other fields.

    Raises:
        ExportError: If the parts do not make a manifest.
    """
    side = preprocessing.crop
    answers = {item.precision: _probabilities(item.model, shown) for item in made}
    try:
        return Manifest(
            name=out.absolute().parent.name,
            version=out.name,
            architecture=architecture,
            summary=summarize(architecture, side, side),
            input=Input(size=side, channels=preprocessing.channels),
            preprocessing=preprocessing,
            files={
                item.precision: ModelFile(
                    path=FILE_NAMES[item.precision],
                    sha256=hashlib.sha256(item.model).hexdigest(),
                    bytes=len(item.model),
                    golden_tolerance=_tolerance(answers, item.precision),
                    quantization=item.quantization,
                    **measured[item.precision],
                )
                for item in made
            },
            golden=_golden(shown, answers["float32"], labels),
            labels=labels,
            **fields,
        )
    except ValidationError as error:
        raise ExportError(f"{out}: {first_fault(error)}") from error


def one_of_each(answers: Sequence[Answers], targets: Tensor) -> list[int]:
    """Choose pictures to check by: for each label the first that every precision answers right.

    Where there is none at all, one that they answer alike, which is what the server checks.

    Raises:
        ExportError: If there is none of those either.
    """
    tops = torch.stack([each.calibrated().argmax(1) for each in answers])
    alike = (tops == tops[0]).all(0)
    right = alike & (tops[0] == targets)
    firsts = [
        int((right & (targets == label)).nonzero()[0])
        for label in sorted(set(targets[right].tolist()))
    ]
    firsts = firsts or alike.nonzero()[:1].flatten().tolist()
    if not firsts:
        raise ExportError("The precisions agree on no test picture. Export float32 alone.")
    return firsts[:GOLDEN_PICTURES]


def trained(record: RunRecord, cost: Cost | None) -> Provenance:
    """Say what a run was that trained the weights."""
    return Provenance(
        recipe=record.recipe.name,
        changes=_changes(record.recipe),
        cost=cost,
        weights=record.weights,
        seed=record.seed,
        dataset_sha256=record.dataset_sha256,
        commit=record.commit,
        torch=record.torch,
        onnx_opset=OPSET,
        created=now(),
    )


def _changes(recipe: Recipe) -> dict[str, bool | float | str | None]:
    """Give the fields that are not as the recipe of this name has them."""
    usual = RECIPES.get(recipe.name)
    return {
        field: value
        for field, value in recipe.model_dump(exclude={"name"}).items()
        if usual is None or value != getattr(usual, field)
    }


def untrained(seed: int, weights: str | None = None) -> Provenance:
    """Say that no run of ours trained the weights, and what wrote the file.

    Args:
        seed: Of what was drawn.
        weights: The file they come from, if they do.
    """
    return Provenance(
        recipe=None,
        weights=weights,
        seed=seed,
        dataset_sha256=None,
        commit=commit(),
        torch=torch.__version__,
        onnx_opset=OPSET,
        created=now(),
    )


def _probabilities(model: bytes, pictures: Tensor) -> Tensor:
    return onnx_outputs(onnx_session(model), pictures, ("probabilities",))["probabilities"]


def _golden(pictures: Tensor, probabilities: Tensor, labels: Sequence[str]) -> tuple[Golden, ...]:
    return tuple(
        Golden(
            png=pack(image),
            top1=(top1 := int(row.argmax())),
            label=labels[top1] if top1 < len(labels) else None,
            probabilities=tuple(round(float(value), 6) for value in row),
        )
        for image, row in zip(pictures.numpy(), probabilities, strict=True)
    )


def _tolerance(answers: Mapping[Precision, Tensor], precision: Precision) -> float:
    """Allow float32 the rounding of another processor, and the others what they showed here."""
    most = MAX_TOLERANCE[precision]
    if precision == "float32":
        return most
    error = (answers[precision] - answers["float32"]).abs().max().item()
    if not error <= most:  # `not <=` also stops a NaN
        seen = f"A probability of {precision} differs from float32's by {error:.2g}"
        raise ExportError(f"{seen} (allowed: {most:g}). Leave {precision} out.")
    return min(most, round(GOLDEN_FLOOR + GOLDEN_MARGIN * error, 4))
