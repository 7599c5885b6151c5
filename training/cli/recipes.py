"""Which recipe a command trains with: by name, from a file, or chosen for the images."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from training.data.fashion_mnist import has_idx_files
from training.data.memory import usable_memory
from training.data.survey import Survey, survey_folder
from training.fit.first_weights import FirstWeights
from training.fit.memory import free_memory
from training.recipe.auto import AUTO, Facts, choose
from training.recipe.presets import RECIPES, change_recipe
from training.recipe.recipe import Recipe, RecipeError
from training.runs.reading import read_record
from training.runs.recipe_file import choose_recipe

log = logging.getLogger(__name__)


def usual_recipe(data: Path | None, labels_csv: Path | None = None) -> str:
    """Name the recipe of a run that names none: `auto` for images of one's own."""
    return AUTO if labels_csv or not (data is None or has_idx_files(data)) else "default"


def recipe_for(
    name: str | None,
    changes: Sequence[str],
    data: Path | None,
    init: Path | None = None,
    labels_csv: Path | None = None,
) -> Recipe:
    """Get the recipe of a new run, and log what `auto` chose and why.

    Raises:
        DatasetError: If the folder's labels make no sense, or no header can be read.
        RecipeError: If there is no such recipe, or `auto` has no folder to look at.
        WeightsError: If first weights cannot be read.
    """
    name = name or usual_recipe(data, labels_csv)
    start = None if init is None else FirstWeights.read(init)
    if name != AUTO:
        return choose_recipe(name, [*_brought(name, start), *changes])
    if labels_csv is not None:
        survey = survey_folder(data or labels_csv.parent, labels_csv)
    elif data is None or has_idx_files(data):
        raise RecipeError("The recipe auto needs a folder of images: --data FOLDER.")
    else:
        survey = survey_folder(data)
    recipe, reasons = choose(_facts(survey, start))
    for reason in reasons:
        log.info(reason)
    return change_recipe(recipe, changes)


def _brought(name: str, start: FirstWeights | None) -> list[str]:
    """List what first weights change in a preset: `--set` comes after, and a file is its own."""
    if start is None or name not in RECIPES:
        return []
    architecture = [f"architecture={start.architecture}"] if start.architecture else []
    return [*architecture, "normalize=weights"]


def recipe_to_resume(run: Path, name: str | None, changes: Sequence[str]) -> Recipe | None:
    """Get the recipe that a run to be resumed must have; None where nothing was said of it.

    Without a name, or with `auto`, changes are compared with the run's own recipe.

    Raises:
        RecipeError: If there is no such recipe.
        CheckpointError: If the run's record is needed and cannot be read.
    """
    if name not in (None, AUTO):
        return choose_recipe(name, changes)
    return change_recipe(read_record(run).recipe, changes) if changes else None


def _facts(survey: Survey, start: FirstWeights | None) -> Facts:
    """Look at the images, the weights and the machine."""
    return Facts(
        images=survey.images,
        labels=survey.labels,
        shorter_side=survey.shorter_side,
        channels=survey.channels,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        free_bytes=free_memory() or usable_memory(),
        has_gpu=torch.cuda.is_available(),
        architecture=None if start is None else start.architecture or "resnet50",
        image_size=None if start is None else start.image_size,
    )
