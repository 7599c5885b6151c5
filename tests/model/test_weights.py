"""Checkpoints from elsewhere: they load whole, answer as their own code does, or say why not."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.architecture import get_architecture
from model.labels import IMAGENET, name_labels, read_labels
from model.network import ResNet, build
from model.weights import fit_to_weights, load_weights
from model.weights_file import WeightsError, read_weights
from tests.model.published import (
    Forward,
    State,
    cifar_resnet,
    run_resnet,
    run_resnetv2,
    timm_resnetv2,
    torchvision_resnet,
)

TWO, FIFTY = (2, 2, 2, 2), (3, 4, 6, 3)
CHECKPOINTS: dict[str, tuple[Callable[[], State], Forward, int]] = {
    "resnet18": (lambda: torchvision_resnet(TWO, bottleneck=False), run_resnet, 64),
    "resnet50": (lambda: torchvision_resnet(FIFTY, bottleneck=True), run_resnet, 64),
    "seresnet18": (lambda: torchvision_resnet(TWO, bottleneck=False, squeeze=True), run_resnet, 64),
    "seresnet50": (
        lambda: torchvision_resnet(FIFTY, bottleneck=True, squeeze=True),
        run_resnet,
        64,
    ),
    "resnetv2_18": (lambda: timm_resnetv2(TWO, bottleneck=False), run_resnetv2, 64),
    "resnetv2_50": (lambda: timm_resnetv2(FIFTY, bottleneck=True), run_resnetv2, 64),
    "resnet20": (lambda: cifar_resnet(3), run_resnet, 32),
    "resnet56": (lambda: cifar_resnet(9), run_resnet, 32),
    "resnet20_b": (lambda: cifar_resnet(3, head="fc", projection="downsample"), run_resnet, 32),
}


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_a_published_checkpoint_loads_whole_and_gives_the_same_logits(
    name: str, tmp_path: Path
) -> None:
    write, run, side = CHECKPOINTS[name]
    state = write()
    torch.save(state, tmp_path / "weights.pth")
    pictures = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    network = build(name).eval()

    report = load_weights(network, read_weights(tmp_path / "weights.pth"))

    assert report.loaded == report.total == len(state)
    assert not report.adapted + report.mismatched + report.missing + report.unused
    with torch.no_grad():
        expected, actual = run(state, pictures), network(pictures)
    assert (expected - actual).abs().max() <= 1e-4


@pytest.mark.parametrize("name", ["resnet18", "seresnet18", "resnetv2_18"])
def test_published_names_load_without_any_renaming(name: str) -> None:
    network = build(name)

    network.load_state_dict(CHECKPOINTS[name][0](), strict=True)

    assert torch.equal(
        next(iter(network.state_dict().values())), next(iter(CHECKPOINTS[name][0]().values()))
    )


def _prefixed(prefix: str) -> Callable[[State], object]:
    return lambda state: {prefix + key: tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        _prefixed("module."),
        _prefixed("_orig_mod."),
        _prefixed("module._orig_mod."),
        lambda state: {"state_dict": state, "epoch": 3, "best_prec1": 92.1},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"net": state, "acc": 93.0},
        lambda state: {"state_dict": _prefixed("module.")(state), "args": argparse.Namespace(lr=1)},
        lambda state: {"net": state, "acc": np.float64(93.0), "loss": np.float32(0.1)},
        lambda state: {
            "state_dict": {key: torch.zeros_like(tensor) for key, tensor in state.items()},
            "state_dict_ema": state,
        },
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "pt"])
def test_prefixes_and_wrappers_come_off(
    wrap: Callable[[State], object], suffix: str, tmp_path: Path
) -> None:
    state = cifar_resnet(3)
    path = tmp_path / f"weights.{suffix}"
    torch.save(wrap(state), path)

    report = load_weights(build("resnet20"), read_weights(path))

    assert report.loaded == report.total
    assert not report.unused


def test_averaged_weights_come_before_the_last_ones(tmp_path: Path) -> None:
    state = cifar_resnet(3)
    averaged = {"n_averaged": torch.tensor(12), **{f"module.{key}": state[key] for key in state}}
    last = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    torch.save({"model": last, "model_ema": averaged, "epoch": 3}, tmp_path / "weights.pth")
    network = build("resnet20")

    report = load_weights(network, read_weights(tmp_path / "weights.pth"))

    assert report.loaded == report.total
    assert report.unused == ("n_averaged",)
    assert torch.equal(network.get_parameter("fc.weight"), state["linear.weight"])


def test_safetensors_are_read(tmp_path: Path) -> None:
    state = cifar_resnet(3)
    save_file(state, tmp_path / "weights.safetensors")
    network = build("resnet20")

    report = load_weights(network, read_weights(tmp_path / "weights.safetensors"))

    assert report.loaded == report.total
    assert torch.equal(network.get_parameter("fc.weight"), state["linear.weight"])


@pytest.mark.parametrize("head", ["fc", "linear", "classifier"])
def test_a_head_of_any_usual_name_is_found(head: str) -> None:
    state = cifar_resnet(3, head=head)
    network = build("resnet20")

    load_weights(network, (state))

    assert torch.equal(network.get_parameter("fc.bias"), state[f"{head}.bias"])


def test_a_linear_head_fits_a_convolution_and_back() -> None:
    state = timm_resnetv2(TWO, bottleneck=False)
    flat = state | {"head.fc.weight": state["head.fc.weight"].flatten(1)}

    report = load_weights(build("resnetv2_18"), (flat))

    assert report.loaded == report.total


def test_another_number_of_labels_leaves_the_head_as_it_was_drawn_and_says_so() -> None:
    network = build("resnet18", num_classes=7)
    before = network.get_parameter("fc.weight").clone()

    report = load_weights(network, torchvision_resnet(TWO, bottleneck=False))

    assert torch.equal(network.get_parameter("fc.weight"), before)
    assert report.mismatched == (
        "fc.weight: the file has (1000, 512), the network (7, 512)",
        "fc.bias: the file has (1000,), the network (7,)",
    )
    assert report.loaded == report.total - 2


@pytest.mark.parametrize(("name", "first"), [("resnet18", "conv1"), ("resnetv2_18", "stem.conv")])
def test_a_grey_picture_gets_the_answer_of_three_equal_channels(name: str, first: str) -> None:
    state = CHECKPOINTS[name][0]()
    grey, colour = build(name, in_channels=1).eval(), build(name).eval()
    picture = torch.rand(1, 1, 64, 64)

    report = load_weights(grey, state)

    load_weights(colour, state)
    with torch.no_grad():
        answers = grey(picture), colour(picture.expand(-1, 3, -1, -1))
    assert torch.allclose(*answers, rtol=1e-4, atol=1e-3)
    assert report.adapted == (f"{first}.weight: 3 input channels summed to one",)


def test_colours_share_the_weights_of_a_grey_network() -> None:
    state = cifar_resnet(3)
    state["conv1.weight"] = state["conv1.weight"].sum(1, keepdim=True)

    report = load_weights(build("resnet20"), (state))

    assert report.adapted == ("conv1.weight: one input channel spread over 3",)


def test_every_key_that_does_not_match_is_listed() -> None:
    state = torchvision_resnet(TWO, bottleneck=False)
    state["aux.weight"] = torch.zeros(3)
    del state["layer1.0.conv1.weight"]
    state["layer2.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)

    report = load_weights(build("resnet18"), state)

    lines = list(report.lines())
    assert "not used: aux.weight" in lines
    assert "left at its initial value: layer1.0.conv1.weight: not in the file" in lines
    assert any("layer2.0.conv1.weight: the file has (1, 2, 3, 3)" in line for line in lines)
    assert lines[0] == f"{len(state) - 2} of {report.total} tensors loaded"


def test_a_file_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(WeightsError, match="No tensor of the file fits resnet18"):
        load_weights(build("resnet18"), {"encoder.weight": torch.zeros(2)})


class Trap:
    """What a pickle runs when it is read without care."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (print, ("ran",))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04garbage" * 20])
def test_broken_files_are_refused_in_one_line(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)

    with pytest.raises(WeightsError, match="cannot be read as weights") as refused:
        read_weights(path)

    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"There are no weights at .*none\.pth"):
        read_weights(tmp_path / "none.pth")


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {"conv1.weight": Trap()}}, tmp_path / "trap.pth")

    with pytest.raises(WeightsError, match="cannot be read as weights"):
        read_weights(tmp_path / "trap.pth")

    assert "ran" not in capsys.readouterr().out


def test_a_whole_network_is_refused_without_torchs_advice_to_run_it(tmp_path: Path) -> None:
    torch.save(build("resnet20"), tmp_path / "whole.pth")

    with pytest.raises(WeightsError, match=r"it holds a whole network .* is not run\. Save"):
        read_weights(tmp_path / "whole.pth")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"state_dict": {}}])
def test_a_file_without_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "empty.pth")

    with pytest.raises(WeightsError, match="holds no weights"):
        read_weights(tmp_path / "empty.pth")


@pytest.mark.parametrize("name", ["garbage.pth", "safetensors.pth", "nothing.pth"])
def test_what_is_no_checkpoint_is_refused_without_torchs_advice_to_run_it(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    contents = {"garbage": b"not a checkpoint at all", "nothing": b""}
    if path.stem == "safetensors":
        save_file({"conv1.weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(contents[path.stem])

    with pytest.raises(WeightsError, match=r"it is empty, damaged, or of another kind\. Save"):
        read_weights(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor([1.0, float("nan")]), "conv1.weight holds numbers that are not finite"),
        (torch.ones(2, dtype=torch.int8), r"conv1.weight has integers \(torch.int8\)"),
    ],
)
def test_weights_that_no_training_leaves_are_refused(tensor: Tensor, message: str) -> None:
    state = {"conv1.weight": tensor, "steps": torch.ones(3, dtype=torch.int64)}

    with pytest.raises(WeightsError, match=message):
        load_weights(build("resnet20"), state)


@pytest.mark.parametrize("first", [True, False])
def test_of_two_keys_for_one_tensor_the_exact_name_is_loaded_and_the_other_told(
    first: bool,
) -> None:
    state = cifar_resnet(3)
    state["fc.weight"] = state.pop("linear.weight")
    state["fc.bias"] = state.pop("linear.bias")
    second = {"linear.weight": torch.zeros(10, 64), "module.conv1.weight": torch.zeros(16, 3, 3, 3)}
    network = build("resnet20")

    report = load_weights(network, second | state if first else state | second)

    assert torch.equal(network.get_parameter("fc.weight"), state["fc.weight"])
    assert torch.equal(network.get_parameter("conv1.weight"), state["conv1.weight"])
    assert set(report.doubled) == {
        "linear.weight: fc.weight is fc.weight already",
        "module.conv1.weight: conv1.weight is conv1.weight already",
    }
    assert report.loaded == report.total
    assert "not used: linear.weight: fc.weight is fc.weight already" in list(report.lines())


def test_a_head_that_is_no_matrix_is_no_head() -> None:
    fitted = fit_to_weights(get_architecture("resnet20"), {"fc.weight": torch.tensor(1.0)})

    assert fitted.num_classes == 10


def test_labels_saved_by_windows_editors_have_no_mark(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\ndog\r\n".encode())

    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog")


def test_the_architecture_is_fitted_to_the_file() -> None:
    spec = get_architecture("resnet20")

    fitted = fit_to_weights(spec, (cifar_resnet(3, projection="shortcut")))

    assert (fitted.shortcuts, fitted.num_classes, fitted.in_channels) == ("projection", 10, 3)
    assert fit_to_weights(spec, (cifar_resnet(3))) == spec


def test_a_resnet18_with_a_small_stem_is_recognised() -> None:
    state = torchvision_resnet(TWO, bottleneck=False)
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)

    fitted = fit_to_weights(get_architecture("resnet18"), state)

    assert (fitted.stem, fitted.side) == ("small", 32)
    ResNet(fitted).load_state_dict(state)


def test_an_input_of_four_channels_is_refused() -> None:
    state: dict[str, Tensor] = {"conv1.weight": torch.zeros(64, 4, 7, 7)}

    with pytest.raises(ValueError, match=r"^`in_channels` \(=4\): Input should be 1 or 3\.$"):
        fit_to_weights(get_architecture("resnet18"), state)


def test_imagenets_labels_stand_in_the_order_of_its_synsets() -> None:
    labels = read_labels(IMAGENET)

    assert len(labels) == len(set(labels)) == 1000
    known = {0: "tench", 134: "crane bird", 207: "golden retriever", 281: "tabby", 517: "crane"}
    known |= {
        409: "analog clock",
        559: "folding chair",
        639: "maillot tank suit",
        817: "sports car",
    }
    known |= {920: "traffic light", 954: "banana", 985: "daisy", 999: "toilet tissue"}
    assert {index: labels[index] for index in known} == known
    assert name_labels(1000) == labels


def test_other_labels_are_numbered() -> None:
    assert name_labels(3) == ("label 0", "label 1", "label 2")


@pytest.mark.parametrize("text", ["", "\n\n", "cat\ndog\ncat\n"])
def test_a_file_of_labels_must_name_each_once(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text)

    with pytest.raises(ValueError, match=r"labels\.txt must name labels"):
        read_labels(tmp_path / "labels.txt")


def test_labels_are_read_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n hot dog \n\n")

    assert read_labels(tmp_path / "labels.txt") == ("cat", "hot dog")
    with pytest.raises(ValueError, match="cannot be read as labels"):
        read_labels(tmp_path / "none.txt")
