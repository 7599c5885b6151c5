"""Wrong predictions, the most confident first: wrong labels and hard images show up there."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from training.evaluation.predict import Predictions
from training.plots.contact_sheet import Tile, draw_sheet

MAX_MISTAKES = 48
COLUMNS = 8


class Mistake(NamedTuple):
    """An image whose predicted label is wrong."""

    position: int
    label: str
    predicted: str
    probability: float
    file: str | None


def find_mistakes(
    predictions: Predictions,
    labels: Sequence[str],
    files: Sequence[str] = (),
    most: int = MAX_MISTAKES,
) -> list[Mistake]:
    """Find wrong predictions on a split, the most confident first.

    Args:
        predictions: Of the whole split.
        labels: In the order of the targets.
        files: Names of the images' files; empty if one file holds them all.
        most: Largest number of mistakes to return.
    """
    probabilities, predicted = predictions.calibrated().max(1)
    wrong = (predicted != predictions.targets).nonzero().flatten()
    order = probabilities[wrong].argsort(descending=True, stable=True)
    return [
        Mistake(
            position=position,
            label=labels[int(predictions.targets[position])],
            predicted=labels[int(predicted[position])],
            probability=probabilities[position].item(),
            file=files[position] if files else None,
        )
        for position in wrong[order][:most].tolist()
    ]


def draw_mistakes(mistakes: list[Mistake], images: Tensor, out: Path) -> None:
    """Draw each mistake with its label, the prediction, its probability, and its file.

    Args:
        mistakes: In the order of the sheet.
        images: Of the mistakes, uint8 (M, S, S, C).
        out: The PNG file.
    """
    tiles = [
        Tile(
            image.numpy(),
            (
                f"is {mistake.label}",
                f"{mistake.probability:.0%} {mistake.predicted}",
                Path(mistake.file).name if mistake.file else f"number {mistake.position}",
            ),
        )
        for mistake, image in zip(mistakes, images, strict=True)
    ]
    draw_sheet(tiles, COLUMNS, out)
