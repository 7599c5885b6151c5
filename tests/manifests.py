"""The one builder of manifests for tests."""

import hashlib
from collections.abc import Mapping

import numpy as np

from model.architecture.family import get_architecture
from model.architecture.summary import summarize
from model.artifact.golden import pack
from model.artifact.manifest import Golden, Input, Manifest, ModelFile, Precision
from model.artifact.provenance import Provenance
from model.preprocessing import Preprocessing

PROVENANCE = Provenance(
    recipe=None,
    seed=0,
    dataset_sha256=None,
    commit=None,
    torch="none",
    onnx_opset=17,
    created="2026-01-01T00:00:00+00:00",
)


def build_manifest(
    models: Mapping[Precision, bytes], *, image_size: int = 4, **fields: object
) -> Manifest:
    """Describe models of two labels that answer as `data/tiny.onnx` does; figures are made up.

    Args:
        models: ONNX files by precision.
        image_size: Of the grey images.
        fields: Of the manifest, in place of those made here.
    """
    architecture = get_architecture("mini_resnet", num_classes=2)
    white = np.full((image_size, image_size, 1), 255, np.uint8)
    bright = 1 / (1 + np.exp(-3.2))  # 16 pixels of 1.0, weights of -0.1 and 0.1
    made: dict[str, object] = {
        "name": "tiny",
        "version": "1",
        "architecture": architecture,
        "summary": summarize(architecture, image_size, image_size),
        "labels": ("dark", "bright"),
        "input": Input(size=image_size, channels=1),
        "preprocessing": Preprocessing(
            resize=image_size, crop=image_size, channels=1, mean=(0.0,), std=(1.0,)
        ),
        "temperature": 1.0,
        "files": {
            precision: ModelFile(
                path=f"model.{precision}.onnx",
                sha256=hashlib.sha256(content).hexdigest(),
                bytes=len(content),
                max_abs_logit_error=0.0,
                top1_agreement=1.0,
                golden_tolerance=1e-3,
            )
            for precision, content in models.items()
        },
        "metrics": None,
        "golden": (Golden(png=pack(white), top1=1, probabilities=(1 - bright, bright)),),
        "provenance": PROVENANCE,
    }
    return Manifest.model_validate(made | fields)
