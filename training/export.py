"""From trained or random weights to an artifact: measured, gated, with its manifest.

Before anything is written, onnxruntime must agree with torch on real pictures; a failed
gate writes nothing.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from model.architecture import Architecture
from model.artifact import Artifact, refuse_taken
from model.blocks import scale_branches
from model.manifest import Metrics
from model.network import ResNet
from model.preprocessing import Preprocessing
from training.calibrate import fit_temperature
from training.datasets.dataset import Dataset
from training.evaluate import answer, evaluate, load_network, onnx_predict, torch_predict
from training.graph import ExportError, Servable, check_parity, to_onnx
from training.module import build_parts
from training.packing import Export, golden, provenance, write_export

GATE_PICTURES = 1_000
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
    shown = one_of_each(answers.logits.argmax(1), dataset.test.targets)
    return write_export(
        out,
        Export(
            architecture=record.architecture,
            preprocessing=record.preprocessing,
            labels=record.labels,
            temperature=temperature,
            model=model,
            parity=parity,
            metrics=Metrics(**figures.model_dump(include=set(Metrics.model_fields))),
            golden=golden(model, dataset.test.images[shown]),
            provenance=provenance(
                record.seed,
                recipe=record.recipe.name,
                dataset_sha256=dataset.sha256,
                weights=record.weights,
            ),
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
    preprocessing = preprocessing_for(architecture, (0.5,) * channels, (0.25,) * channels)
    normalize, network = build_parts(architecture, preprocessing)
    pictures = random_pictures(8, preprocessing)
    _settle_norms(network, normalize(pictures))
    predict = torch_predict(network, normalize)
    model = to_onnx(Servable(normalize, network, 1.0), preprocessing)
    parity = check_parity(predict(pictures), onnx_predict(model)(pictures))
    return write_export(
        out,
        Export(
            architecture=architecture,
            preprocessing=preprocessing,
            labels=tuple(f"label {index}" for index in range(architecture.num_classes)),
            temperature=1.0,
            model=model,
            parity=parity,
            metrics=None,
            golden=golden(model, pictures[:2]),
            provenance=provenance(seed),
        ),
        overwrite=overwrite,
    )


def preprocessing_for(
    architecture: Architecture, mean: tuple[float, ...], std: tuple[float, ...]
) -> Preprocessing:
    """Cut the square that a network is made for: whole up to 64 pixels, 224 out of 256 above."""
    side = architecture.side
    return Preprocessing(
        resize=side if side <= 64 else round(side * 256 / 224),
        crop=side,
        channels=architecture.in_channels,
        mean=mean,
        std=std,
    )


def random_pictures(count: int, preprocessing: Preprocessing) -> Tensor:
    """Draw soft blots, uint8 (N, S, S, C): nearer to pictures than noise, and small as PNG."""
    coarse = torch.rand(count, preprocessing.channels, 4, 4)
    side = preprocessing.crop
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def _settle_norms(network: ResNet, batch: Tensor) -> None:
    """Give random weights the calm of trained ones, from one batch (N, C, S, S).

    Each norm takes its mean and variance from the batch; what ends each branch is
    quartered, for 50 branches at full strength amplify float32's rounding past the gate.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    scale_branches(network, 0.25)
    network.train()
    network(batch)
    network.eval()


def one_of_each(answered: Tensor, targets: Tensor) -> list[int]:
    """Choose pictures to show and to check: for each label the first that was answered right."""
    right = answered == targets
    firsts = [
        int((right & (targets == label)).nonzero()[0])
        for label in sorted(set(targets.tolist()))
        if bool((right & (targets == label)).any())
    ]
    return (firsts or [0])[:GOLDEN_PICTURES]
