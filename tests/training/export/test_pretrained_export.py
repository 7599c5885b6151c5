"""Weights from elsewhere through `export-model`: their numbers, labels, sizes, normalisation."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from model.artifact.folder import read
from model.network.resnet import build
from model.weights.file import read_weights
from model.weights.labels import IMAGENET, read_labels
from model.weights.normalization import NORMALIZATIONS, get_normalization
from tests.conftest import Command, MakeImages
from tests.model.published import run_resnet
from training.cli.main import export_script
from training.evaluation.predict import onnx_outputs, onnx_session
from training.export.pretrained import RANDOM_IMAGES


def test_a_cifar_checkpoint_gives_its_own_logits_through_onnx(
    command: Command, resnet20: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cifar" / "1"
    finished = command(
        export_script, "--architecture", "resnet20", "--weights", resnet20, "--out", out
    )

    assert finished.code == 0, finished.err
    assert "weights found under `state_dict`" in finished.out
    assert "97 of 116 tensors loaded; the rest are 19 counters of norms" in finished.out
    assert "behind the prefix `module.`" in finished.out
    assert "left at its initial value" not in finished.out
    artifact = read(out)
    spec = artifact.manifest.preprocessing
    assert (spec.resize, spec.crop) == (32, 32)
    assert artifact.manifest.metrics is None
    assert artifact.manifest.temperature == 1
    assert artifact.manifest.provenance.recipe is None
    assert str(artifact.manifest.provenance.weights).startswith("resnet20.th sha256:")
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    seen = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
    state = {key.removeprefix("module."): value for key, value in read_weights(resnet20).items()}
    session = onnx_session(artifact.model("float32"))
    logits = onnx_outputs(session, images, ("logits",))["logits"]
    assert (logits - run_resnet(state, seen)).abs().max() <= 1e-4


def test_a_thousand_labels_are_imagenets_seen_at_224_of_256_pixels(
    command: Command, resnet18: Path, tmp_path: Path
) -> None:
    out = tmp_path / "imagenet" / "1"
    finished = command(
        export_script, "--architecture", "resnet18", "--weights", resnet18, "--out", out
    )

    assert finished.code == 0, finished.err
    manifest = read(out).manifest
    assert manifest.labels == read_labels(IMAGENET)
    assert (manifest.preprocessing.resize, manifest.preprocessing.crop) == (256, 224)
    assert manifest.preprocessing.mean == (0.485, 0.456, 0.406)
    assert manifest.preprocessing.std == (0.229, 0.224, 0.225)


def test_a_new_head_is_drawn_for_any_labels_where_it_is_asked_for(
    command: Command, resnet20: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    arguments = ("--architecture", "resnet20", "--weights", resnet20, "--out", tmp_path / "a" / "1")
    named = (*arguments, "--labels", tmp_path / "labels.txt")

    refused = command(export_script, *named)
    finished = command(export_script, *named, "--new-head")

    assert refused.code == 1
    assert "labels.txt names 2 labels, but the head in resnet20.th has 10 outputs" in refused.err
    assert "--new-head" in refused.err
    assert finished.code == 0, finished.err
    assert "the head has random weights" in finished.out
    assert read(tmp_path / "a" / "1").manifest.labels == ("cat", "dog")


def test_data_are_measured_and_name_the_labels(
    command: Command, resnet20: Path, make_images: MakeImages, tmp_path: Path
) -> None:
    names = {f"label{index}": 6 for index in range(10)}
    data = make_images(labels=names)
    for path in data.rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(path)
    arguments = ("--architecture", "resnet20", "--weights", resnet20, "--out", tmp_path / "a" / "1")

    cheaper = ("--precision", "int8", "--gate", "int8=100")
    finished = command(
        export_script, *arguments, *cheaper, "--data", data, "--normalize", "cifar10"
    )

    assert finished.code == 0, finished.err
    assert "random images" not in finished.out
    manifest = read(tmp_path / "a" / "1").manifest
    assert manifest.metrics is not None
    assert manifest.metrics.n == 10
    assert manifest.labels == tuple(names)
    assert manifest.preprocessing.mean == NORMALIZATIONS["cifar10"].mean
    int8 = manifest.files["int8"]
    assert int8.quantization is not None
    assert int8.quantization.pictures == 32  # of the 40 to train on, in whole batches
    assert int8.top1 is not None


def test_precisions_without_data_say_what_is_not_known(
    command: Command, resnet20: Path, tmp_path: Path
) -> None:
    arguments = ("--architecture", "resnet20", "--weights", resnet20, "--out", tmp_path / "a" / "1")

    finished = command(export_script, *arguments, "--precision", "int8")

    assert finished.code == 0, finished.err
    assert "note: without --data" in finished.out
    int8 = read(tmp_path / "a" / "1").manifest.files["int8"]
    assert int8.quantization is not None
    assert int8.quantization.pictures == RANDOM_IMAGES
    assert int8.top1 is None


def test_preactivated_networks_are_normalised_as_timm_trained_them(
    command: Command, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torch.save(build("resnetv2_18").state_dict(), tmp_path / "v2.pth")
    arguments = ("--architecture", "resnetv2_18", "--weights", tmp_path / "v2.pth")

    finished = command(export_script, *arguments, "--out", tmp_path / "a" / "1")

    assert finished.code == 0, finished.err
    assert "cropped to 224, and normalised by mean 0.5, 0.5, 0.5 and deviation" in finished.out
    assert read(tmp_path / "a" / "1").manifest.preprocessing.std == (0.5, 0.5, 0.5)


def test_a_grey_image_is_normalised_by_the_colours_mean() -> None:
    assert get_normalization("imagenet", 1).mean == (0.449,)
    assert get_normalization("0.1/0.2", 1) == ((0.1,), (0.2,))
