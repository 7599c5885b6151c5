"""How many images each split of a data set has."""

from training.data.dataset import Dataset


def sizes_of(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.validation), len(dataset.test)
