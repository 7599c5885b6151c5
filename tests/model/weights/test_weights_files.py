"""Files of weights: wrappers and prefixes come off, what is broken or would run code is refused."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from safetensors.torch import save_file

from model.network.resnet import build
from model.weights.file import WeightsError, read_weights
from model.weights.loading import load_weights
from tests.model.published import State, cifar_resnet


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


def test_a_file_of_safetensors_is_read_whatever_its_name_says(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.ones(1)}, tmp_path / "weights.pth")
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "weights.safetensors")

    assert read_weights(tmp_path / "weights.pth")["conv1.weight"] == 1
    assert read_weights(tmp_path / "weights.safetensors")["conv1.weight"] == 1
