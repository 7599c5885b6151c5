"""Build a manifest: files with digests and figures, golden answers, provenance."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from model.artifact.manifest import FILE_NAMES, Input, Manifest, ModelFile, Precision
from model.preprocessing import Preprocessing
from model.validation import first_fault
from training.errors import ExportError
from training.export.golden import GoldenImages, golden_answers, golden_tolerance
from training.export.precisions import Variant

Figures = Mapping[Precision, Mapping[str, Any]]
"""Precision -> fields of `ModelFile` that were measured."""


def build_manifest(  # noqa: PLR0913  # a manifest has many parts
    out: Path,
    variants: Sequence[Variant],
    figures: Figures,
    golden: GoldenImages,
    *,
    architecture: Architecture,
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    **fields: Any,
) -> Manifest:
    """Build the manifest of an artifact that will be written to `out`.

    Args:
        out: `<name>/<version>/`.
        variants: All precisions, float32 first.
        figures: Their figures.
        golden: Images and probabilities for the golden answers.
        architecture: Of the network.
        preprocessing: Of its images.
        labels: Of its outputs, in their order.
        fields: The manifest's other fields.

    Raises:
        ExportError: If the parts do not make a manifest.
    """
    image_size = preprocessing.crop
    try:
        return Manifest(
            name=out.absolute().parent.name,
            version=out.name,
            architecture=architecture,
            summary=summarize(architecture, image_size, image_size),
            input=Input(size=image_size, channels=preprocessing.channels),
            preprocessing=preprocessing,
            files={
                variant.precision: ModelFile(
                    path=FILE_NAMES[variant.precision],
                    sha256=hashlib.sha256(variant.model).hexdigest(),
                    bytes=len(variant.model),
                    golden_tolerance=golden_tolerance(golden.probabilities, variant.precision),
                    quantization=variant.quantization,
                    **figures[variant.precision],
                )
                for variant in variants
            },
            golden=golden_answers(golden, labels),
            labels=labels,
            **fields,
        )
    except ValidationError as error:
        raise ExportError(f"{out}: {first_fault(error)}") from error
