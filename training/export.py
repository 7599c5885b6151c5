"""From trained or random weights to an artifact: measured, gated, with its manifest.

Before anything is written, onnxruntime must agree with torch on real pictures; a failed
gate writes nothing.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from model.architecture import Architecture
from model.artifact import Artifact, pack, refuse_taken, write
from model.blocks import BasicBlock, Bottleneck
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
from model.network import ResNet
from model.preprocessing import Preprocessing
from model.summary import summarize
from training.calibrate import fit_temperature
from training.datasets.dataset import Dataset
from training.evaluate import (
    answer,
    evaluate,
    load_network,
    onnx_predict,
    onnx_session,
    torch_predict,
)
from training.graph import OPSET, ExportError, Parity, Servable, check_parity, to_onnx
from training.module import build_parts
from training.run import commit, now

GATE_PICTURES = 1_000
GOLDEN_TOLERANCE = 1e-3
GOLDEN_PICTURES = 10


def export_checkpoint(
    checkpoint: Path, dataset: Dataset, out: Path, *, overwrite: bool = False
) -> Artifact:
    """Export trained weights, with the temperature and the figures that the data give.

    Args:
        checkpoint: A `.ckpt` file, or a run folder for its best one.
        dataset: What the run was trained on: validation fits the temperature, test measures.
        out: `<name>/<version>/`.
        overwrite: Replace an artifact that is there.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        ExportError: If the data are not the run's, or the gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    refuse_taken(out, overwrite=overwrite)
    record, normalize, network = load_network(checkpoint)
    was, found = record.preprocessing, dataset.preprocessing
    fits = (was.crop, was.channels) == (found.crop, found.channels)
    if dataset.labels != record.labels or not fits:
        raise ExportError(
            f"The run was trained on {record.dataset} ({len(record.labels)} labels, "
            f"{was.crop} pixels, {was.channels} channels); {dataset.name} has "
            f"{len(dataset.labels)} labels, {found.crop} pixels, {found.channels} channels. "
            "Name the run's own data with --data."
        )
    predict = torch_predict(network, normalize)
    temperature = fit_temperature(answer(predict, dataset.validation))
    model = to_onnx(Servable(normalize, network, temperature), record.preprocessing)
    gate = dataset.test[:GATE_PICTURES]
    parity = check_parity(answer(predict, gate).logits, answer(onnx_predict(model), gate).logits)
    answers = answer(onnx_predict(model), dataset.test)
    figures = evaluate(
        answers,
        labels=record.labels,
        dataset=dataset.name,
        split="test",
        temperature=temperature,
    )
    shown = _one_of_each(answers.logits.argmax(1), dataset.test.targets)
    return _write(
        out,
        _Export(
            architecture=record.architecture,
            preprocessing=record.preprocessing,
            labels=record.labels,
            temperature=temperature,
            model=model,
            parity=parity,
            metrics=Metrics(**figures.model_dump(include=set(Metrics.model_fields))),
            golden=_golden(model, dataset.test.images[shown]),
            provenance=_provenance(record.seed, record.recipe.name, dataset.sha256),
        ),
        overwrite=overwrite,
    )


def export_random(
    architecture: Architecture, out: Path, *, seed: int = 0, overwrite: bool = False
) -> Artifact:
    """Export seeded random weights, to serve and load-test any member of the family.

    The norms' statistics are taken from a few random pictures: with those of a fresh
    network each block doubles the variance, and 50 blocks overflow the gate.

    Raises:
        ExportError: If the gate fails.
        ArtifactError: If the artifact cannot be written.
    """
    refuse_taken(out, overwrite=overwrite)
    torch.manual_seed(seed)
    channels = architecture.in_channels
    side = 28 if architecture.stem == "small" else 224
    preprocessing = Preprocessing(
        resize=side if architecture.stem == "small" else 256,
        crop=side,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )
    normalize, network = build_parts(architecture, preprocessing)
    pictures = _random_pictures(8, preprocessing)
    _settle_norms(network, normalize(pictures))
    predict = torch_predict(network, normalize)
    model = to_onnx(Servable(normalize, network, 1.0), preprocessing)
    parity = check_parity(predict(pictures), onnx_predict(model)(pictures))
    return _write(
        out,
        _Export(
            architecture=architecture,
            preprocessing=preprocessing,
            labels=tuple(f"label {index}" for index in range(architecture.num_classes)),
            temperature=1.0,
            model=model,
            parity=parity,
            metrics=None,
            golden=_golden(model, pictures[:2]),
            provenance=_provenance(seed, None, None),
        ),
        overwrite=overwrite,
    )


def _random_pictures(count: int, preprocessing: Preprocessing) -> Tensor:
    """Draw soft blots, uint8 (N, S, S, C): nearer to pictures than noise, and small as PNG."""
    coarse = torch.rand(count, preprocessing.channels, 4, 4)
    side = preprocessing.crop
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def _settle_norms(network: ResNet, batch: Tensor) -> None:
    """Give random weights the calm of trained ones, from one batch (N, C, S, S).

    Each norm takes its mean and variance from the batch; the last one of each branch is
    quartered, for 50 branches at full strength amplify float32's rounding past the gate.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        elif isinstance(module, BasicBlock | Bottleneck):
            last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            nn.init.constant_(last.weight, 0.25)
    network.train()
    network(batch)
    network.eval()


def _one_of_each(answered: Tensor, targets: Tensor) -> list[int]:
    """Choose pictures to show and to check: for each label the first that was answered right."""
    right = answered == targets
    firsts = [
        int((right & (targets == label)).nonzero()[0])
        for label in sorted(set(targets.tolist()))
        if bool((right & (targets == label)).any())
    ]
    return (firsts or [0])[:GOLDEN_PICTURES]


def _golden(model: bytes, pictures: Tensor) -> tuple[Golden, ...]:
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


def _provenance(seed: int, recipe: str | None, dataset_sha256: str | None) -> Provenance:
    return Provenance(
        recipe=recipe,
        seed=seed,
        dataset_sha256=dataset_sha256,
        commit=commit(),
        torch=torch.__version__,
        onnx_opset=OPSET,
        created=now(),
    )


@dataclass(frozen=True)
class _Export:
    """What `_write` puts into a manifest, under the manifest's names."""

    architecture: Architecture
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    temperature: float
    model: bytes
    parity: Parity
    metrics: Metrics | None
    golden: tuple[Golden, ...]
    provenance: Provenance


def _write(out: Path, export: _Export, *, overwrite: bool) -> Artifact:
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
