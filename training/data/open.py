"""Choose the reader for a source of labelled images."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from model.preprocessing import Preprocessing
from training.data.dataset import SPLIT_NAMES, Dataset
from training.data.fashion_mnist import has_idx_files, read_fashion_mnist
from training.data.folder import read_image_folder


def read_dataset(  # noqa: PLR0913  # which files, how they are divided, and which to decode
    source: Path | None,
    size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
    *,
    splits: Collection[str] = SPLIT_NAMES,
    group_by: str | None = None,
    labels_csv: Path | None = None,
    like: Preprocessing | None = None,
    calibrate: bool = True,
) -> Dataset:
    """Read IDX files or a folder of images, whichever the source is.

    Args:
        source: A folder; None: Fashion-MNIST, wherever it is installed.
        size: Of the network's input in pixels; None: the images' usual one.
        held: Files of each split in an earlier run.
        known: Labels of the run whose data they are, which keep their order.
        splits: The splits to decode; the others come out empty.
        group_by: A regular expression; files of a folder whose paths match alike stay together.
        labels_csv: A table of files below the source and their labels.
        like: Preprocessing of a network that is there already, see `choose_preprocessing`.
        calibrate: Take half of many validation images for a calibration split.

    Raises:
        DatasetError: If the images cannot be used; the message says why.
    """
    if labels_csv is not None:
        source = source or labels_csv.parent
    elif source is None or has_idx_files(source):
        return read_fashion_mnist(source, size=size, splits=splits, calibrate=calibrate)
    return read_image_folder(
        source,
        size,
        held,
        known,
        splits=splits,
        group_by=group_by,
        labels_csv=labels_csv,
        like=like,
        calibrate=calibrate,
    )
