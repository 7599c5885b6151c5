"""What one step of training is: loss, optimiser, schedule, metrics.

Lightning owns the loop. Every number comes from the `Recipe`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from model.network.resnet import ResNet, build_parts
from training.data.dataset import Batch
from training.recipe.augment import augment, mix, side_at
from training.recipe.optim import build_optimizer, build_schedule
from training.recipe.recipe import Recipe
from training.runs.record import RECORD_KEY, RunRecord


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
        self.network = _prepared(network, recipe)
        if not recipe.backbone_rate:  # nothing is kept for a way back through it
            network.requires_grad_(requires_grad=False)
            network.classifier.requires_grad_()
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

    def train(self, mode: bool = True) -> "Classifier":
        """Switch norms and dropout; a frozen backbone keeps the statistics that it came with."""
        super().train(mode)
        if not self.recipe.backbone_rate:
            self.network.eval()
        return self

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Augment, predict, compare."""
        images, targets = batch
        images = augment(images.cpu(), self.recipe, self.augmentation, self._side(images.shape[1]))
        images, others, share = self._mixed(images, targets)
        logits = self(images.to(self.device))
        loss = self._mixed_loss(logits, targets, others, share)
        self.train_accuracy(logits, targets if share >= 0.5 else others)
        self.train_loss(loss.detach(), len(targets))
        self._log("train", self.train_loss, self.train_accuracy, len(targets))
        return loss

    def _side(self, side: int) -> int:
        """Side of the pictures at this step: they grow, but not before a layer of fixed width."""
        if self.record.architecture.stem == "flatten":
            return side
        return side_at(self._progress(), side, self.recipe)

    def _progress(self) -> float:
        """Share of the run's steps that are behind it."""
        return self.trainer.global_step / self.trainer.estimated_stepping_batches

    def _mixed(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
        """Mix pictures, until the run finishes."""
        if self._progress() >= 1 - self.recipe.finish:
            return images, targets, 1.0
        return mix(images, targets, self.recipe, self.augmentation)

    def _mixed_loss(self, logits: Tensor, targets: Tensor, others: Tensor, share: float) -> Tensor:
        """Compare with both targets of mixed pictures, by their shares."""
        loss: Tensor = self.loss(logits, targets)
        return loss if share == 1 else share * loss + (1 - share) * self.loss(logits, others)

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
        """Optimiser and schedule, as the recipe says."""
        recipe = self.recipe
        optimizer = build_optimizer(self.network, recipe)
        if recipe.schedule == "plateau":
            plateau = ReduceLROnPlateau(
                optimizer,
                factor=recipe.plateau_factor,
                patience=recipe.plateau_patience,
                min_lr=recipe.min_learning_rate,
            )
            schedule = {"scheduler": plateau, "interval": "epoch", "monitor": "val_loss"}
        else:
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = {"scheduler": build_schedule(optimizer, recipe, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

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


def _prepared(network: ResNet, recipe: Recipe) -> ResNet:
    """Lay a network out for training, and give its norms the recipe's momentum."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = recipe.norm_momentum
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in place
    return network
