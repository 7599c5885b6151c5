"""The labels of a data set: those with readable images, at least two."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from training.data.dataset import DatasetError, Split
from training.data.layout import EXPECTED_LAYOUT
from training.data.names import in_order_of
from training.data.splits import LabelledFile, plain


def check_label_count(
    root: Path, labels: Collection[str], known: Collection[str], seen: str
) -> None:
    """Refuse fewer than two labels; the images of an earlier run may have one of its labels.

    Raises:
        DatasetError: If there are too few.
    """
    if len(labels) < (1 if known else 2):
        found = ", ".join(f"`{label}`" for label in labels) or "none"
        raise DatasetError(
            f"{plain(root)} must hold readable images of at least two labels; found: {found}"
            f"{seen}. {EXPECTED_LAYOUT}"
        )


def check_every_label_is_trained(
    root: Path,
    splits: Mapping[str, Sequence[LabelledFile]],
    labels: Sequence[str],
    known: Sequence[str],
) -> None:
    """Refuse labels without a training image, unless they are labels of an earlier run.

    Raises:
        DatasetError: If there is one.
    """
    trained = {file.target for file in splits["train"]}
    every = {file.target for files in splits.values() for file in files}
    missing = [labels[target] for target in sorted(every - trained) if labels[target] not in known]
    if missing:
        names = ", ".join(f"`{label}`" for label in missing[:5])
        raise DatasetError(
            f"{plain(root)} has no readable training image for {len(missing)} labels of its "
            f"validation or test split ({names}). Add some, or remove those labels."
        )


def final_labels(
    root: Path,
    labels: Sequence[str],
    arrays: Mapping[str, Split],
    used: Collection[int],
    known: Sequence[str],
) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Drop labels without images, and number the others as the earlier run did, if there is one.

    Args:
        root: The folder.
        labels: By the folders' names, in the order of the targets.
        arrays: The splits.
        used: Targets that have readable images.
        known: Labels of the earlier run.

    Raises:
        DatasetError: If too few are left.
    """
    targets = sorted(used)
    kept = tuple(labels[target] for target in targets)
    check_label_count(root, kept, known, "")
    positions = in_order_of(known, kept)
    table = torch.zeros(len(labels), dtype=torch.long)
    table[targets] = torch.tensor(positions or range(len(targets)))
    numbered = {name: one.with_targets(table[one.targets]) for name, one in arrays.items()}
    return tuple(known) if positions else kept, numbered


def empty_label_warnings(folders: Sequence[str]) -> list[str]:
    """Warn of labels' folders that hold no image, if there are any."""
    if not folders:
        return []
    names = ", ".join(f"`{folder}`" for folder in folders[:5])
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    return [f"warning: no readable image in {names}{more}: not used as a label"]
