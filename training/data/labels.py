"""Which labels a data set has: those with pictures that can be read, two at least."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from training.data.dataset import DatasetError, Split
from training.data.layout import WANTED
from training.data.names import in_order_of
from training.data.splits import Picture, plain


def refuse_few(root: Path, labels: Collection[str], known: Collection[str], seen: str) -> None:
    """Refuse fewer than two labels; what belongs to a run may hold one of its own.

    Raises:
        DatasetError: If there are too few.
    """
    if len(labels) < (1 if known else 2):
        found = ", ".join(f"`{label}`" for label in labels) or "none"
        raise DatasetError(
            f"{plain(root)} must hold readable pictures of at least two labels; found is {found}"
            f"{seen}. {WANTED}"
        )


def refuse_unlearnt(
    root: Path,
    splits: Mapping[str, Sequence[Picture]],
    labels: Sequence[str],
    known: Sequence[str],
) -> None:
    """Refuse labels that would be measured and never learnt, but those of a run that had them."""
    learnt = {picture.target for picture in splits["train"]}
    every = {picture.target for split in splits.values() for picture in split}
    missing = [labels[target] for target in sorted(every - learnt) if labels[target] not in known]
    if missing:
        names = ", ".join(f"`{label}`" for label in missing[:5])
        raise DatasetError(
            f"{plain(root)} has no readable picture to train on of {len(missing)} labels that lie "
            f"in its validation or test split ({names}); add some, or move those away."
        )


def settled(
    root: Path,
    labels: Sequence[str],
    arrays: Mapping[str, Split],
    later: Collection[int],
    known: Sequence[str],
) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Keep the labels that have pictures, in the order of the run's where they belong to one.

    Args:
        root: Where they lie.
        labels: By the files' names.
        arrays: What could be read.
        later: Targets of readable pictures that came after the run, and are in no split.
        known: Labels of the run.

    Raises:
        DatasetError: If too few are left.
    """
    read = {target for split in arrays.values() for target in split.targets.tolist()}.union(later)
    used = sorted(read)
    kept = tuple(labels[target] for target in used)
    refuse_few(root, kept, known, "")
    places = in_order_of(known, kept)
    table = torch.zeros(len(labels), dtype=torch.long)
    table[used] = torch.tensor(places or range(len(used)))
    settled = {name: Split(one.images, table[one.targets]) for name, one in arrays.items()}
    return tuple(known) if places else kept, settled


def warn_of_none(folders: Sequence[str]) -> list[str]:
    """Say which folders of labels hold no picture, if there are any."""
    if not folders:
        return []
    names = ", ".join(f"`{folder}`" for folder in folders[:5])
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    return [f"warning: no readable picture in {names}{more}: no label"]
