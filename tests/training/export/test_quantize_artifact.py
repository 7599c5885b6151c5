"""A run exported in every precision: the same borders, its figures, its answers, its table."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import numpy as np
import onnx
import torch
from onnx import TensorProto

from model.artifact.folder import Artifact
from model.artifact.prediction_sets import conformal_scores
from tests.training.export.counting import Work, count_work
from training.cli.report import main
from training.data.dataset import Dataset
from training.evaluation.predict import load_network, onnx_outputs, onnx_session
from training.export.checkpoint import export_checkpoint
from training.export.options import Options
from training.export.precisions import chosen_precisions
from training.export.report import trust_table
from training.export.session import SPEED_THREADS
from training.fit.loop import Outcome

BORDERS = ("logits", "probabilities", "score", "features", "maps")


@pytest.fixture(scope="module")
def calibrated(small_fashion: Dataset) -> Dataset:
    """With half of the validation images as a calibration split."""
    whole = small_fashion.validation
    return replace(small_fashion, validation=whole[:60], calibration=whole[60:])


@pytest.fixture(scope="module")
def counted(
    trained: Outcome, calibrated: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, Work]:
    """The finished run in all precisions; so small a network may lose more than the gate."""
    options = Options(chosen_precisions(("all",)), {"int8": 5.0, "float16": 5.0})
    out = tmp_path_factory.mktemp("precisions") / "small-fashion" / "1"
    network = load_network(trained.folder.path)
    with pytest.MonkeyPatch.context() as patches:
        work = count_work(patches)
        return export_checkpoint(network, calibrated, out, options), work


@pytest.fixture(scope="module")
def exported(counted: tuple[Artifact, Work]) -> Artifact:
    return counted[0]


def test_an_export_loads_each_graph_once_and_runs_each_split_once(
    counted: tuple[Artifact, Work],
) -> None:
    artifact, work = counted

    for name in ("float32", "float16"):
        assert work.loads[artifact.model(name), 0] == 1
        assert work.loads[artifact.model(name), SPEED_THREADS] == 1
    assert work.loads[artifact.model("int8"), SPEED_THREADS] == 1
    assert sum(work.loads.values()) == 8  # two each, and the other two range estimators of int8
    assert set(work.runs.values()) == {1}


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
    assert file.refusal.threshold is not None
    accepted = (reduced["score"] >= file.refusal.threshold).double().mean()
    assert file.refusal.accepted == pytest.approx(float(accepted))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_calibration_split_sets_the_thresholds_by_what_the_file_answers(
    exported: Artifact, calibrated: Dataset, precision: str
) -> None:
    file = exported.manifest.files[precision]  # type: ignore[index]
    split = calibrated.calibration
    found = onnx_outputs(onnx_session(exported.model(precision)), split.images, BORDERS)  # type: ignore[arg-type]

    sets, ood = file.prediction_sets, file.refusal
    assert sets is not None
    assert ood is not None
    assert (sets.split, sets.n) == (ood.split, ood.n) == ("calibration", 60)
    scores = conformal_scores(found["probabilities"].numpy(), sets.penalty, sets.free_labels)
    ascending = np.sort(scores[np.arange(60), split.targets])
    assert sets.thresholds[sets.coverages.index(0.95)] == pytest.approx(ascending[57])  # 58 of 61
    assert ood.threshold == pytest.approx(float(found["score"].sort().values[2]))  # 3 of 61
    assert [one.wanted for one in sets.measured] == [0.9, 0.95]  # 60 images are too few for 0.99
    assert all(one.expected is not None for one in sets.measured)


@pytest.mark.parametrize("precision", ["float32", "int8", "float16"])
def test_maps_stay_exact_in_every_precision(
    exported: Artifact, small_fashion: Dataset, precision: str
) -> None:
    session = onnx_session(exported.model(precision))  # type: ignore[arg-type]
    outputs = onnx_outputs(session, small_fashion.test.images[:100], BORDERS)
    top = outputs["probabilities"].argmax(1)
    assert exported.manifest.head_bias is not None
    biases = torch.tensor(exported.manifest.head_bias)[top]

    logits = outputs["maps"][:, 0].mean((1, 2)) + biases

    torch.testing.assert_close(logits, outputs["logits"][torch.arange(100), top], atol=1e-4, rtol=0)


def test_the_golden_answers_hold_within_each_precisions_tolerance(exported: Artifact) -> None:
    images = torch.from_numpy(exported.golden_images())
    golden = np.array([answer.probabilities for answer in exported.manifest.golden])

    for precision, file in exported.manifest.files.items():
        session = onnx_session(exported.model(precision))
        found = onnx_outputs(session, images, ("probabilities",))["probabilities"].numpy()
        assert np.abs(found - golden).max() <= file.golden_tolerance
        assert (found.argmax(1) == golden.argmax(1)).all()


def test_the_tables_show_every_precision(
    exported: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    table = trust_table(exported.manifest)

    assert main([str(exported.folder)]) == 0
    assert capsys.readouterr().out == table + "\n"
    for name in ("float32", "float16", "int8", "letters", "temperature", "mahalanobis"):
        assert name in table
    assert main([]) == 2
