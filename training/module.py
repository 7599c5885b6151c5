"""What one step of training is: loss, optimiser, schedule, metrics.

Lightning owns the loop. Every number comes from the `Recipe`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from model.architecture import Architecture
from model.network import Normalize, ResNet
from model.preprocessing import Preprocessing
from training.augment import augment
from training.datasets.dataset import Batch
from training.run import RECORD_KEY, RunRecord


class Classifier(LightningModule):
    """A residual network that learns as its recipe says.

    Args:
        record: Recipe, architecture and preprocessing; it travels in every checkpoint.
    """

    def __init__(self, record: RunRecord) -> None:
        """Build the network; torch's global random state draws its weights."""
        super().__init__()
        self.record = record
        self.recipe = recipe = record.recipe
        self.normalize, network = build_parts(record.architecture, record.preprocessing)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = None if record.loss_weights is None else torch.tensor(record.loss_weights)
        self.loss = nn.CrossEntropyLoss(weights, label_smoothing=recipe.label_smoothing)
        self.augmentation = torch.Generator().manual_seed(record.seed)
        classes = record.architecture.num_classes
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        for metric in (self.train_loss, self.train_accuracy):
            metric.persistent(True)  # a checkpoint within an epoch carries its figures so far
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (N, S, S, C) -> logits (N, K)."""
        logits: Tensor = self.network(self.normalize(images))
        return logits

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Augment, predict, compare."""
        images, targets = batch
        images = augment(images.cpu(), self.recipe, self.augmentation).to(self.device)
        logits = self(images)
        loss: Tensor = self.loss(logits, targets)
        self.train_accuracy(logits, targets)
        self.train_loss(loss.detach(), len(targets))
        self._log("train", self.train_loss, self.train_accuracy, len(targets))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Compare, without smoothing, so that losses of different recipes compare."""
        images, targets = batch
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, targets)
        self.val_accuracy(logits, targets)
        self._log("val", loss, self.val_accuracy, len(targets))

    def _log(
        self, split: str, loss: Tensor | MeanMetric, accuracy: MulticlassAccuracy, count: int
    ) -> None:
        self.log_dict(
            {f"{split}_loss": loss, f"{split}_acc": accuracy},
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=count,
            sync_dist=True,
        )

    def configure_optimizers(self) -> Any:  # Lightning's union of twelve types
        """Optimiser and schedule; norms and biases are spared the weight decay."""
        recipe = self.recipe
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adam":
            optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate)
        else:
            optimizer = torch.optim.SGD(
                groups,
                lr=recipe.learning_rate,
                momentum=recipe.momentum,
                nesterov=recipe.momentum > 0,
            )
        return {"optimizer": optimizer, "lr_scheduler": self._schedule(optimizer)}

    def _schedule(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        recipe = self.recipe
        if recipe.schedule == "plateau":
            plateau = ReduceLROnPlateau(
                optimizer,
                factor=recipe.plateau_factor,
                patience=recipe.plateau_patience,
                min_lr=recipe.min_learning_rate,
            )
            return {"scheduler": plateau, "interval": "epoch", "monitor": "val_loss"}
        steps = int(self.trainer.estimated_stepping_batches) + 1  # it ends above zero
        one_cycle = OneCycleLR(
            optimizer,
            max_lr=recipe.learning_rate,
            total_steps=steps,
            pct_start=min(1.0, max(recipe.warmup, 2 / steps)),  # torch divides by warm-up - 1
            anneal_strategy="linear",
            cycle_momentum=False,
        )
        return {"scheduler": one_cycle, "interval": "step"}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the record beside the weights, and the state of all dice."""
        checkpoint[RECORD_KEY] = self.record.model_dump_json()
        checkpoint["random"] = {
            "augmentation": self.augmentation.get_state(),
            "torch": torch.get_rng_state(),
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Take up the dice where they lay."""
        self.augmentation.set_state(checkpoint["random"]["augmentation"])
        torch.set_rng_state(checkpoint["random"]["torch"])


def build_parts(
    architecture: Architecture, preprocessing: Preprocessing
) -> tuple[Normalize, ResNet]:
    """Build the two halves of the way from stored pictures to logits."""
    return Normalize(preprocessing.mean, preprocessing.std), ResNet(architecture)
