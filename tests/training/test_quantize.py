"""Cheaper precisions: what changes, what does not, and the gate before them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto

from model.architecture import get_architecture
from model.artifact import Artifact
from training import precisions
from training.cli import export_script
from training.datasets.dataset import Dataset, Split
from training.export import Options, export_checkpoint
from training.export_uncalibrated import export_random
from training.precisions import AccuracyError, chosen_precisions, gate
from training.predict import Answers, onnx_outputs, onnx_session
from training.train import Outcome
from training.trust_table import main, trust_table

BORDERS = ("logits", "probabilities", "score", "features", "maps")


@pytest.fixture(scope="module")
def exported(
    trained: Outcome, small_fashion: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """The finished run in all precisions; so small a network may lose more than the gate."""
    options = Options(chosen_precisions(("all",)), {"int8": 5.0, "float16": 5.0})
    out = tmp_path_factory.mktemp("precisions") / "small-fashion" / "1"
    return export_checkpoint(trained.folder.path, small_fashion, out, options)


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_the_borders_are_those_of_float32(exported: Artifact, precision: str) -> None:
    of_float32, reduced = (
        onnx_session(exported.model(name))  # type: ignore[arg-type]
        for name in ("float32", precision)
    )

    for border in ("get_inputs", "get_outputs"):
        expected = [(n.name, n.type, n.shape[1:]) for n in getattr(of_float32, border)()]
        found = [(n.name, n.type, n.shape[1:]) for n in getattr(reduced, border)()]
        assert found == expected


def test_int8_weights_are_per_channel_and_both_ends_stay_in_float(exported: Artifact) -> None:
    graph = onnx.load_from_string(exported.model("int8")).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}

    stem, *convolutions = (node for node in graph.node if node.op_type == "Conv")
    assert weights[stem.input[1]].data_type == TensorProto.FLOAT
    makers = {output: node for node in graph.node for output in node.output}
    for node in convolutions:
        scale = makers[node.input[1]]
        assert scale.op_type == "DequantizeLinear"
        assert weights[scale.input[0]].data_type == TensorProto.INT8
        assert len(weights[scale.input[1]].dims) == 1
        assert makers[node.input[0]].op_type == "DequantizeLinear"
    (head,) = (node for node in graph.node if node.op_type == "Gemm")
    assert weights[head.input[1]].data_type == TensorProto.FLOAT


@pytest.mark.parametrize(
    ("name", "channels", "stems", "transpositions"),
    [("mini_resnet", 1, 1, 3), ("resnet18_d2l", 1, 1, 3), ("mini_resnet", 3, 0, 2)],
)
def test_no_layer_of_int8_is_transposed_for_itself(
    name: str, channels: int, stems: int, transpositions: int, tmp_path: Path
) -> None:
    spec = get_architecture(name, in_channels=channels)
    artifact = export_random(spec, tmp_path / name / "1", Options(chosen_precisions(("int8",))))

    settings = ort.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    settings.log_severity_level = 3  # that the file is for this machine alone is known
    ort.InferenceSession(artifact.model("int8"), settings, providers=["CPUExecutionProvider"])

    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert found["Conv"] == stems  # the others are QLinearConv
    assert found["Transpose"] <= transpositions  # of pictures, of the stem, of the last features


def test_a_network_without_convolutions_is_made_cheaper_too(tmp_path: Path) -> None:
    options = Options(chosen_precisions(("all",)))

    artifact = export_random(get_architecture("residual_mlp"), tmp_path / "mlp" / "1", options)

    sizes = {name: file.bytes for name, file in artifact.manifest.files.items()}
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["int8"] < 0.3 * sizes["float32"]
    assert artifact.manifest.files["float16"].max_abs_logit_error > 0
    graph = onnx.load_from_string(artifact.model("int8")).graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    *body, head = (node for node in graph.node if node.op_type == "Gemm")
    assert weights[head.input[1]] == TensorProto.FLOAT
    assert not any(weights.get(node.input[1]) == TensorProto.FLOAT for node in body)


def test_ranges_are_taken_from_all_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_by_label = torch.arange(2_000).div(20, rounding_mode="floor").to(torch.uint8)
    seen: list[np.ndarray[Any, Any]] = []

    def note(_: bytes, images: np.ndarray[Any, Any], __: str) -> bytes:
        seen.append(images)
        return b""

    monkeypatch.setattr(precisions, "to_int8", note)
    monkeypatch.setattr(precisions, "_share_right", lambda *_: 1.0)

    pictures = sorted_by_label[:, None, None, None].expand(-1, 4, 4, 1)
    made = precisions.make(b"", "int8", pictures, Split(pictures, torch.zeros(2_000)))

    assert made.quantization is not None
    assert made.quantization.pictures == len(seen[0]) == 512
    assert len(np.unique(seen[0])) > 90  # of 100 labels


def test_a_precision_that_overflows_is_refused_by_name(
    trained: Outcome, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(*given: Any) -> dict[str, torch.Tensor]:
        outputs = onnx_outputs(*given)
        return {name: values * torch.inf for name, values in outputs.items()}

    monkeypatch.setattr(precisions, "onnx_outputs", overflow)

    with pytest.raises(AccuracyError, match="float32 gives numbers that are not finite"):
        export_checkpoint(trained.folder.path, small_fashion, tmp_path / "small" / "1")

    assert not (tmp_path / "small" / "1").exists()


def test_the_file_says_which_calibrator_of_ranges_did_best(exported: Artifact) -> None:
    how = exported.manifest.files["int8"].quantization

    assert how is not None
    assert set(how.tried) == {"minmax", "percentile", "entropy"}
    assert how.tried[how.calibrator] == max(how.tried.values())


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_the_figures_come_out_again(
    exported: Artifact, small_fashion: Dataset, precision: str
) -> None:
    file = exported.manifest.files[precision]  # type: ignore[index]
    images, targets = small_fashion.test.images, small_fashion.test.targets
    full, reduced = (
        onnx_outputs(onnx_session(exported.model(name)), images, BORDERS)  # type: ignore[arg-type]
        for name in ("float32", precision)
    )

    top = reduced["probabilities"].argmax(1)
    assert file.top1 == pytest.approx(float((top == targets).double().mean()))
    same = (top == full["probabilities"].argmax(1)).double().mean()
    assert file.top1_agreement == pytest.approx(float(same))
    error = float((full["logits"] - reduced["logits"]).abs().max())
    assert file.max_abs_logit_error == pytest.approx(error)
    assert file.speed is not None
    assert file.calibration is not None
    assert file.refusal is not None
    accepted = (reduced["score"] >= file.refusal.threshold).double().mean()
    assert file.refusal.accepted == pytest.approx(float(accepted))


@pytest.mark.parametrize("precision", ["float32", "int8", "float16"])
def test_maps_stay_exact_in_every_precision(
    exported: Artifact, small_fashion: Dataset, precision: str
) -> None:
    session = onnx_session(exported.model(precision))  # type: ignore[arg-type]
    outputs = onnx_outputs(session, small_fashion.test.images[:100], BORDERS)
    top = outputs["probabilities"].argmax(1)
    assert exported.manifest.head_bias is not None
    biases = torch.tensor(exported.manifest.head_bias)[top]

    logits = outputs["maps"].mean((1, 2)) + biases

    torch.testing.assert_close(logits, outputs["logits"][torch.arange(100), top], atol=1e-4, rtol=0)


def test_the_golden_answers_hold_within_each_precisions_tolerance(exported: Artifact) -> None:
    images = torch.from_numpy(exported.golden_images())
    golden = np.array([answer.probabilities for answer in exported.manifest.golden])

    for precision, file in exported.manifest.files.items():
        session = onnx_session(exported.model(precision))
        found = onnx_outputs(session, images, ("probabilities",))["probabilities"].numpy()
        assert np.abs(found - golden).max() <= file.golden_tolerance
        assert (found.argmax(1) == golden.argmax(1)).all()


def test_a_failed_gate_writes_nothing(
    trained: Outcome, small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.precisions.to_float16", _blind)

    with pytest.raises(AccuracyError, match=r"float16 loses .* --gate float16=POINTS"):
        export_checkpoint(
            trained.folder.path,
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
    full = Answers(torch.tensor([[1.0, 0.0]]).repeat(1000, 1), targets)
    logits = full.logits.clone()
    logits[:lost] = torch.tensor([0.0, 1.0])

    if passes:
        gate("int8", full, Answers(logits, targets), 0.2)
    else:
        with pytest.raises(AccuracyError, match=r"loses 0\.30 points"):
            gate("int8", full, Answers(logits, targets), 0.2)


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
    command: "object", tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    finished = command(  # type: ignore[operator]
        export_script,
        "--random",
        "--architecture",
        "mini_resnet",
        "--out",
        tmp_path / "1",
        *arguments,
    )

    assert finished.code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_tables_show_every_precision(
    exported: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    table = trust_table(exported.manifest)

    assert main([str(exported.folder)]) == 0
    assert capsys.readouterr().out == table + "\n"
    for name in ("float32", "float16", "int8", "noise", "temperature", "mahalanobis"):
        assert name in table
    assert main([]) == 2
