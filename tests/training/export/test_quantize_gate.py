"""Which precisions are asked for, and the gate that each must pass before it is written."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import onnx
import torch

from tests.conftest import Command
from training.cli.main import export_script
from training.data.dataset import Dataset
from training.evaluation.predict import Predictions, load_network, onnx_outputs
from training.export import session
from training.export.checkpoint import export_checkpoint
from training.export.options import Options
from training.export.precisions import AccuracyError, chosen_precisions, gate
from training.fit.loop import Outcome


def test_a_precision_that_overflows_is_refused_by_name(
    trained: Outcome, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = small_fashion.validation  # the gate before reads test images only

    def overflow(loaded: Any, images: Any, names: Any) -> dict[str, torch.Tensor]:
        outputs = onnx_outputs(loaded, images, names)
        factor = torch.inf if images is validation else 1.0
        return {name: values * factor for name, values in outputs.items()}

    monkeypatch.setattr(session, "onnx_outputs", overflow)

    with pytest.raises(AccuracyError, match="float32 gives numbers that are not finite"):
        export_checkpoint(
            load_network(trained.folder.path), small_fashion, tmp_path / "small" / "1"
        )

    assert not (tmp_path / "small" / "1").exists()


def test_a_failed_gate_writes_nothing(
    trained: Outcome, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export.precisions.to_float16", _blind)

    with pytest.raises(AccuracyError, match=r"float16 loses .* --gate float16=POINTS"):
        export_checkpoint(
            load_network(trained.folder.path),
            small_fashion,
            tmp_path / "a" / "1",
            Options(("float32", "float16")),
        )

    assert list(tmp_path.iterdir()) == []


def _blind(model: bytes) -> bytes:
    """The same graph with a head that answers one label."""
    loaded = onnx.load_from_string(model)
    (head,) = (node for node in loaded.graph.node if node.op_type == "Gemm")
    for tensor in loaded.graph.initializer:
        if tensor.name == head.input[1]:
            tensor.raw_data = bytes(len(tensor.raw_data))
    content: bytes = loaded.SerializeToString()
    return content


@pytest.mark.parametrize(("lost", "passes"), [(0, True), (1, True), (2, True), (3, False)])
def test_the_gate_counts_points_of_top1(lost: int, passes: bool) -> None:
    targets = torch.zeros(1000, dtype=torch.long)
    full = Predictions(torch.tensor([[1.0, 0.0]]).repeat(1000, 1), targets)
    logits = full.logits.clone()
    logits[:lost] = torch.tensor([0.0, 1.0])

    if passes:
        gate("int8", full, Predictions(logits, targets), 0.2)
    else:
        with pytest.raises(AccuracyError, match=r"loses 0\.30 points"):
            gate("int8", full, Predictions(logits, targets), 0.2)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((), ("float32",)),
        (("int8",), ("float32", "int8")),
        (("all",), ("float32", "float16", "int8")),
    ],
)
def test_float32_is_always_in(wanted: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert chosen_precisions(wanted) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("--precision", "int4"),
        ("--gate", "int8"),
        ("--gate", "float32=1"),
        ("--gate", "int8=-1"),
        ("--gate", "int8=nan"),
    ],
)
def test_bad_options_are_bad_usage(
    command: Command, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    given = ("--random", "--architecture", "mini_resnet", "--out", tmp_path / "1", *arguments)

    finished = command(export_script, *given)

    assert finished.code == 2
    assert list(tmp_path.iterdir()) == []
