"""The mistakes that a network was surest of: wrong labels and hard pictures come up first."""

from pathlib import Path
from typing import NamedTuple

from training.data.dataset import Dataset
from training.evaluation.predict import Answers
from training.plots.contact_sheet import Tile, draw_sheet

MOST = 48
COLUMNS = 8


class Mistake(NamedTuple):
    """A picture of the test split that was taken for another label."""

    position: int
    truth: str
    answer: str
    probability: float
    file: str | None


def find_mistakes(answers: Answers, dataset: Dataset, most: int = MOST) -> list[Mistake]:
    """Find wrong answers on the test split, the surest first.

    Args:
        answers: Of the whole test split.
        dataset: Its labels, and its files' names.
        most: How many to give.
    """
    probabilities, answered = answers.calibrated().max(1)
    wrong = (answered != answers.targets).nonzero().flatten()
    surest = wrong[probabilities[wrong].argsort(descending=True, stable=True)][:most]
    files = dataset.files.get("test")
    return [
        Mistake(
            position=position,
            truth=dataset.labels[int(answers.targets[position])],
            answer=dataset.labels[int(answered[position])],
            probability=probabilities[position].item(),
            file=files[position] if files else None,
        )
        for position in surest.tolist()
    ]


def draw_mistakes(mistakes: list[Mistake], dataset: Dataset, out: Path) -> None:
    """Draw each mistake with its truth, the answer, how sure it was, and its file."""
    tiles = [
        Tile(
            dataset.test.images[mistake.position].numpy(),
            (
                f"is {mistake.truth}",
                f"{mistake.probability:.0%} {mistake.answer}",
                Path(mistake.file).name if mistake.file else f"number {mistake.position}",
            ),
        )
        for mistake in mistakes
    ]
    draw_sheet(tiles, COLUMNS, out)
