"""The ONNX graph: its borders, its numbers, its privacy, and the gate before it."""

import getpass
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import onnx
import torch
from torch import nn

from model.artifact.onnx_file import inspect
from model.network.resnet import Normalize, build
from model.preprocessing import Preprocessing
from training.evaluation.predict import onnx_session
from training.export.onnx_graph import (
    GATE_LOGIT_ERROR,
    ParityError,
    Servable,
    check_parity,
    to_onnx,
)
from training.trust.calibrator import Calibrator
from training.trust.head import TrustHead
from training.trust.ood import Distances, Score

SPEC = Preprocessing(resize=28, crop=28, channels=1, mean=(0.286,), std=(0.353,))
TEMPERATURE = 1.7
BORDERS = ("logits", "probabilities", "score", "features", "maps")


def _head() -> TrustHead:
    """A trust head of made-up features, with plain temperature scaling."""
    rng = torch.Generator().manual_seed(0)
    features, targets = torch.randn(100, 128, generator=rng), torch.arange(100) % 10
    calibrator = Calibrator(())
    with torch.no_grad():
        calibrator.scale.fill_(-np.log(TEMPERATURE))
    score = Score("mahalanobis", features, targets, 10)
    return TrustHead(calibrator, Distances(features, targets, 10), score)


@pytest.fixture(scope="module")
def servable() -> Servable:
    """Random weights, with norms that do something."""
    torch.manual_seed(0)
    network = build("mini_resnet")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return Servable(Normalize(SPEC.mean, SPEC.std), network, _head()).eval()


@pytest.fixture(scope="module")
def exported(servable: Servable) -> bytes:
    return to_onnx(servable, SPEC)


def _images(count: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)


def test_the_borders_have_the_contracts_names_types_and_shapes(exported: bytes) -> None:
    session = onnx_session(exported)
    (border,) = session.get_inputs()
    outputs = session.get_outputs()
    logits, probabilities = outputs[:2]

    assert tuple(output.name for output in outputs) == BORDERS
    assert all(isinstance(output.shape[0], str) for output in outputs)
    assert [output.shape[1:] for output in outputs[2:]] == [[], [128], [5, 7, 7]]
    assert (border.name, border.type) == ("images", "tensor(uint8)")
    assert isinstance(border.shape[0], str)
    assert border.shape[1:] == [28, 28, 1]
    assert (logits.name, logits.type, logits.shape[1:]) == ("logits", "tensor(float)", [10])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    assert probabilities.shape[1:] == [10]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_batch_size_gives_torchs_logits(
    servable: Servable, exported: bytes, count: int
) -> None:
    images = _images(count)

    logits, *_ = onnx_session(exported).run(None, {"images": images})

    with torch.inference_mode():
        expected, *_ = servable(torch.from_numpy(images))
    assert logits.shape == (count, 10)
    assert np.abs(logits - expected.numpy()).max() < GATE_LOGIT_ERROR
    assert np.abs(logits).max() > 0.01


def test_probabilities_are_the_softmax_of_the_logits_over_the_temperature(exported: bytes) -> None:
    logits, probabilities, *_ = onnx_session(exported).run(None, {"images": _images(7)})

    exponentials = np.exp(logits.astype(np.float64) / TEMPERATURE)
    expected = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_mean_and_std_are_in_the_graph(exported: bytes, servable: Servable) -> None:
    other = SPEC.model_copy(update={"mean": (0.5,), "std": (0.1,)})
    images = _images(2)
    same_network = Servable(Normalize(other.mean, other.std), servable.network, _head())

    logits, *_ = onnx_session(to_onnx(same_network, other)).run(None, {"images": images})

    before, *_ = onnx_session(exported).run(None, {"images": images})
    assert np.abs(logits - before).max() > 100 * GATE_LOGIT_ERROR


def test_norms_are_folded_into_the_convolutions(exported: bytes) -> None:
    kinds = [node.op_type for node in onnx.load_model_from_string(exported).graph.node]

    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 15  # a stem, six blocks of two, two projections


def test_the_graph_is_one_file(exported: bytes) -> None:
    assert inspect(exported).external == []


def test_the_graph_tells_nothing_of_the_machine_that_made_it(exported: bytes) -> None:
    secrets = {str(Path(__file__).parents[3]), str(Path.home()), torch.__path__[0], "site-packages"}
    secrets |= {".py", socket.gethostname() + ":", f"/home/{getpass.getuser()}"}

    found = {secret for secret in secrets if len(secret) > 1 and secret.encode() in exported}

    assert found == set()


def test_the_gate_lets_small_differences_pass_and_measures_them() -> None:
    expected = torch.tensor([[1.0, 2.0], [4.0, 3.0]])

    parity = check_parity(expected, expected + torch.tensor([[0.0, 5e-5], [0.0, 0.0]]))

    assert parity.max_abs_logit_error == pytest.approx(5e-5, rel=0.01)
    assert parity.top1_agreement == 1.0


@pytest.mark.parametrize(("error", "is_let_through"), [(1.9e-3, True), (2.1e-3, False)])
def test_the_gate_allows_large_logits_the_rounding_of_large_numbers(
    error: float, is_let_through: bool
) -> None:
    expected = torch.tensor([[100.0, 0.0]], dtype=torch.float64)
    actual = expected + torch.tensor([[0.0, error]])

    with (
        nullcontext() if is_let_through else pytest.raises(ParityError, match=r"allowed: 2\.0e-03")
    ):
        assert check_parity(expected, actual).max_abs_logit_error == pytest.approx(error)


@pytest.mark.parametrize(
    ("actual", "cause"),
    [
        ([[1.0, 2.0], [4.0, 3.0002]], r"by 2\.00e-04 .* same label for 100\.00%"),
        ([[1.0, 2.0], [3.0, 4.0]], r"same label for 50\.00% of 2 images"),  # more than rounding
        ([[1.0, float("nan")], [4.0, 3.0]], "by nan"),
        ([[1.0, float("inf")], [4.0, 3.0]], "by inf"),
    ],
)
def test_the_gate_stops_what_rounding_does_not_explain(
    actual: list[list[float]], cause: str
) -> None:
    with pytest.raises(ParityError, match=cause) as refused:
        check_parity(torch.tensor([[1.0, 2.0], [4.0, 3.0]]), torch.tensor(actual))

    assert "\n" not in str(refused.value)


def test_the_gate_lets_two_labels_swap_that_rounding_cannot_tell_apart() -> None:
    expected, actual = torch.tensor([[1.00001, 1.0]]), torch.tensor([[1.0, 1.00001]])

    assert check_parity(expected, actual).top1_agreement == 0


def test_the_map_of_each_likely_label_averages_to_its_logit_less_the_bias(
    exported: bytes, servable: Servable
) -> None:
    images = _images(9)

    logits, probabilities, _, _, maps = onnx_session(exported).run(None, {"images": images})

    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, : maps.shape[1]]
    biases = servable.network.fc.bias.detach().numpy()
    assert maps.shape[1] == min(5, probabilities.shape[1])
    np.testing.assert_allclose(
        maps.mean((2, 3)) + biases[likeliest],
        np.take_along_axis(logits, likeliest, axis=1),
        atol=1e-5,
    )


def test_the_head_reads_the_features(exported: bytes, servable: Servable) -> None:
    logits, _, _, features, _ = onnx_session(exported).run(None, {"images": _images(3)})

    head = servable.network.fc
    expected = features @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
