"""Choose the reader for a source of labelled pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.data.dataset import Dataset
from training.data.fashion_mnist import has_idx_files, read_fashion_mnist
from training.data.folder import read_picture_folder


def read_dataset(
    source: Path | None,
    seed: int = 0,
    size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
) -> Dataset:
    """Read IDX files or a folder of pictures, whichever is there.

    Args:
        source: A folder; None means Fashion-MNIST, wherever it is installed.
        seed: Chooses what is held out where the folder does not say.
        size: Side of the network's input in pixels; None takes the pictures' usual one.
        held: Files of each split of a folder, as an earlier reading held them.
        known: Labels of the run whose data they are, which keep their order.

    Raises:
        DatasetError: If the pictures cannot be used; the message says why.
    """
    if source is None or has_idx_files(source):
        return read_fashion_mnist(source, size=size)
    return read_picture_folder(source, seed, size, held, known)
