"""The report before the first step: the data, label by label, and the time of an epoch.

It is logged, and kept in the run folder.
"""

import logging
import shutil
import statistics
from collections.abc import Iterator
from textwrap import shorten

import torch
from pydantic import BaseModel, ConfigDict

from model.architecture.summary import summarize
from training.data.dataset import Dataset
from training.data.duplicates import across_splits, find_duplicates, name_places, with_two_labels
from training.data.headers import SMALL
from training.fit.crops import training_split
from training.fit.memory import check_memory
from training.fit.outlier_report import outlier_lines
from training.fit.step_time import StepTime, measure_step_time
from training.fit.words import duration
from training.plots.contact_sheet import Tile, draw_sheet
from training.recipe.augment import augment
from training.runs.folder import RunFolder
from training.runs.record import RunRecord

MAX_LABELS = 20
"""Labels that are printed one by one, and drawn on the sheet; all are in summary.json."""
MIN_STEPS = 300
"""A run of fewer is warned of."""
RECOMMENDED_STEPS = 1_000
"""The batch size that is recommended makes about as many."""
SAMPLES_PER_LABEL = 8
SHORT_NAMES = {"train": "train", "validation": "val", "calibration": "cal", "test": "test"}
MAX_PLACES_LENGTH = 300
"""Characters of one image's places that are printed; all are in summary.json."""
HINT = (
    "hint: these are photographs of {} pixels, and training starts from random "
    "weights. With weights trained on ImageNet it needs fewer epochs and reaches a "
    "higher accuracy, above all with few images: add --init resnet18 (45 MB, "
    "downloaded once)"
)

log = logging.getLogger(__name__)


class Summary(BaseModel):
    """What `summary.json` holds.

    Attributes:
        counts: Images of each label in each split.
        unreadable: Files that were left out, each with the reason.
        copies: Images that are in more than one split, by their places.
        two_labels: Images that are under more than one label.
        parameters: Of the network.
        dataset_bytes: All splits in memory; 0 where they are streamed.
        peak_bytes: Peak memory so far, the measured steps included.
        checkpoint_bytes: Estimated size of one checkpoint; there are two.
        shorter_side: Median over the files of the validation images, in pixels.
    """

    model_config = ConfigDict(frozen=True)

    counts: dict[str, dict[str, int]]
    unreadable: tuple[str, ...]
    copies: tuple[str, ...]
    two_labels: tuple[str, ...]
    parameters: int
    dataset_bytes: int
    peak_bytes: int | None = None
    checkpoint_bytes: int
    free_bytes: int
    steps_per_epoch: int
    shorter_side: int = 0
    seconds_per_step: float | None = None
    seconds_per_epoch: float | None = None


def run_preflight(dataset: Dataset, record: RunRecord, folder: RunFolder) -> StepTime | None:
    """Report on the data, time a few steps, write `summary.json` and `samples.png`.

    Args:
        dataset: What the run will learn from.
        record: Of the run.
        folder: The run's, which must exist.

    Returns:
        What the steps took, and with how many threads; None if none were timed.

    Raises:
        TrainingError: If the memory cannot be enough for a step.
    """
    summary = _summarize(dataset, record, folder)
    for line in _data_lines(dataset, summary, record, folder):
        log.info(line)
    draw_samples(dataset, record, folder)
    log.info(f"samples: {folder.samples}")
    check_memory(dataset, record)
    log.info("timing a few steps")
    step_time = measure_step_time(dataset, record)
    if step_time is not None:
        names = ("peak_bytes", "seconds_per_step", "seconds_per_epoch")
        summary = summary.model_copy(update={name: getattr(step_time, name) for name in names})
        for line in _time_lines(summary, step_time, record.recipe.epochs):
            log.info(line)
    for line in _memory_lines(summary):
        log.info(line)
    folder.summary.write_text(summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return step_time


def _data_lines(
    dataset: Dataset, summary: Summary, record: RunRecord, folder: RunFolder
) -> Iterator[str]:
    """Put what is known of the images into words, line by line."""
    yield from _label_lines(summary, is_weighted=record.recipe.class_weights)
    if summary.unreadable:
        yield f"left out: see `unreadable` in {folder.summary} for the reasons"
    yield from _copy_lines(summary)
    yield from _step_lines(summary, record)
    yield from outlier_lines(dataset, summary.counts, folder)
    if record.init is None and summary.shorter_side > SMALL:
        yield HINT.format(summary.shorter_side)


def _summarize(dataset: Dataset, record: RunRecord, folder: RunFolder) -> Summary:
    groups = find_duplicates(dataset)
    image_size = record.preprocessing.crop
    parameters = summarize(record.architecture, image_size, image_size).parameters
    recipe = record.recipe
    has_average = recipe.ema_decay > 0 or recipe.ema_epochs > 0
    copies = 2 + (recipe.optimizer in ("adam", "adamw")) + has_average
    batch_size = min(record.recipe.batch_size, len(dataset.train))
    return Summary(
        counts=count_labels(dataset),
        unreadable=dataset.unreadable,
        copies=tuple(name_places(group, dataset) for group in across_splits(groups)),
        two_labels=tuple(name_places(group, dataset) for group in with_two_labels(groups, dataset)),
        parameters=parameters,
        dataset_bytes=sum(split.nbytes for split in dataset.splits.values()),
        checkpoint_bytes=4 * parameters * copies,
        free_bytes=shutil.disk_usage(folder.path).free,
        steps_per_epoch=-(-len(dataset.train) // batch_size),
        shorter_side=int(statistics.median(dataset.shorter_sides or (image_size,))),
    )


def count_labels(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count each label's images in each split."""
    counts = {
        name: split.targets.bincount(minlength=len(dataset.labels)).tolist()
        for name, split in dataset.splits.items()
    }
    return {
        label: {name: counts[name][target] for name in counts}
        for target, label in enumerate(dataset.labels)
    }


def draw_samples(dataset: Dataset, record: RunRecord, folder: RunFolder) -> None:
    """Draw some images of each label as the network will see them: a row a label.

    Preprocessed and augmented by the recipe; only mixup and CutMix are not shown.
    """
    generator = torch.Generator().manual_seed(record.seed)
    train, augments = training_split(dataset, record.recipe, record.seed)
    tiles = []
    for target, label in enumerate(dataset.labels[:MAX_LABELS]):
        chosen = (train.targets == target).nonzero().flatten()[:SAMPLES_PER_LABEL]
        if len(chosen):
            images = augment(train[chosen].images, augments, generator)
            tiles += [Tile(image, (label,)) for image in images.numpy()]
            blank = images.new_full(images.shape[1:], 255).numpy()
            tiles += [Tile(blank, ())] * (SAMPLES_PER_LABEL - len(chosen))
    draw_sheet(tiles, SAMPLES_PER_LABEL, folder.samples)


def _label_lines(summary: Summary, *, is_weighted: bool) -> Iterator[str]:
    """List the counts, and what is out of balance or missing."""
    counts = summary.counts
    if len(counts) <= MAX_LABELS:
        width = max(map(len, counts))
        shown = [
            (split, short)
            for split, short in SHORT_NAMES.items()
            if split != "calibration" or any(by_split.get(split) for by_split in counts.values())
        ]
        yield f"{'':{width}}  {' '.join(f'{short:>8}' for _, short in shown)}"
        for label, by_split in counts.items():
            yield f"{label:{width}}  {' '.join(f'{by_split[split]:8,}' for split, _ in shown)}"
    trained = sorted((by_split["train"], label) for label, by_split in counts.items())
    (fewest, rarest), (most, commonest) = trained[0], trained[-1]
    if most > fewest:
        hint = "" if most < 2 * fewest else "; --set class_weights=true evens this out"
        hint = "; their weights even this out" if is_weighted else hint
        yield (
            f"training images per label: from {fewest:,} ({rarest}) to {most:,} ({commonest}){hint}"
        )
    for split in ("train", "validation", "test"):
        absent = [label for label, by_split in counts.items() if not by_split[split]]
        if absent and not (split == "test" and len(absent) == len(counts)):  # no test split
            names = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
            lack = "to train on: not learnt" if split == "train" else f"for {split}: not measured"
            yield f"warning: no image {lack}: {len(absent)} of {len(counts)} labels ({names})"


def _copy_lines(summary: Summary) -> Iterator[str]:
    """Warn of images that make the accuracy look better, or worse, than it is."""
    for found, what in (
        (summary.copies, "in more than one split, so the accuracy will look too good"),
        (summary.two_labels, "under more than one label"),
    ):
        if found:
            places = shorten(found[0], MAX_PLACES_LENGTH, placeholder=" ...")
            yield f"warning: images {what}: {len(found)}, first {places}"


def _step_lines(summary: Summary, record: RunRecord) -> Iterator[str]:
    """Warn of a run that has so few images that it takes hardly any steps."""
    recipe, images = record.recipe, sum(counts["train"] for counts in summary.counts.values())
    steps = recipe.epochs * summary.steps_per_epoch
    wanted = max(1, recipe.epochs * images // RECOMMENDED_STEPS)
    size = max(8, 1 << (wanted.bit_length() - 1))  # a power of two, not above it
    if steps < MIN_STEPS and size < min(recipe.batch_size, images):
        yield (
            f"warning: {recipe.epochs} {'epoch is' if recipe.epochs == 1 else 'epochs are'} only "
            f"{steps} steps in all; --set "
            f"batch_size={size} makes them {recipe.epochs * -(-images // size):,}"
        )


def _time_lines(summary: Summary, step_time: StepTime, epochs: int) -> Iterator[str]:
    """Say what an epoch and the run will take, and with how many threads."""
    if len(step_time.tried) > 1:
        tried = ", ".join(f"{count}: {took:.3g} s" for count, took in step_time.tried.items())
        yield (
            f"threads: {step_time.threads}, the fastest now (seconds per step: "
            f"{tried}); OMP_NUM_THREADS= overrides"
        )
    loads = "" if step_time.loads is None else f", loading {step_time.loads:,.0f} images/s"
    yield (
        f"an epoch takes about {duration(step_time.seconds_per_epoch)}: "
        f"{summary.steps_per_epoch:,} steps of {step_time.seconds_per_step:.3g} "
        f"s{loads}, and validation; all {epochs} epochs about "
        f"{duration(epochs * step_time.seconds_per_epoch)}"
    )


def _memory_lines(summary: Summary) -> Iterator[str]:
    """Say what the images, the network and the checkpoints take."""
    peak = "" if summary.peak_bytes is None else f", peak so far {_mb(summary.peak_bytes)}"
    images = _mb(summary.dataset_bytes) if summary.dataset_bytes else "decoded when needed"
    yield f"memory: images {images}, {summary.parameters:,} parameters{peak}"
    yield f"a checkpoint takes about {_mb(summary.checkpoint_bytes)}; two are kept"
    if summary.free_bytes < 4 * summary.checkpoint_bytes:  # two, and one that is being written
        yield (f"warning: only {_mb(summary.free_bytes)} are free on the disk of the run folder")


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
