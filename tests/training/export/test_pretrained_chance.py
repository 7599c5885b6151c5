"""Nothing is exported, or begun with, whose weights nobody trained and nobody asked to draw."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from model.architecture.family import get_architecture
from model.weights.file import WeightsError
from tests.conftest import Command
from tests.model.published import TWO, State, cifar_resnet, timm_resnetv2, torchvision_resnet
from training.cli.main import train_script
from training.data.dataset import Dataset
from training.errors import ExportError
from training.export.pretrained import PretrainedWeights, fit_to_data, read_pretrained
from training.fit.first_weights import FirstWeights
from training.fit.setup import fit_architecture
from training.recipe.presets import get_recipe


def _read(
    state: State, tmp_path: Path, labels: str = "", *, new_head: bool = False
) -> PretrainedWeights:
    torch.save(state, tmp_path / "weights.pth")
    (tmp_path / "labels.txt").write_text(labels)
    return read_pretrained(
        get_architecture("resnet20"),
        tmp_path / "weights.pth",
        labels=tmp_path / "labels.txt" if labels else None,
        normalize=None,
        new_head=new_head,
    )


TEN = "\n".join("abcdefghij")


def _without(state: State, *names: str) -> State:
    return {key: tensor for key, tensor in state.items() if not key.startswith(names)}


@pytest.mark.parametrize("labels", [f"{TEN}\nk", "a\nb", '["a", "b", "c"]'])
def test_labels_of_another_number_than_the_heads_outputs_stop_the_export(
    labels: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"labels, but the head .* 10 outputs\. .*--new-head"):
        _read(cifar_resnet(3), tmp_path, labels)

    given = _read(cifar_resnet(3), tmp_path, labels, new_head=True)

    assert given.architecture.num_classes == len(given.labels or ()) != 10
    assert not {"linear.weight", "linear.bias"} & given.weights.keys()


@pytest.mark.parametrize("labels", ["", "a\nb\nc"])
@pytest.mark.parametrize("head", [{}, {"fc.0.weight": (8, 64), "fc.2.weight": (3, 8)}])
def test_a_file_without_a_head_of_ours_stops_the_export(
    head: dict[str, tuple[int, ...]], labels: str, tmp_path: Path
) -> None:
    state = _without(cifar_resnet(3), "linear.")
    state |= {key: torch.rand(shape) for key, shape in head.items()}

    with pytest.raises(WeightsError, match=r"gives resnet20 no head: .*--new-head") as refused:
        _read(state, tmp_path, labels)

    assert "\n" not in str(refused.value)
    assert _read(state, tmp_path, "a\nb\nc", new_head=True).architecture.num_classes == 3


def test_a_head_of_one_output_names_no_labels(tmp_path: Path) -> None:
    state = _without(cifar_resnet(3), "linear.") | {"fc.weight": torch.rand(1, 64)}

    with pytest.raises(ExportError, match="has one output"):
        _read(state, tmp_path)


def test_layers_between_the_body_and_the_head_stop_the_export_and_no_run(
    tmp_path: Path, fashion: Dataset
) -> None:
    state = cifar_resnet(3) | {"neck.weight": torch.rand(64), "loss.weight": torch.rand(10)}

    with pytest.raises(WeightsError, match=r"layers that resnet20 lacks: neck\.weight\. Answers"):
        _read(state, tmp_path)

    assert _begin(state, fashion, "architecture=resnet20") == "resnet20"


def test_a_new_head_takes_the_labels_of_the_data(tmp_path: Path, fashion: Dataset) -> None:
    given = _read(_without(cifar_resnet(3), "linear."), tmp_path, new_head=True)
    square = fashion.preprocessing.model_copy(update={"crop": 32})

    fitted = fit_to_data(given, replace(fashion, preprocessing=square), None)

    assert fitted.labels == fashion.labels
    assert fitted.architecture.num_classes == len(fashion.labels)


def test_as_many_labels_as_outputs_name_them(tmp_path: Path) -> None:
    given = _read(cifar_resnet(3), tmp_path, TEN)

    assert given.labels == tuple("abcdefghij")


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (cifar_resnet(5), "resnet32"),
        (cifar_resnet(3) | {"layer1.3.conv1.weight": torch.zeros(16, 16, 3, 3)}, None),
        (torchvision_resnet(TWO, bottleneck=False), "resnet18"),
        (torchvision_resnet(TWO, bottleneck=False, squeeze=True), "seresnet18"),
        (timm_resnetv2(TWO, bottleneck=False), "resnetv2_18"),
        (_without(cifar_resnet(3), "layer2.1.conv1"), None),
    ],
)
def test_weights_of_another_member_are_refused_with_its_name(
    state: State, name: str | None, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError) as refused:
        _read(state, tmp_path)

    text = str(refused.value)
    if name:
        assert f"This file looks like a {name}; add --architecture {name}." in text
    else:
        assert "the nearest is resnet20" in text
    assert len(text) < 400


def _begin(state: State, dataset: Dataset, *changes: str) -> str:
    recipe = get_recipe("finetune", ["random_shift=0", *changes])
    return fit_architecture(recipe, dataset, FirstWeights(Path("weights.pth"), state)).name


def test_a_run_begins_with_weights_of_its_own_architecture_alone(fashion: Dataset) -> None:
    state = torchvision_resnet(TWO, bottleneck=False)

    with pytest.raises(WeightsError, match=r"looks like a resnet18; add --set architecture=resnet"):
        _begin(state, fashion)
    with pytest.raises(WeightsError, match=r"lacks 1 of 122 tensors of resnet18 outside the head"):
        _begin(_without(state, "layer4.1.conv2"), fashion, "architecture=resnet18")
    with pytest.raises(WeightsError, match="tensors of layers that resnet20 lacks"):
        _begin(cifar_resnet(9), fashion, "architecture=resnet20")

    assert _begin(state, fashion, "architecture=resnet18") == "resnet18"
    assert _begin(_without(state, "fc."), fashion, "architecture=resnet18", "stem=small")


def test_a_refused_start_leaves_nothing_behind(
    command: Command, resnet18: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    named = ("--recipe", "finetune", "--set", "architecture=resnet50")
    refused = command(train_script, *named, "--init", resnet18, "--out", out)

    assert refused.code == 1
    assert refused.err.count("\n") == 1
    assert "This file looks like a resnet18; add --set architecture=resnet18." in refused.err
    assert not out.exists()
