"""A recipe's network and pictures, fitted to the data and to weights to begin with."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model.architecture.family import get_architecture
from model.architecture.spec import Architecture
from model.weights.family import check_fit
from model.weights.file import Weights, read_weights
from model.weights.loading import fit_to_weights, load_weights, match_weights
from model.weights.normalization import get_normalization
from training.data.dataset import Dataset
from training.fit.module import Classifier
from training.recipe.augment import side_at
from training.recipe.recipe import Recipe
from training.runs.record import CheckpointError, OtherVersionError, RunRecord, read_checkpoint

SMALL_SIDE = 64
"""Pixels up to which a stem that halves nothing pays. At 224 it would cost thirteen times the
multiply-adds of the standard one, and 28 GB for a batch of 512."""


class TrainingError(Exception):
    """A run cannot start or cannot go on; the message says why and what to do."""


def fit_architecture(
    recipe: Recipe, dataset: Dataset, start: Weights | None = None
) -> Architecture:
    """Give the recipe's architecture the data's labels and channels, and a stem for its size.

    Weights to begin with bring their own stem and kind of shortcut, unless the recipe says more;
    a stem that the recipe names may keep its initial weights.

    Raises:
        TrainingError: If there is no such architecture, or the pictures are too small for it or for
            the recipe's shift.
        WeightsError: If the weights leave gaps outside the head.
    """
    side = dataset.preprocessing.crop
    stem, shortcuts = recipe.stem, recipe.shortcuts
    try:
        member = get_architecture(recipe.architecture)
        if start is not None:
            given = fit_to_weights(member, start)
            stem, shortcuts = stem or given.stem, shortcuts or given.shortcuts
        elif stem is None and member.stem in ("small", "standard"):
            stem = "small" if side <= SMALL_SIDE else "standard"
        fitted = get_architecture(
            recipe.architecture,
            num_classes=len(dataset.labels),
            in_channels=dataset.preprocessing.channels,
            stem=stem,
            size=side if member.size else None,
            shortcuts=shortcuts,
        )
    except ValueError as error:
        raise TrainingError(f"The recipe's architecture: {error}") from error
    _refuse_wide_shift(recipe, fitted, side)
    if start is not None:
        _, report = match_weights(fitted, start)
        spared = frozenset({"conv1.weight", "stem.conv.weight"} if recipe.stem else ())
        check_fit(fitted, start, report, "--set architecture=", spared)
    return fitted


def first_weights(init: Path, recipe: Recipe, tell: Callable[[str], None]) -> Weights:
    """Read weights to begin with; of several networks in a file the one that the recipe names.

    Raises:
        TrainingError: If there is no such architecture.
        WeightsError: If the file cannot be read.
    """
    try:
        return read_weights(init, get_architecture(recipe.architecture), tell)
    except ValueError as error:
        raise TrainingError(f"The recipe's architecture: {error}") from error


def _refuse_wide_shift(recipe: Recipe, architecture: Architecture, side: int) -> None:
    """Say before the first step that a picture would be moved out of itself.

    Raises:
        TrainingError: If it would, at the smallest of the sides that pictures grow through.
    """
    grows = architecture.stem != "flatten"
    least = min(side_at(share, side, recipe) for share in (0, 1)) if grows else side
    if recipe.shift >= least:
        which = "the picture's side" if least == side else "the growing pictures' smallest side"
        raise TrainingError(f"`shift` (={recipe.shift}) must be under {which} (={least}).")


def normalized(dataset: Dataset, recipe: Recipe) -> Dataset:
    """Put the mean and standard deviation that the recipe names in place of the data's own."""
    if recipe.normalize == "data":
        return dataset
    spec = dataset.preprocessing
    figures = get_normalization(recipe.normalize, spec.channels)._asdict()
    return replace(dataset, preprocessing=spec.model_copy(update=figures))


def refuse_frozen(recipe: Recipe) -> None:
    """Refuse to train nothing but a head on weights that were drawn.

    Raises:
        TrainingError: If the backbone would not learn, and nobody gave its weights.
    """
    if not recipe.backbone_rate:
        raise TrainingError(
            "`backbone_rate` (=0) would freeze a backbone of random weights. Name weights to begin "
            "with by --init, or raise it."
        )


def seen_before(init: Path, dataset: Dataset) -> list[str]:
    """Warn of weights that may know pictures which are held out now.

    Args:
        init: A file of weights; only a run's own checkpoint tells what it was trained on, and only
            to the version that wrote it.
        dataset: As it is split now.
    """
    try:
        earlier, _ = read_checkpoint(init)
    except OtherVersionError as error:
        return [f"note: what {init} learnt from is not known; accuracy may seem too good: {error}"]
    except CheckpointError:  # from elsewhere
        return []
    same_place = earlier.dataset_source == str(Path(dataset.source).absolute())
    if not (same_place and dataset.is_drawn) or earlier.dataset_sha256 == dataset.sha256:
        return []
    return [
        f"note: {init} learnt from pictures of {dataset.source} that are held out now, so accuracy "
        f"will seem too good; begin with the same pictures and --seed {earlier.seed}, or put what "
        "it never saw into folders `val` and `test`"
    ]


def begun_with(start: Weights | None, record: RunRecord, tell: Callable[[str], None]) -> Classifier:
    """Draw the weights, then take those that are given, and tell what became of each key.

    Raises:
        TrainingError: If weights that nobody gave would never learn.
    """
    module = Classifier(record)
    if start is not None:
        report = load_weights(module.network, start)
        for line in report.lines():
            tell(line)
        holes = report.gaps
        if holes and not record.recipe.backbone_rate:
            raise TrainingError(
                f"`backbone_rate` (=0) would freeze {len(holes)} tensors as they were drawn: "
                f"{', '.join(holes[:5])}. Name the weights' own architecture and stem, or raise it."
            )
    return module
