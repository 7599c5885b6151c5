"""Where the weights of an artifact come from."""

import torch

from model.artifact.provenance import Cost, Provenance
from training.export.onnx_graph import OPSET
from training.recipe.presets import RECIPES
from training.recipe.recipe import Recipe
from training.runs.environment import commit, now
from training.runs.record import RunRecord


def run_provenance(record: RunRecord, cost: Cost | None) -> Provenance:
    """Describe the run that trained the weights."""
    return Provenance(
        recipe=record.recipe.name,
        changes=_changes(record.recipe),
        cost=cost,
        weights=record.weights,
        seed=record.seed,
        dataset_sha256=record.dataset_sha256,
        commit=record.commit,
        torch=record.torch,
        onnx_opset=OPSET,
        created=now(),
    )


def _changes(recipe: Recipe) -> dict[str, bool | float | str | None]:
    """Return the fields that differ from the recipe of this name."""
    usual = RECIPES.get(recipe.name)
    return {
        field: value
        for field, value in recipe.model_dump(exclude={"name"}).items()
        if usual is None or value != getattr(usual, field)
    }


def untrained_provenance(seed: int, weights: str | None = None) -> Provenance:
    """Describe weights that no run of `train-model` trained.

    Args:
        seed: Of the random weights.
        weights: The file they come from, if there is one.
    """
    return Provenance(
        recipe=None,
        weights=weights,
        seed=seed,
        dataset_sha256=None,
        commit=commit(),
        torch=torch.__version__,
        onnx_opset=OPSET,
        created=now(),
    )
