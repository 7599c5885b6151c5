"""Every kind of member of the family from weights to an answer over HTTP: export, gate, serve."""

import io
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
from PIL import Image

from model.architecture.family import ARCHITECTURES
from model.architecture.spec import Architecture
from service.app import create_app
from service.settings import Settings
from tests.in_process import ask, get, post
from training.export.onnx_graph import GATE_LOGIT_ERROR
from training.export.uncalibrated import export_random

SAME_KIND = {
    **dict.fromkeys(("resnet101", "resnet152"), "resnet50"),
    **dict.fromkeys(("resnet32", "resnet44", "resnet56", "resnet110"), "resnet20"),
    **dict.fromkeys(("resnet32_b", "resnet44_b", "resnet56_b", "resnet110_b"), "resnet20_b"),
    "wide_resnet101_2": "wide_resnet50_2",
    "resnext101_32x8d": "resnext50_32x4d",
    "resnet34": "resnet18",
    "seresnet34": "seresnet18",
    "resnetv2_34": "resnetv2_18",
    "resnetv2_101": "resnetv2_50",
}
"""Differ in depth (and width) alone from one that is exported."""
WHOLE = ("resnet50", "resnet20")
"""At their full depth; of the others, two blocks a stage."""


def _quick(spec: Architecture) -> Architecture:
    """The same blocks over small images and few channels."""
    if spec.block == "linear":
        return spec
    depths = spec.depths if spec.name in WHOLE else tuple(min(depth, 2) for depth in spec.depths)
    return spec.model_copy(update={"width": 16, "size": 32, "num_classes": 10, "depths": depths})


PLAIN_AND_BESIDE = {
    f"resnet20, {rule}": ARCHITECTURES["resnet20"].model_copy(update={"shortcuts": rule})
    for rule in ("concat", "none")
}
KINDS = {name: spec for name, spec in ARCHITECTURES.items() if name not in SAME_KIND}
SPECS = {**KINDS, **PLAIN_AND_BESIDE}
"""A member of every kind, and the kinds of shortcut that none of them has."""


def test_members_of_one_kind_are_the_same_but_for_depth_and_width() -> None:
    for name, exported in SAME_KIND.items():
        own = {"name", "depths", "width_per_group"}
        assert ARCHITECTURES[name].model_dump(exclude=own) == KINDS[exported].model_dump(
            exclude=own
        )


def _image(spec: Architecture) -> bytes:
    side = spec.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("case", sorted(SPECS))
def test_a_member_exports_passes_its_gate_and_answers_over_http(case: str, tmp_path: Path) -> None:
    spec = _quick(SPECS[case])

    artifact = export_random(spec, tmp_path / spec.name / "1")

    file = artifact.manifest.files["float32"]
    assert file.max_abs_logit_error <= GATE_LOGIT_ERROR
    assert file.top1_agreement == 1
    settings = Settings(
        artifact=artifact.folder, provider="cpu", intra_op_threads=1, max_batch_size=2
    )
    answered, described, drawn = ask(
        create_app(settings),
        post("/predict?top_k=10&explain=true", _image(spec)),
        get("/architecture"),
        get("/architecture?format=svg"),
    )
    (result,) = answered.json()["results"]
    predictions, explanation = result["predictions"], result["explanation"]
    assert len(explanation["maps"]) == min(5, len(predictions))
    assert explanation["maps"][0] == explanation["map"]
    assert sum(one["probability"] for one in predictions) == pytest.approx(1, abs=1e-4)
    assert described.json()["architecture"]["name"] == spec.name
    assert described.json()["architecture"]["shortcuts"] == spec.shortcuts
    assert described.json()["stages"][0]["blocks"][0]["kind"] == spec.block
    assert drawn.text.startswith("<svg")
    assert f"{spec.name}: " in drawn.text
