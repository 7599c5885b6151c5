"""Weights from elsewhere through `export-model` and `train-model --init`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from model.artifact import read
from model.labels import IMAGENET, read_labels
from model.network import build
from model.weights_file import read_weights
from tests.model.published import cifar_resnet, run_resnet, torchvision_resnet
from training.cli import export_script, train_script
from training.datasets.dataset import Dataset
from training.datasets.fashion_mnist import read_fashion_mnist
from training.foreign import NORMALIZATIONS, RANDOM_PICTURES, get_normalization
from training.graph import ExportError
from training.predict import onnx_predict
from training.run import read_checkpoint

FASHION_MNIST = Path(__file__).parents[1] / "data" / "fashion-mnist"
Command = Callable[..., Any]
MakePictures = Callable[..., Path]


@pytest.fixture(scope="module")
def resnet20(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: wrapped, prefixed, its head called `linear`, its norms without a count."""
    path = tmp_path_factory.mktemp("weights") / "resnet20.th"
    whole = {f"module.{key}": tensor for key, tensor in cifar_resnet(3).items()}
    state = {key: whole[key] for key in whole if not key.endswith("num_batches_tracked")}
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    return path


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision_resnet((2, 2, 2, 2), bottleneck=False), path)
    return path


def test_a_cifar_checkpoint_gives_its_own_logits_through_onnx(
    command: Command, resnet20: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cifar" / "1"
    finished = command(
        export_script, "--architecture", "resnet20", "--weights", resnet20, "--out", out
    )

    assert finished.code == 0, finished.err
    assert "97 of 116 tensors loaded" in finished.out
    assert "left at its initial value: bn1.num_batches_tracked: not in the file" in finished.out
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
    logits = onnx_predict(artifact.model("float32"))(images)
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


def test_other_labels_draw_the_head_anew_and_say_so(
    command: Command, resnet20: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    arguments = ("--architecture", "resnet20", "--weights", resnet20, "--out", tmp_path / "a" / "1")

    finished = command(export_script, *arguments, "--labels", tmp_path / "labels.txt")

    assert finished.code == 0, finished.err
    assert "fc.weight: the file has (10, 64), the network (2, 64)" in finished.out
    assert read(tmp_path / "a" / "1").manifest.labels == ("cat", "dog")


def test_data_are_measured_and_name_the_labels(
    command: Command, resnet20: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    names = {f"label{index}": 6 for index in range(10)}
    data = make_pictures(labels=names)
    for path in data.rglob("*.png"):
        with Image.open(path) as picture:
            picture.convert("RGB").save(path)
    arguments = ("--architecture", "resnet20", "--weights", resnet20, "--out", tmp_path / "a" / "1")

    cheaper = ("--precision", "int8", "--gate", "int8=100")
    finished = command(
        export_script, *arguments, *cheaper, "--data", data, "--normalize", "cifar10"
    )

    assert finished.code == 0, finished.err
    assert "random pictures" not in finished.out
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
    assert int8.quantization.pictures == RANDOM_PICTURES
    assert int8.top1 is None


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (cifar_resnet(5), "resnet20"),
        (torchvision_resnet((3, 4, 6, 3), bottleneck=False), "resnet18"),
    ],
)
def test_a_deeper_networks_weights_are_refused(
    file: dict[str, torch.Tensor], name: str, command: Command, tmp_path: Path
) -> None:
    torch.save(file, tmp_path / "deeper.pth")
    arguments = ("--architecture", name, "--weights", tmp_path / "deeper.pth")

    finished = command(export_script, *arguments, "--out", tmp_path / "a" / "1")

    assert finished.code == 1
    assert f"tensors of layers that {name} lacks: layer1." in finished.err
    assert not (tmp_path / "a").exists()


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


@pytest.mark.parametrize(
    "refusal",
    [
        (("--architecture", "resnet32"), 1, "lacks"),
        (("--architecture", "resnet50"), 1, "lacks"),
        (("--architecture", "resnet19"), 2, "Did you mean 'resnet18'"),
        (("--architecture", "resnet20", "--normalize", "1/2"), 1, "--normalize 1/2"),
        (("--architecture", "resnet20", "--random"), 2, "--weights FILE"),
        ((), 2, "--architecture NAME"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    command: Command,
    resnet20: Path,
    tmp_path: Path,
    refusal: tuple[tuple[str, ...], int, str],
) -> None:
    arguments, code, cause = refusal
    out = tmp_path / "a" / "1"

    finished = command(export_script, *arguments, "--weights", resnet20, "--out", out)

    assert finished.code == code
    assert cause in finished.err
    assert not out.exists()


def test_labels_without_weights_are_bad_usage(command: Command, tmp_path: Path) -> None:
    arguments = ("--architecture", "resnet20", "--random", "--out", tmp_path / "a" / "1")

    finished = command(export_script, *arguments, "--labels", tmp_path / "labels.txt")

    assert finished.code == 2
    assert "--labels" in finished.err


def test_a_run_begins_with_the_weights_it_is_given(
    command: Command, resnet20: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    data, out = make_pictures(), tmp_path / "run"
    changes = ("architecture=resnet20", "epochs=1", "batch_size=8", "ema_decay=0")
    still = ("learning_rate=1e-9", "turn=1e-9")
    options = [part for change in (*changes, *still) for part in ("--set", change)]

    finished = command(train_script, "--data", data, "--out", out, "--init", resnet20, *options)

    assert finished.code == 0, finished.err
    assert "conv1.weight: 3 input channels summed to one" in finished.out
    assert "fc.weight: the file has (10, 64), the network (2, 64)" in finished.out
    record, weights = read_checkpoint(out)
    expected = read_weights(resnet20)["module.layer2.1.conv1.weight"]
    assert torch.allclose(weights["layer2.1.conv1.weight"], expected, atol=1e-5)
    assert str(record.weights).startswith("resnet20.th sha256:")


def test_weights_to_begin_with_bring_their_stem_and_such_a_run_goes_on(
    command: Command, resnet18: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    arguments = ("--data", make_pictures(), "--out", tmp_path / "run", "--set", "batch_size=8")
    changes = ("--set", "architecture=resnet18", "--set", "epochs=1")

    begun = command(train_script, *arguments, *changes, "--init", resnet18)
    resumed = command(train_script, *arguments, *changes, "--resume")

    assert begun.code == 0, begun.err
    assert "conv1.weight: 3 input channels summed to one" in begun.out
    record, _ = read_checkpoint(tmp_path / "run")
    assert record.architecture.stem == "standard"
    assert record.preprocessing.crop == 28
    assert resumed.code == 0, resumed.err


def test_a_recipe_overrules_the_stem_of_the_weights(
    command: Command, resnet18: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    changes = ("architecture=resnet18", "stem=small", "epochs=1", "batch_size=8")
    options = [part for change in changes for part in ("--set", change)]

    finished = command(
        train_script,
        "--data",
        make_pictures(),
        "--out",
        tmp_path / "run",
        "--init",
        resnet18,
        *options,
    )

    assert finished.code == 0, finished.err
    assert "conv1.weight: the file has (64, 3, 7, 7), the network (64, 1, 3, 3)" in finished.out

    frozen = (*options, "--set", "backbone_rate=0", "--out", tmp_path / "frozen")
    refused = command(train_script, "--data", tmp_path / "pictures", "--init", resnet18, *frozen)

    assert refused.code == 1
    assert "would freeze 1 tensors as they were drawn: conv1.weight. Name" in refused.err


def test_data_of_another_size_are_refused(
    command: Command, resnet20: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.commands.data.read_dataset", lambda *_: _grey_28())
    arguments = ("--architecture", "resnet20", "--weights", resnet20, "--out", tmp_path / "a" / "1")

    finished = command(export_script, *arguments, "--data", tmp_path)

    assert finished.code == 1
    assert "has pictures of 28 pixels; resnet20 reads 32" in finished.err


def _grey_28() -> Dataset:
    return read_fashion_mnist(FASHION_MNIST, sha256=None)


def test_resume_and_init_exclude_each_other(command: Command, resnet20: Path) -> None:
    finished = command(train_script, "--init", resnet20, "--resume")

    assert finished.code == 2
    assert "--init" in finished.err


def test_a_grey_picture_is_normalised_by_the_colours_mean() -> None:
    assert get_normalization("imagenet", 1).mean == (0.449,)
    assert get_normalization("0.1/0.2", 1) == ((0.1,), (0.2,))


@pytest.mark.parametrize(
    "text", ["", "a/b", "0.5/0.5", "0.5,0.5,0.5/0,0,0", "2,2,2/1,1,1", "1/2/3"]
)
def test_a_normalisation_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match="--normalize"):
        get_normalization(text, 3)
