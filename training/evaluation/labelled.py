"""Any labelled folder, to measure a model that exists already.

Unlike a folder to train on, it may be one flat split, lack splits, and have some of the model's
labels only. Images are decoded block by block, so memory does not grow with the folder.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.preprocessing import Preprocessing
from training.data.dataset import DatasetError
from training.data.decode import decode_files
from training.data.listing import list_images
from training.data.names import in_order_of
from training.data.splits import LabelledFile, inside, plain
from training.evaluation.predict import Predictions

BLOCK = 512
"""Images of 224 pixels that are decoded at a time, or as many pixels of others."""
Answers = Callable[[Tensor], Predictions]
"""uint8 (N, S, S, C) -> predictions without targets."""


@dataclass(frozen=True)
class LabelledFolder:
    """The files of one split, with the model's targets.

    Attributes:
        root: The folder.
        split: Which of its splits they are; `all` if it has none.
        files: Of the labels that the model knows.
        notes: How the folder was read, and what is left out.
    """

    root: Path
    split: str
    files: tuple[LabelledFile, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the folder, for reports."""
        return plain(self.root.resolve().name)


def labelled_folder(
    root: Path, labels: Sequence[str], labels_csv: Path | None = None
) -> LabelledFolder:
    """Choose what to measure: the test split, else validation, else all there is.

    Args:
        root: One folder per label, or splits with those inside.
        labels: Of the model, in the order of its outputs.
        labels_csv: A table of the folder's files and labels; None: folders' names are labels.

    Raises:
        DatasetError: If it is no such folder, or has none of the labels.
    """
    listing = list_images(root, labels, labels_csv)
    split = next((name for name in ("test", "validation") if listing.splits.get(name)), "train")
    positions = [(in_order_of(labels, [label]) or [-1])[0] for label in listing.labels]
    found = [
        LabelledFile(file.path, positions[file.target]) for file in listing.splits.get(split, ())
    ]
    files = tuple(file for file in found if file.target >= 0)
    unknown = [label for label, at in zip(listing.labels, positions, strict=True) if at < 0]
    if not files:
        raise DatasetError(
            f"{plain(root)} has no image of a label that the model knows. Its labels "
            f"are {_some(listing.labels)}; the model's labels are {_some(labels)}."
        )
    notes = [*listing.notes, *listing.left_out]
    if unknown:
        count = len(found) - len(files)
        notes.append(
            f"left out: {count:,} images of labels that the model does not have: {_some(unknown)}"
        )
    missing = len(labels) - len({file.target for file in files})
    if missing:
        notes.append(f"note: there are no images of {missing} of the model's {len(labels)} labels")
    return LabelledFolder(root, "all" if split == "train" else split, files, tuple(notes))


def predict_folder(
    answers: Answers, folder: LabelledFolder, spec: Preprocessing
) -> tuple[Predictions, tuple[LabelledFile, ...], tuple[str, ...]]:
    """Predict the files of a folder.

    Returns:
        Predictions with targets, the files that they are of, and why others could not be read.

    Raises:
        DatasetError: If no file can be read.
    """
    parts: list[Predictions] = []
    good: list[LabelledFile] = []
    unreadable: list[str] = []
    images = max(1, min(BLOCK, BLOCK * 224**2 // spec.crop**2))
    for start in range(0, len(folder.files), images):
        block = folder.files[start : start + images]
        decoded = decode_files(block, spec, folder.root)
        unreadable += decoded.unreadable
        if not len(decoded.split):
            continue
        found = answers(decoded.split.images)
        parts.append(Predictions(found.logits, decoded.split.targets, found.probabilities))
        read = set(decoded.files)
        good += [file for file in block if inside(file, folder.root) in read]
    if not parts:
        first = f" The first: {unreadable[0]}" if unreadable else ""
        raise DatasetError(f"{plain(folder.root)} has no readable image.{first}")
    return _joined(parts), tuple(good), tuple(unreadable)


def _joined(parts: Sequence[Predictions]) -> Predictions:
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Predictions(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.targets for part in parts]),
        torch.cat(probabilities) if probabilities else None,
    )


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
