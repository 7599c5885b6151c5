"""Fashion-MNIST with a test split that nobody has seen: 5,000 training images, held out.

    python -m benchmarks.held_out FOLDER [--images 5000]
    python -m benchmarks.train accuracy record --data FOLDER --seeds 3

The published test images helped to choose among versions of the recipes, so an accuracy on them
is a little optimistic. The folder written here has none of them. Its validation and calibration
splits are the usual ones; its test split comes out of the training images, by a hash of their
pixels, and has never measured anything. Accuracy on it is that of a network which learnt from
5,000 images less.
"""

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from model.cli import CommandError, script
from training.data.dataset import MemorySplit, Split
from training.data.division import key_of
from training.data.fashion_mnist import LABELS, read_fashion_mnist

IMAGES = 5_000
FOLDERS = {"validation": "val", "calibration": "calibration"}


def hold_out(train: Split, count: int) -> tuple[MemorySplit, MemorySplit]:
    """Take the images with the lowest keys out of a split; copies of them are left out of both.

    Returns:
        What is left to train on, and what is held out.
    """
    keys = [key_of(image.tobytes()) for image in train.images.numpy()]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    held = sorted(order[:count])
    seen = {keys[index] for index in held}
    rest = [index for index in range(len(keys)) if keys[index] not in seen]
    return (
        MemorySplit(train.images[rest], train.targets[rest]),
        MemorySplit(train.images[held], train.targets[held]),
    )


def write(split: Split, folder: Path) -> None:
    """Write a split as PNG files, in one folder for each label."""
    for index, (image, target) in enumerate(zip(split.images.numpy(), split.targets, strict=True)):
        path = folder / LABELS[int(target)].replace("/", "-") / f"{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(path)


def main(
    folder: Annotated[Path, typer.Argument(help="New folder for 60,000 PNG files.")],
    images: Annotated[int, typer.Option(min=1, max=50_000, help="To hold out.")] = IMAGES,
) -> None:
    """Write the folder, and say what is in it."""
    if folder.exists():
        raise CommandError(f"{folder} exists already; name a new folder.")
    dataset = read_fashion_mnist()
    train, held = hold_out(dataset.train, images)
    splits: dict[str, Split] = {"train": train, "test": held}
    splits |= {name: dataset.splits[split] for split, name in FOLDERS.items()}
    for name, split in splits.items():
        write(split, folder / name)
    print(f"{folder}: " + ", ".join(f"{len(split):,} {name}" for name, split in splits.items()))


if __name__ == "__main__":
    script(main)()
