"""The sheet of mistakes, against answers written by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from training.data.dataset import Dataset
from training.evaluation.mistakes import draw_mistakes, find_mistakes
from training.evaluation.predict import Predictions


@pytest.fixture
def dataset(small_fashion: Dataset) -> Dataset:
    """Five test images of the labels 0, 1, 2, 3, 4, with names."""
    test = small_fashion.test[:5].with_targets(torch.arange(5))
    return replace(small_fashion, test=test, files={"test": tuple(f"t/{n}.png" for n in range(5))})


@pytest.fixture
def answers() -> Predictions:
    """Right on 0 and 3; wrong on 1 (a little sure), 2 (surest) and 4 (less sure)."""
    logits = torch.zeros(5, 10)
    for position, (answer, sureness) in enumerate([(0, 9), (7, 4), (9, 8), (3, 1), (0, 6)]):
        logits[position, answer] = sureness
    return Predictions(logits, torch.arange(5))


def test_the_surest_mistakes_come_first_with_truth_answer_and_file(
    answers: Predictions, dataset: Dataset
) -> None:
    mistakes = find_mistakes(answers, dataset.labels, dataset.files["test"])

    labels = dataset.labels
    assert [(m.position, m.label, m.predicted, m.file) for m in mistakes] == [
        (2, labels[2], labels[9], "t/2.png"),
        (4, labels[4], labels[0], "t/4.png"),
        (1, labels[1], labels[7], "t/1.png"),
    ]
    sure = torch.tensor(8.0).exp().item()
    assert mistakes[0].probability == pytest.approx(sure / (sure + 9))
    assert len(find_mistakes(answers, dataset.labels, most=2)) == 2


def test_the_sheet_shows_the_images_themselves(
    answers: Predictions, dataset: Dataset, tmp_path: Path
) -> None:
    mistakes = find_mistakes(answers, dataset.labels)
    images = dataset.test.images[[mistake.position for mistake in mistakes]]

    draw_mistakes(mistakes, images, tmp_path / "mistakes.png")

    with Image.open(tmp_path / "mistakes.png") as sheet:
        first = sheet.crop((8, 8, 8 + 98, 8 + 98)).resize((14, 14), Image.Resampling.NEAREST)
    assert list(first.convert("L").tobytes()) == dataset.test.images[2].flatten().tolist()
