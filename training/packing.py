"""An ONNX file and what is known of it, packed as an artifact.

`training.export` measures and gates; this room writes the manifest.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from model.architecture import Architecture
from model.artifact import Artifact, pack, write
from model.manifest import (
    FILE_NAMES,
    Golden,
    Input,
    Manifest,
    Metrics,
    ModelFile,
    Precision,
    Provenance,
)
from model.preprocessing import Preprocessing
from model.summary import summarize
from training.evaluate import onnx_session
from training.graph import OPSET, ExportError, Parity
from training.run import commit, now

GOLDEN_TOLERANCE = 1e-3


def golden(model: bytes, pictures: Tensor) -> tuple[Golden, ...]:
    """Ask the very file that is written about some pictures, uint8 (N, S, S, C)."""
    images = pictures.numpy()  # uint8 (N, S, S, C)
    probabilities: NDArray[np.float32]
    (probabilities,) = onnx_session(model).run(["probabilities"], {"images": images})
    return tuple(
        Golden(
            png=pack(image),
            top1=int(row.argmax()),
            probabilities=tuple(round(float(value), 6) for value in row),
        )
        for image, row in zip(images, probabilities, strict=True)
    )


def provenance(
    seed: int,
    *,
    recipe: str | None = None,
    dataset_sha256: str | None = None,
    weights: str | None = None,
) -> Provenance:
    """Say where the weights came from, and what wrote the file."""
    return Provenance(
        recipe=recipe,
        seed=seed,
        dataset_sha256=dataset_sha256,
        weights=weights,
        commit=commit(),
        torch=torch.__version__,
        onnx_opset=OPSET,
        created=now(),
    )


@dataclass(frozen=True)
class Export:
    """What `write_export` puts into a manifest, under the manifest's names."""

    architecture: Architecture
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    temperature: float
    model: bytes
    parity: Parity
    metrics: Metrics | None
    golden: tuple[Golden, ...]
    provenance: Provenance


def write_export(out: Path, export: Export, *, overwrite: bool) -> Artifact:
    """Build the manifest and write the folder."""
    side = export.preprocessing.crop
    precision: Precision = "float32"
    file = ModelFile(
        path=FILE_NAMES[precision],
        sha256=hashlib.sha256(export.model).hexdigest(),
        bytes=len(export.model),
        top1=export.metrics.top1 if export.metrics else None,
        max_abs_logit_error=export.parity.max_abs_logit_error,
        top1_agreement=export.parity.top1_agreement,
        golden_tolerance=GOLDEN_TOLERANCE,
    )
    try:
        manifest = Manifest(
            name=out.absolute().parent.name,
            version=out.name,
            architecture=export.architecture,
            summary=summarize(export.architecture, side, side),
            labels=export.labels,
            input=Input(size=side, channels=export.preprocessing.channels),
            preprocessing=export.preprocessing,
            temperature=export.temperature,
            files={precision: file},
            metrics=export.metrics,
            golden=export.golden,
            provenance=export.provenance,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ExportError(f"{out}: {first['loc'][0]}: {first['msg']}.") from error
    return write(out, manifest, {precision: export.model}, overwrite=overwrite)
