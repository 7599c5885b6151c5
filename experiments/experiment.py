"""What an experiment is: a name, a claim, a cost, and two functions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from training.data.dataset import Dataset

Value = str | int | float
Row = Mapping[str, Value]
"""One line of an experiment's CSV."""


@dataclass(frozen=True)
class Setting:
    """The inputs of one repetition.

    Attributes:
        dataset: Labelled images.
        seed: Of weights and order.
        epochs: Passes over the training split.
    """

    dataset: Dataset
    seed: int
    epochs: int


class Measure(Protocol):
    """Train and measure one arm with one seed, row by row."""

    def __call__(self, arm: str, setting: Setting) -> Iterator[Row]:
        """Yield the rows of one arm."""
        ...


@dataclass(frozen=True)
class Experiment:
    """A question about networks, and how it is answered.

    Attributes:
        name: On the command line, and of the CSV and the figure.
        title: Of its section in the docs.
        claim: What the literature says, with its source.
        done: How it is measured.
        arms: The networks or trainings that are compared.
        epochs: By default.
        seeds: Repetitions, by default.
        limit: Training images, by default; None: all.
        cost: Expected CPU time of all repetitions, and on which processor.
        columns: Of the CSV, after `arm` and `seed`.
        measure: Trains and measures one arm.
        draw: Rows of the CSV -> a figure.
        summarize: Rows of the CSV -> a table in Markdown, for the docs.
    """

    name: str
    title: str
    claim: str
    done: str
    arms: tuple[str, ...]
    epochs: int
    seeds: int
    limit: int | None
    cost: str
    columns: tuple[str, ...]
    measure: Measure
    draw: Callable[[Sequence[Mapping[str, str]], Path], None]
    summarize: Callable[[Sequence[Mapping[str, str]]], str]
