"""Wrong predictions, the most confident first: wrong labels and hard images show up there."""

from pathlib import Path
from typing import NamedTuple

from training.data.dataset import Dataset
from training.evaluation.predict import Predictions
from training.plots.contact_sheet import Tile, draw_sheet

MAX_MISTAKES = 48
COLUMNS = 8


class Mistake(NamedTuple):
    """An image of the test split whose predicted label is wrong."""

    position: int
    label: str
    predicted: str
    probability: float
    file: str | None


def find_mistakes(
    predictions: Predictions, dataset: Dataset, most: int = MAX_MISTAKES
) -> list[Mistake]:
    """Find wrong predictions on the test split, the most confident first.

    Args:
        predictions: Of the whole test split.
        dataset: Its labels, and its files' names.
        most: Largest number of mistakes to return.
    """
    probabilities, predicted = predictions.calibrated().max(1)
    wrong = (predicted != predictions.targets).nonzero().flatten()
    order = probabilities[wrong].argsort(descending=True, stable=True)
    files = dataset.files.get("test")
    return [
        Mistake(
            position=position,
            label=dataset.labels[int(predictions.targets[position])],
            predicted=dataset.labels[int(predicted[position])],
            probability=probabilities[position].item(),
            file=files[position] if files else None,
        )
        for position in wrong[order][:most].tolist()
    ]


def draw_mistakes(mistakes: list[Mistake], dataset: Dataset, out: Path) -> None:
    """Draw each mistake with its label, the prediction, its probability, and its file."""
    tiles = [
        Tile(
            dataset.test.images[mistake.position].numpy(),
            (
                f"is {mistake.label}",
                f"{mistake.probability:.0%} {mistake.predicted}",
                Path(mistake.file).name if mistake.file else f"number {mistake.position}",
            ),
        )
        for mistake in mistakes
    ]
    draw_sheet(tiles, COLUMNS, out)
