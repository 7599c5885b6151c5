"""The weights that a run begins with, and what they bring: architecture, image size, mean, labels.

A checkpoint of `train-model` says all of that itself; of other files the tensors' names and
shapes are all that is known.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from model.architecture.family import get_architecture
from model.network.resnet import ResNet
from model.weights.family import closest
from model.weights.file import Weights, read_weights
from model.weights.head import head_name
from model.weights.names import name_keys, shapes_of
from model.weights.normalization import (
    Normalization,
    adapt_channels,
    get_normalization,
    usual_normalization,
)
from training.errors import TrainingError
from training.recipe.recipe import Recipe
from training.runs.reading import read_checkpoint
from training.runs.record import CheckpointError, RunRecord

IMAGENET_SIZE = 224
"""Pixels of the images that published weights were trained on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstWeights:
    """Tensors to begin with.

    Attributes:
        path: Their file.
        tensors: Under the file's names.
        record: Of the run that left them; None: they are from elsewhere.
    """

    path: Path
    tensors: Weights
    record: RunRecord | None = None

    @classmethod
    def read(cls, path: Path, recipe: Recipe | None = None) -> Self:
        """Read a file; of several networks in it take the one that fits the recipe best.

        Raises:
            TrainingError: If the recipe has no architecture of the family.
            WeightsError: If the file cannot be read.
        """
        try:
            architecture = get_architecture(recipe.architecture if recipe else "resnet18")
        except ValueError as error:
            raise TrainingError(f"The recipe's architecture: {error}") from error
        tensors = read_weights(path, architecture, log.info if recipe else lambda _: None)
        return cls(path, tensors, _record_of(path))

    @property
    def architecture(self) -> str:
        """The member of the family that they fit; empty if none is known."""
        return self.record.architecture.name if self.record else closest(self.tensors)[0]

    @property
    def image_size(self) -> int | None:
        """Pixels that the network was trained on; None: not known."""
        return self.record.preprocessing.crop if self.record else None

    def normalization(self, architecture: str, channels: int) -> Normalization | None:
        """Return the mean and deviation that they were trained with, as far as that is known.

        Published weights of networks for large images were trained with ImageNet's, or with 0.5.
        Those for small images were trained on data of their own.
        """
        if self.record is None:
            member = get_architecture(architecture)
            usual = get_normalization(usual_normalization(member), channels)
            return usual if member.image_size >= IMAGENET_SIZE else None
        spec = self.record.preprocessing
        return adapt_channels(Normalization(spec.mean, spec.std), channels)

    def for_labels(self, labels: Sequence[str], network: ResNet) -> tuple[Weights, str]:
        """Give each label that the earlier run knew its row of the head, by its name.

        Args:
            labels: Of the run that begins, in the order of its outputs.
            network: As drawn; other labels keep its rows.

        Returns:
            The tensors, and what became of the head; nothing to say if it is as it was.
        """
        known = self.record.labels if self.record else ()
        if not known or tuple(labels) == known:
            return self.tensors, ""
        rows = [(new, known.index(label)) for new, label in enumerate(labels) if label in known]
        drawn = [label for label in labels if label not in known]
        shapes = shapes_of(network.architecture)
        keys, state = name_keys(self.tensors, shapes).keys, network.state_dict()
        tensors = dict(self.tensors)
        for name in (f"{head_name(shapes)}.weight", f"{head_name(shapes)}.bias"):
            tensors[keys[name]] = head = state[name].clone()
            new, old = torch.tensor(rows, dtype=torch.long).reshape(-1, 2).T
            head[new] = self.tensors[keys[name]][old].to(head.dtype).reshape(-1, *head.shape[1:])
        names = f" ({', '.join(drawn[:5])}{', ...' if len(drawn) > 5 else ''})" if drawn else ""
        return tensors, (
            f"head: {len(rows)} known labels keep their weights, {len(drawn)} start at "
            f"random{names}"
        )


def _record_of(path: Path) -> RunRecord | None:
    try:
        return read_checkpoint(path)[0]
    except CheckpointError:  # from elsewhere, or of a version that cannot be read
        return None
