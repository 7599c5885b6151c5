"""Weights from elsewhere that do not fit: refused by `export-model`, and nothing is written."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from model.weights.normalization import NormalizationError, get_normalization
from tests.conftest import Command
from tests.model.published import cifar_resnet, torchvision_resnet
from training.cli.main import export_script
from training.data.dataset import Dataset


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
    assert re.search(r"looks like a resnet3\d; add --architecture resnet3\d\.", finished.err)
    assert not (tmp_path / "a").exists()


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


@pytest.mark.parametrize("option", ["--labels", "--new-head"])
def test_labels_and_a_new_head_without_weights_are_bad_usage(
    option: str, command: Command, tmp_path: Path
) -> None:
    arguments = ("--architecture", "resnet20", "--random", "--out", tmp_path / "a" / "1")
    value = (tmp_path / "labels.txt",) if option == "--labels" else ()

    finished = command(export_script, *arguments, option, *value)

    assert finished.code == 2
    assert option in finished.err


def test_data_of_another_size_are_refused(
    command: Command,
    resnet20: Path,
    fashion: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.runs.dataset.read_dataset", lambda *_, **__: fashion)
    arguments = ("--architecture", "resnet20", "--weights", resnet20, "--out", tmp_path / "a" / "1")

    finished = command(export_script, *arguments, "--data", tmp_path)

    assert finished.code == 1
    assert "has images of 28 pixels, but resnet20 reads 32" in finished.err


@pytest.mark.parametrize(
    "text", ["", "a/b", "0.5/0.5", "0.5,0.5,0.5/0,0,0", "2,2,2/1,1,1", "1/2/3"]
)
def test_a_normalisation_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(NormalizationError, match="--normalize"):
        get_normalization(text, 3)
