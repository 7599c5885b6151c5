"""The images and the network of a run, fitted to its recipe and to its first weights."""

import logging
from dataclasses import replace
from pathlib import Path

from pytorch_lightning import seed_everything

from model.architecture.family import get_architecture, stem_for
from model.architecture.spec import Architecture
from model.weights.family import check_fit
from model.weights.loading import fit_to_weights, load_weights, match_weights
from model.weights.normalization import get_normalization
from training.data.dataset import Dataset
from training.data.splits import as_text
from training.errors import TrainingError
from training.fit.first_weights import FirstWeights
from training.fit.module import Classifier
from training.recipe.augment import image_size_at
from training.recipe.recipe import Recipe
from training.runs.dataset import held_files
from training.runs.reading import read_checkpoint
from training.runs.record import CheckpointError, OtherVersionError, RunRecord

log = logging.getLogger(__name__)


def fit_dataset(dataset: Dataset, recipe: Recipe, start: FirstWeights | None = None) -> Dataset:
    """Give a data set the recipe's normalisation, and check that it has the recipe's image size.

    Where the figures of first weights are not known, `normalize=weights` takes those of the data.

    Raises:
        TrainingError: If the images were read at another size.
    """
    spec = dataset.preprocessing
    if recipe.image_size not in (None, spec.crop):
        raise TrainingError(
            f"The images were read at {spec.crop} pixels, but `image_size` of the "
            f"recipe is {recipe.image_size}. Read them at that size, or change the "
            "recipe."
        )
    known = None
    if recipe.normalize == "imagenet":
        known = get_normalization(recipe.normalize, spec.channels)
    elif recipe.normalize == "weights" and start is not None:
        known = start.normalization(recipe.architecture, spec.channels)
    if known is None:
        return dataset
    return replace(dataset, preprocessing=spec.model_copy(update=known._asdict()))


def fit_architecture(
    recipe: Recipe, dataset: Dataset, start: FirstWeights | None = None
) -> Architecture:
    """Give the recipe's architecture the data's labels and channels, and a stem for its size.

    First weights bring their own stem and kind of shortcut, unless the recipe names others.
    A stem that the recipe names may keep its random weights.

    Raises:
        TrainingError: If there is no such architecture, or the images are too small for it or for
            the recipe's `random_shift`.
        WeightsError: If weights are missing outside the head.
    """
    image_size = dataset.preprocessing.crop
    stem, shortcuts = recipe.stem, recipe.shortcuts
    try:
        member = get_architecture(recipe.architecture)
        if start is not None:
            given = start.record.architecture if start.record else None
            if given is None or given.name != member.name:
                given = fit_to_weights(member, start.tensors)
            stem, shortcuts = stem or given.stem, shortcuts or given.shortcuts
        else:
            stem = stem or stem_for(member, image_size)
        fitted = get_architecture(
            recipe.architecture,
            num_classes=len(dataset.labels),
            in_channels=dataset.preprocessing.channels,
            stem=stem,
            size=image_size if member.size else None,
            shortcuts=shortcuts,
        )
    except ValueError as error:
        raise TrainingError(f"The recipe's architecture: {error}") from error
    _check_shift(recipe, fitted, image_size)
    if start is not None:
        _, report = match_weights(fitted, start.tensors)
        may_be_random = frozenset({"conv1.weight", "stem.conv.weight"} if recipe.stem else ())
        check_fit(fitted, start.tensors, report, "--set architecture=", may_be_random)
    return fitted


def _check_shift(recipe: Recipe, architecture: Architecture, image_size: int) -> None:
    """Check that no image would be moved past its own border.

    Raises:
        TrainingError: If one would, at the smallest image size of the run.
    """
    changes_size = architecture.stem != "flatten"
    ends = [image_size_at(progress, image_size, recipe) for progress in (0, 1)]
    smallest = min(ends) if changes_size else image_size
    if recipe.random_shift >= smallest:
        which = "the image size" if smallest == image_size else "the run's smallest image size"
        raise TrainingError(
            f"`random_shift` (={recipe.random_shift}) must be under {which} (={smallest})."
        )


def check_backbone_learns(recipe: Recipe) -> None:
    """Check that a run without first weights does not freeze its random backbone.

    Raises:
        TrainingError: If it would.
    """
    if not recipe.backbone_lr_scale:
        raise TrainingError(
            "`backbone_lr_scale` (=0) would freeze a backbone of random weights. Name "
            "first weights with --init, or set a higher value."
        )


def notes_on_leakage(init: Path, dataset: Dataset) -> list[str]:
    """Warn of first weights that may have been trained on images that are held out now.

    Args:
        init: A file of weights; only a run's own checkpoint says what it was trained on.
        dataset: As it is split now.
    """
    try:
        earlier, _ = read_checkpoint(init)
    except OtherVersionError as error:
        return [
            (
                f"note: the training images of {init} are not known, so accuracy may look "
                f"too good: {error}"
            )
        ]
    except CheckpointError:  # from elsewhere
        return []
    if earlier.dataset_source != as_text(Path(dataset.source).absolute()):
        return []
    trained = set(held_files(init).get("train", ()))
    seen = sum(
        name in trained for split in ("validation", "test") for name in dataset.files.get(split, ())
    )
    if not seen:
        return []
    return [
        f"note: {init} was trained on {seen:,} images of {dataset.source} that are "
        "held out now, so accuracy will look too good. Put images that it has never "
        "seen into folders `val` and `test`"
    ]


def build_module(
    record: RunRecord, start: FirstWeights | None = None, listing: Path | None = None
) -> Classifier:
    """Draw the run's weights, then load the first weights, if any, and log what became of them.

    Args:
        record: Of the run.
        start: The first weights.
        listing: A file for the names of all that did not load as it was.

    Raises:
        TrainingError: If tensors that the first weights lack would be frozen as they were drawn.
    """
    seed_everything(record.seed, verbose=False)
    module = Classifier(record)
    if start is None:
        return module
    tensors, head = start.for_labels(record.labels, module.network)
    report = load_weights(module.network, tensors)
    where = "" if listing is None else f"; details: {listing}"
    log.info(f"first weights: {report.summary(head)}{where}")
    if listing is not None:
        lines = "\n".join(filter(None, (head, *report.lines(most=None))))
        listing.write_text(f"{lines}\n", encoding="utf-8")
    if report.gaps and not record.recipe.backbone_lr_scale:
        raise TrainingError(
            f"`backbone_lr_scale` (=0) would freeze {len(report.gaps)} tensors with "
            f"random weights: {', '.join(report.gaps[:5])}. Use the architecture and "
            "stem of the weights, or set a higher value."
        )
    return module
