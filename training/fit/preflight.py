"""What is known before the first step: the data, label by label, and what an epoch takes.

Printed for the person who waits, and kept in the run folder.
"""

import shutil
from collections.abc import Iterator
from textwrap import shorten

import torch
from pydantic import BaseModel, ConfigDict

from model.architecture.summary import summarize
from training.data.dataset import Dataset
from training.data.duplicates import across_splits, find_duplicates, name_places, with_two_labels
from training.fit.step_time import Pace, measure_pace
from training.plots.contact_sheet import Tile, draw_sheet
from training.recipe.augment import augment
from training.runs.record import RunFolder, RunRecord

MOST_LABELS = 20
"""So many are printed one by one, and drawn on the sheet; all are in summary.json."""
FEW_STEPS, ENOUGH_STEPS = 300, 1_000
EACH = 8
"""Pictures of a label on the sheet."""
LONGEST = 300
"""Characters of the places of one picture that are printed; all are in summary.json."""


class Summary(BaseModel):
    """What `summary.json` holds.

    Attributes:
        counts: Pictures of each label in each split.
        unreadable: Files that were left out, each with the reason.
        copies: Pictures that more than one split holds, by their places.
        two_labels: Pictures that lie under more than one label.
        parameters: Of the network.
        dataset_bytes: All splits in memory.
        peak_bytes: Most memory held so far, the measured steps included.
        checkpoint_bytes: About what one checkpoint takes; there are two.
    """

    model_config = ConfigDict(frozen=True)

    counts: dict[str, dict[str, int]]
    unreadable: tuple[str, ...]
    copies: tuple[str, ...]
    two_labels: tuple[str, ...]
    parameters: int
    dataset_bytes: int
    peak_bytes: int | None
    checkpoint_bytes: int
    free_bytes: int
    steps_per_epoch: int
    seconds_per_step: float | None
    seconds_per_epoch: float | None


def look(dataset: Dataset, record: RunRecord, folder: RunFolder) -> Iterator[str]:
    """Look at the data, try a few steps aside, write `summary.json` and `samples.png`.

    Args:
        dataset: What the run will learn from.
        record: Of the run.
        folder: The run's, which must be there.

    Yields:
        What was found, line by line.
    """
    summary = _summarize(dataset, record, folder, measure_pace(dataset, record))
    folder.summary.write_text(summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draw_samples(dataset, record, folder)
    yield from _tell_labels(summary, is_weighted=record.recipe.class_weights)
    if summary.unreadable:
        yield f"left out: {len(summary.unreadable)}, each with the reason in {folder.summary}"
    yield from _tell_copies(summary)
    yield from _tell_steps(summary, record)
    yield from _tell_cost(summary)
    yield f"samples: {folder.samples}"


def _summarize(
    dataset: Dataset, record: RunRecord, folder: RunFolder, pace: Pace | None
) -> Summary:
    groups = find_duplicates(dataset)
    side = record.preprocessing.crop
    parameters = summarize(record.architecture, side, side).parameters
    copies = 2 + (record.recipe.optimizer == "adam") + (record.recipe.ema_decay > 0)
    size = min(record.recipe.batch_size, len(dataset.train))
    return Summary(
        counts=count_labels(dataset),
        unreadable=dataset.unreadable,
        copies=tuple(name_places(group, dataset) for group in across_splits(groups)),
        two_labels=tuple(name_places(group, dataset) for group in with_two_labels(groups, dataset)),
        parameters=parameters,
        dataset_bytes=sum(split.images.nbytes for split in dataset.splits.values()),
        peak_bytes=None if pace is None else pace.peak_bytes,
        checkpoint_bytes=4 * parameters * copies,
        free_bytes=shutil.disk_usage(folder.path).free,
        steps_per_epoch=-(-len(dataset.train) // size),
        seconds_per_step=None if pace is None else pace.seconds_per_step,
        seconds_per_epoch=None if pace is None else pace.seconds_per_epoch,
    )


def count_labels(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count each label's pictures in each split."""
    counts = {
        name: split.targets.bincount(minlength=len(dataset.labels)).tolist()
        for name, split in dataset.splits.items()
    }
    return {
        label: {name: counts[name][target] for name in counts}
        for target, label in enumerate(dataset.labels)
    }


def draw_samples(dataset: Dataset, record: RunRecord, folder: RunFolder) -> None:
    """Draw some pictures of each label as the network will see them: a row a label.

    Preprocessed and augmented by the recipe; only the mixing of pictures is not shown.
    """
    dice = torch.Generator().manual_seed(record.seed)
    tiles = []
    for target, label in enumerate(dataset.labels[:MOST_LABELS]):
        chosen = (dataset.train.targets == target).nonzero().flatten()[:EACH]
        if len(chosen):
            images = augment(dataset.train.images[chosen], record.recipe, dice)
            tiles += [Tile(image, (label,)) for image in images.numpy()]
            blank = images.new_full(images.shape[1:], 255).numpy()
            tiles += [Tile(blank, ())] * (EACH - len(chosen))
    draw_sheet(tiles, EACH, folder.samples)


def _tell_labels(summary: Summary, *, is_weighted: bool) -> Iterator[str]:
    """Tell counts, and what is out of balance or missing."""
    counts = summary.counts
    if len(counts) <= MOST_LABELS:
        width = max(map(len, counts))
        yield f"{'':{width}}  {'train':>8} {'val':>8} {'test':>8}"
        for label, by_split in counts.items():
            figures = " ".join(f"{count:8,}" for count in by_split.values())
            yield f"{label:{width}}  {figures}"
    trained = sorted((by_split["train"], label) for label, by_split in counts.items())
    (fewest, rarest), (most, commonest) = trained[0], trained[-1]
    if most > fewest:
        hint = "" if most < 2 * fewest else "; --set class_weights=true evens this out"
        hint = "; their weights even this out" if is_weighted else hint
        yield f"to train on: from {fewest:,} pictures ({rarest}) to {most:,} ({commonest}){hint}"
    for split in ("train", "validation", "test"):
        absent = [label for label, by_split in counts.items() if not by_split[split]]
        if absent:
            names = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
            lack = "to train on: not learnt" if split == "train" else f"for {split}: not measured"
            yield f"warning: no picture {lack}: {len(absent)} of {len(counts)} labels ({names})"


def _tell_copies(summary: Summary) -> Iterator[str]:
    """Tell what makes the accuracy look better, or worse, than it is."""
    for found, what in (
        (summary.copies, "in more than one split, so that the accuracy will look too good"),
        (summary.two_labels, "under more than one label"),
    ):
        if found:
            places = shorten(found[0], LONGEST, placeholder=" ...")
            yield f"warning: pictures that lie {what}: {len(found)}, first {places}"


def _tell_steps(summary: Summary, record: RunRecord) -> Iterator[str]:
    """Tell where so few pictures leave a run hardly any steps."""
    recipe, pictures = record.recipe, sum(counts["train"] for counts in summary.counts.values())
    steps = recipe.epochs * summary.steps_per_epoch
    wanted = max(1, recipe.epochs * pictures // ENOUGH_STEPS)
    size = max(8, 1 << (wanted.bit_length() - 1))  # a power of two, not above it
    if steps < FEW_STEPS and size < min(recipe.batch_size, pictures):
        yield (
            f"warning: {recipe.epochs} epochs are {steps} steps in all, few to learn from; "
            f"--set batch_size={size} makes them {recipe.epochs * -(-pictures // size):,}"
        )


def _tell_cost(summary: Summary) -> Iterator[str]:
    """Tell time and memory."""
    if summary.seconds_per_epoch is not None and summary.seconds_per_step is not None:
        yield (
            f"an epoch takes about {_duration(summary.seconds_per_epoch)}: "
            f"{summary.steps_per_epoch:,} steps of {summary.seconds_per_step:.3g} s, and validation"
        )
    peak = "" if summary.peak_bytes is None else f", {_mb(summary.peak_bytes)} at most so far"
    yield f"memory: pictures {_mb(summary.dataset_bytes)}, {summary.parameters:,} parameters{peak}"
    yield f"a checkpoint takes about {_mb(summary.checkpoint_bytes)}; there are two"
    if summary.free_bytes < 4 * summary.checkpoint_bytes:  # two, and one that is being written
        yield f"warning: only {_mb(summary.free_bytes)} are free on the run folder's disk"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
