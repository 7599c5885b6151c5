"""The figures of a network, against plain NumPy."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from PIL import Image

from training.data.dataset import Dataset, MemorySplit
from training.evaluation.metrics import (
    BINS,
    classwise_calibration_error,
    evaluate,
    reliability,
    smooth_calibration_error,
    worse_than_softmax,
    write_report,
)
from training.evaluation.predict import Predictions, load_network, predict_split, with_mirror
from training.fit.loop import Outcome
from training.runs.record import CheckpointError

LABELS = tuple("abcdefg")


def _answers(count: int = 700, classes: int = 7) -> Predictions:
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, classes, generator=rng)
    targets = torch.randint(0, classes, (count,), generator=rng)
    half = torch.arange(count) % 2 == 0
    return Predictions(logits, torch.where(half, logits.argmax(1), targets))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_loss_and_accuracies_are_numpys(temperature: float) -> None:
    answers = _answers()
    logits, targets = answers.logits.double().numpy() / temperature, answers.targets.numpy()

    figures = evaluate(
        Predictions(answers.logits / temperature, answers.targets),
        labels=LABELS,
        dataset="made up",
        split="test",
    )

    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ranks = (-logits).argsort(1)
    own = probabilities[np.arange(len(targets)), targets]
    assert figures.n == 700
    assert figures.loss == pytest.approx(-np.log(own).mean(), rel=1e-5)
    assert figures.top1 == pytest.approx((ranks[:, 0] == targets).mean(), abs=1e-6)
    assert figures.top5 == pytest.approx((ranks[:, :5] == targets[:, None]).any(1).mean(), abs=1e-6)
    assert 0.4 < figures.top1 < figures.top5 < 1


@pytest.mark.parametrize(
    ("count", "factor", "is_worse"),
    [
        (700, 1.0, False),
        (60, 2.0, True),  # half of the targets are random: twice as confident is wrong
        (700, 0.7, False),  # and less confident is right
    ],
)
def test_a_rise_of_the_cross_entropy_is_found_beyond_the_noise(
    count: int, factor: float, is_worse: bool
) -> None:
    plain = _answers(count)
    answers = Predictions(plain.logits, plain.targets, (factor * plain.logits).softmax(1))

    found = worse_than_softmax(answers)

    before, after = (
        -np.log(values.double().numpy()[np.arange(count), plain.targets.numpy()]).mean()
        for values in (plain.logits.softmax(1), answers.calibrated())
    )
    assert found == (f"from {before:.4f} to {after:.4f}" if is_worse else None)


def test_confusion_counts_truth_in_rows_and_answers_in_columns() -> None:
    answers = _answers()

    figures = evaluate(answers, labels=LABELS, dataset="made up", split="test")

    expected = np.zeros((7, 7), int)
    np.add.at(expected, (answers.targets.numpy(), answers.logits.argmax(1).numpy()), 1)
    assert figures.confusion == expected.tolist()
    recall = expected.diagonal() / expected.sum(1)
    assert list(figures.per_label) == list(LABELS)
    assert list(figures.per_label.values()) == pytest.approx(recall.tolist())


def test_calibration_error_is_the_gap_of_confidence_and_accuracy_over_equal_bins() -> None:
    answers = _answers()
    probabilities = answers.logits.double().softmax(1).numpy()
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == answers.targets.numpy()

    figures = evaluate(answers, labels=LABELS, dataset="made up", split="test")

    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = 0.0
    for number in range(BINS):
        inside = place == number
        if inside.any():
            gap += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert figures.ece == pytest.approx(gap, abs=1e-4)
    assert figures.ece > 0.05


def test_a_confidence_of_exactly_one_has_no_bin_of_its_own() -> None:
    sure = torch.tensor([[1.0, 0.0]] * 500 + [[0.95, 0.05]] * 500)
    right = torch.tensor([0] * 450 + [1] * 50 + [0] * 500)  # 0.9 of the first half, all of the rest

    figures = reliability(sure, right)

    assert figures.ece == pytest.approx(0.975 - 0.95)  # one bin: mean confidence, mean accuracy


def test_the_error_without_bins_is_the_smoothed_gap_at_its_own_width() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.beta(6, 2, 400).clip(0.5)
    right = rng.random(400) < confidence - 0.08  # too sure
    answers = torch.from_numpy(np.stack([confidence, 1 - confidence], 1))

    found = smooth_calibration_error(answers, torch.from_numpy(1 - right.astype(np.int64)))

    at = (np.arange(1_000) + 0.5) / 1_000  # by the definition, with images beyond 0 and 1
    kernel = np.zeros((400, 1_000))
    for place in (confidence, -confidence, 2 - confidence):
        kernel += np.exp(-(((at - place[:, None]) / found) ** 2) / 2)
    kernel /= found * np.sqrt(2 * np.pi)
    smoothed = ((right - confidence)[:, None] * kernel).mean(0)
    assert np.abs(smoothed).mean() == pytest.approx(found, rel=0.01)
    assert found == pytest.approx(0.08, abs=0.04)


def test_the_classwise_error_is_the_mean_over_the_labels_of_their_own() -> None:
    answers = torch.tensor([[0.7, 0.3]] * 10)
    targets = torch.tensor([0] * 9 + [1])

    assert classwise_calibration_error(answers, targets) == pytest.approx(0.2)


def test_a_label_without_images_has_no_accuracy() -> None:
    answers = Predictions(torch.eye(3), torch.tensor([0, 1, 1]))

    figures = evaluate(answers, labels=("a", "b", "c"), dataset="made up", split="test")

    assert figures.per_label == {"a": 1.0, "b": 0.5, "c": None}


def test_two_labels_make_every_top_5_answer_right() -> None:
    answers = Predictions(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))

    figures = evaluate(answers, labels=("a", "b"), dataset="made up", split="test")

    assert (figures.top1, figures.top5) == (0.5, 1.0)


def test_answer_asks_about_every_image_once_and_in_order() -> None:
    count = 1_003  # of one pixel
    images = torch.arange(count).remainder(256).to(torch.uint8)[:, None, None, None]
    sizes = []

    def predict(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return batch.flatten(1).float()

    answers = predict_split(predict, MemorySplit(images, torch.arange(count)))

    assert sizes == [500, 500, 3]
    assert answers.logits[:, 0].tolist() == images.flatten().tolist()
    assert answers.targets.tolist() == list(range(count))


def test_a_load_networks_the_same_twice(trained: Outcome, small_fashion: Dataset) -> None:
    loaded = load_network(trained.folder.path)
    predict = loaded.predict()
    images = small_fashion.test.images[:8]

    assert loaded.record.labels == small_fashion.labels
    assert predict(images).shape == (8, 10)
    assert torch.equal(predict(images), predict(images))


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        load_network(tmp_path / "nowhere.ckpt")


def test_the_mirrored_figure_is_of_the_mean_over_both_images() -> None:
    images = torch.zeros(2, 4, 4, 1, dtype=torch.uint8)
    images[:, :, 0] = torch.tensor([10, 200], dtype=torch.uint8)[:, None, None]

    def left_edge(images: torch.Tensor) -> torch.Tensor:
        edge = images[:, 0, 0, 0].float()  # the mirror image has 0 there
        return torch.stack([edge, torch.full_like(edge, 50)], dim=1)

    split = MemorySplit(images, torch.tensor([1, 0]))
    plain, mirrored = predict_split(left_edge, split), predict_split(with_mirror(left_edge), split)

    assert mirrored.logits.tolist() == [[5, 50], [100, 50]]
    figures = evaluate(plain, labels=("a", "b"), dataset="d", split="test", mirrored=mirrored)
    assert (figures.top1, figures.mirrored_top1) == (1.0, 1.0)
    assert evaluate(plain, labels=("a", "b"), dataset="d", split="test").mirrored_top1 is None


def test_the_report_holds_the_figures_and_two_drawings(tmp_path: Path) -> None:
    answers = _answers()
    figures = evaluate(answers, labels=LABELS, dataset="made up", split="test")

    paths = write_report(tmp_path / "report", figures, answers)

    assert [path.name for path in paths] == [
        "evaluation.json",
        "confusion.png",
        "reliability.png",
    ]
    assert json.loads(paths[0].read_text()) == figures.model_dump()
    for path in paths[1:]:
        with Image.open(path) as drawing:
            assert min(drawing.size) > 400
            colours = drawing.convert("RGB").getcolors(1 << 24)
        assert colours is not None
        assert len(colours) > 20
