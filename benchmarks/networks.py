"""The networks that the benchmarks of trust measure: trained once each, then kept in a folder.

    python -m benchmarks.networks RUNS [--data FOLDER] [--images 10000] [--seeds 3]

A run that is finished is read again. Labels can be left out of training (`--leave-out`): their
images are then near-OOD, of the same source and format. Fewer training images make the
training short, and leave the other splits whole.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from torch import Tensor

from model.cli import script
from training.data.dataset import Dataset, Split, sample
from training.data.loader import in_batches
from training.data.open import read_dataset
from training.evaluation.predict import TrainedNetwork, load_network
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.runs.folder import RunFolder
from training.runs.metrics import read_rows, run_state
from training.runs.reading import read_record
from training.trust.head import FittedTrustHead

Runs = Annotated[Path, typer.Argument(help="Folder of the runs; those that are there are used.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="Default: Fashion-MNIST.")
]
LeaveOutOption = Annotated[
    list[str] | None,
    typer.Option("--leave-out", metavar="LABEL", help="Not learnt; may be repeated."),
]
RecipeOption = Annotated[str, typer.Option("--recipe", help="Of `train-model`.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Changes it.")
]
SeedsOption = Annotated[int, typer.Option(min=1, help="Networks.")]
ImagesOption = Annotated[
    int | None, typer.Option("--images", min=1, help="To train on; default: all.")
]
QUICK = ("architecture=resnet20", "epochs=3")
"""A network that an hour is enough for many of."""


@dataclass(frozen=True)
class Network:
    """A trained network, its images, and those of the labels that it did not learn.

    Attributes:
        left_out_images: Test images of the labels that were left out, uint8 (N, S, S, C).
    """

    trained: TrainedNetwork
    dataset: Dataset
    left_out_images: Tensor


def networks(  # noqa: PLR0913, PLR0917  # where, of what, how
    runs: Path,
    data: Path | None = None,
    recipe: str = "fast",
    changes: Sequence[str] = QUICK,
    seeds: int = 3,
    leave_out: Sequence[str] = (),
    images: int | None = None,
) -> Iterator[Network]:
    """Train a network for each seed, or read it if it is there.

    Raises:
        ValueError: If a label to leave out is none.
        DatasetError: If the images cannot be read.
        TrainingError: If a run cannot be trained.
    """
    chosen = get_recipe(recipe, changes)
    whole = read_dataset(data, chosen.image_size)
    unknown = set(leave_out) - set(whole.labels)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: must be of {', '.join(whole.labels)}.")
    dataset = without(whole, leave_out)
    if images is not None:
        dataset = replace(dataset, train=sample(dataset.train, images))
    gone = [whole.labels.index(label) for label in leave_out]
    left_out_images = whole.test[_positions(whole.test, gone)].images
    names = [label.replace("/", "-") for label in leave_out]
    names += [] if images is None else [str(images)]
    for seed in range(seeds):
        run = RunFolder(runs / "-".join([dataset.name, *names, recipe, *changes, str(seed)]))
        is_there = run.record.exists() and run.best.exists()
        if not is_there or run_state(read_rows(run.metrics), chosen) != "finished":
            train(dataset, chosen, run.path, seed=seed)
        if read_record(run.path).calibration_images != len(dataset.calibration):
            raise ValueError(f"{run.path} is of an earlier version, or of other images.")
        yield Network(load_network(run.path), dataset, left_out_images)


class Outputs(NamedTuple):
    """Logits and probabilities (N, K), features (N, F), scores (N,)."""

    logits: Tensor
    features: Tensor
    probabilities: Tensor
    scores: Tensor


@torch.inference_mode()
def features_of(trained: TrainedNetwork, images: Split | Tensor) -> Tensor:
    """uint8 (N, S, S, C) -> what the head reads, (N, F)."""
    network = trained.network
    found = [
        network.avgpool(network.forward_features(trained.normalize(batch)))
        for batch in in_batches(images)
    ]
    return torch.cat(found)


@torch.inference_mode()
def outputs(trained: TrainedNetwork, fitted: FittedTrustHead, images: Split | Tensor) -> Outputs:
    """Answer images, uint8 (N, S, S, C), as the exported graph would."""
    features = features_of(trained, images)
    logits = trained.network.classifier(features)
    return Outputs(logits, features, *fitted.head(logits, features))


def without(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """Leave labels out of every split, and number the others anew."""
    if not labels:
        return dataset
    kept = [index for index, label in enumerate(dataset.labels) if label not in labels]
    number = torch.zeros(len(dataset.labels), dtype=torch.long)
    number[kept] = torch.arange(len(kept))

    def part(split: Split) -> Split:
        some = split[_positions(split, kept)]
        return some.with_targets(number[some.targets])

    return replace(
        dataset,
        labels=tuple(dataset.labels[index] for index in kept),
        files={},
        shorter_sides=(),
        train=part(dataset.train),
        validation=part(dataset.validation),
        calibration=part(dataset.calibration),
        test=part(dataset.test),
    )


def _positions(split: Split, labels: Sequence[int]) -> Tensor:
    return torch.isin(split.targets, torch.tensor(labels, dtype=torch.long)).nonzero().flatten()


def main(  # noqa: PLR0913, PLR0917  # an option each
    runs: Runs,
    data: DataOption = None,
    leave_out: LeaveOutOption = None,
    recipe: RecipeOption = "fast",
    changes: SetOption = None,
    seeds: SeedsOption = 3,
    images: ImagesOption = None,
) -> None:
    """Train the networks, and nothing else."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = QUICK if changes is None else tuple(changes)
    for network in networks(runs, data, recipe, chosen, seeds, leave_out or (), images):
        print(f"{network.trained.path}: {network.dataset.describe()}", flush=True)


if __name__ == "__main__":
    script(main)()
