"""Where random crops are cut: on the device, from stored images, or by the loader, from files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from training.data.dataset import Dataset, Split
from training.data.random_crop import RandomCrop
from training.data.splits import as_path
from training.data.streamed import Paths, StreamedSplit
from training.recipe.recipe import Recipe


def training_split(dataset: Dataset, recipe: Recipe, seed: int) -> tuple[Split, Recipe]:
    """Have crops cut from files where the recipe says so and the images are files.

    Args:
        dataset: Its training split may be in memory, where the crop would be cut from the centre.
        recipe: Of the run.
        seed: Of the run.

    Returns:
        The training split, and the recipe of what is left to augment on the device.
    """
    files = dataset.files.get("train", ())
    if not recipe.rrc_from_file or recipe.rrc_min_area == 1 or len(files) != len(dataset.train):
        return dataset.train, recipe
    crop = RandomCrop(recipe.rrc_min_area, seed)
    left = recipe.model_copy(update={"rrc_min_area": 1.0})
    if isinstance(dataset.train, StreamedSplit):
        return replace(dataset.train, crop=crop), left
    root = Path(dataset.source)
    paths = Paths(root / as_path(name) for name in files)
    keys = np.zeros((len(files), 0), np.uint8)  # nobody looks for copies in it
    return StreamedSplit(paths, dataset.train.targets, dataset.preprocessing, keys, crop), left
