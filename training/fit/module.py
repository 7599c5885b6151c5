"""What one step of training is: loss, optimiser, schedule, metrics.

Lightning owns the loop. Every number comes from the `Recipe`.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics.classification import MulticlassAccuracy

from model.network.resnet import ResNet, build_parts
from training.data.dataset import Batch
from training.distributed import processes
from training.fit.lightning_internals import resumed_within_epoch
from training.fit.process_group import by_rank
from training.fit.weighted_mean import WeightedMean
from training.recipe.augment import augment, image_size_at, mix
from training.recipe.optim import build_optimizer
from training.recipe.recipe import Recipe
from training.recipe.schedule import build_schedule
from training.runs.reading import RECORD_KEY
from training.runs.record import RunRecord

RANK_STRIDE = 2**32
"""Between the seeds of two processes; a run's own seed is under it."""


class Classifier(LightningModule):
    """A residual network, trained as its recipe says.

    Args:
        record: Recipe, architecture and preprocessing; every checkpoint carries it. Torch's global
            random state draws the weights.
    """

    def __init__(self, record: RunRecord) -> None:
        super().__init__()
        self.record = record
        self.recipe = recipe = record.recipe
        self.augments = recipe  # without what the loader has done
        self.normalize, network = build_parts(record.architecture, record.preprocessing)
        self.network = _prepare(network, recipe)
        if not recipe.backbone_lr_scale:  # no gradients are computed for it
            network.requires_grad_(requires_grad=False)
            network.classifier.requires_grad_()
        weights = None if record.loss_weights is None else torch.tensor(record.loss_weights)
        self.loss = nn.CrossEntropyLoss(weights, label_smoothing=recipe.label_smoothing)
        self.augmentation = torch.Generator().manual_seed(record.seed)
        self.on_device = self.augmentation  # a GPU gets its own: `setup`
        classes = record.architecture.num_classes
        # Checks of values would wait for the GPU at each step.
        self.train_loss = WeightedMean()
        self.train_accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        for metric in (self.train_loss, self.train_accuracy):
            metric.persistent(True)  # a checkpoint within an epoch has its figures so far
        self.val_loss = WeightedMean()
        self.val_accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self._torch_random: Tensor | None = None  # as a checkpoint has it

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (N, S, S, C) -> logits (N, K)."""
        logits: Tensor = self.network(self.normalize(images))
        return logits

    def train(self, mode: bool = True) -> "Classifier":
        """Switch norms and dropout; a frozen backbone keeps its batch norms' statistics."""
        super().train(mode)
        if not self.recipe.backbone_lr_scale:
            self.network.eval()
        return self

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Augment, predict, compare; nothing here copies from the device to the host."""
        images, targets = batch
        image_size = self._image_size(images.shape[1])
        images = augment(images, self.augments, self.on_device, image_size)
        images, others, share = self._mixed(images, targets)
        logits = self(images)
        loss = self._mixed_loss(logits, targets, others, share)
        self.train_accuracy.update(logits, targets if share >= 0.5 else others)
        self.train_loss.update(loss.detach(), self._average_count(targets))
        self._log("train", self.train_loss, self.train_accuracy, len(targets))
        return loss

    def setup(self, stage: str) -> None:  # noqa: ARG002  # Lightning's signature
        """Draw augmentation on the device that trains, each process with its own numbers."""
        device, rank = self.trainer.strategy.root_device, processes().rank
        seed = self.record.seed + RANK_STRIDE * rank
        if rank:
            self.augmentation.manual_seed(seed)
            torch.manual_seed(seed)
        if device.type != "cpu":
            self.on_device = torch.Generator(device).manual_seed(seed)

    def on_train_start(self) -> None:
        """Restore torch's random state where the run goes on within an epoch.

        The loader has drawn from it once more by then than in a run that was not stopped.
        """
        if self._torch_random is not None and resumed_within_epoch(self.trainer):
            torch.set_rng_state(self._torch_random)
        if processes().rank:  # rank 0 has the epoch's figures so far of all of them
            self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Reset the epoch's metrics, which the checkpoint at the last epoch's end still holds.

        Lightning does not call this where the run goes on within an epoch.
        """
        self.train_loss.reset()
        self.train_accuracy.reset()

    def _image_size(self, stored: int) -> int:
        """Image size at this step; a layer over all pixels needs the stored one."""
        if self.record.architecture.stem == "flatten":
            return stored
        return image_size_at(self._progress(), stored, self.recipe)

    def _progress(self) -> float:
        """Share of the run's steps that are done."""
        return self.trainer.global_step / self.trainer.estimated_stepping_batches

    def _mixed(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
        """Mix images, until the cooldown."""
        if self._progress() >= 1 - self.recipe.cooldown:
            return images, targets, 1.0
        return mix(images, targets, self.recipe, self.augmentation)

    def _mixed_loss(self, logits: Tensor, targets: Tensor, others: Tensor, share: float) -> Tensor:
        """Compare with both targets of mixed images, by their shares."""
        loss = self._part_of_loss(logits, targets)
        if share == 1:
            return loss
        return share * loss + (1 - share) * self._part_of_loss(logits, others)

    def _part_of_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compare with targets; the average of this over all processes is the loss of their batch.

        That is each process's mean, unless their images count for unequal parts of the batch.
        """
        loss: Tensor = self.loss(logits, targets)
        weights = self.loss.weight
        if self.trainer.world_size == 1 or (weights is None and not self.trainer.is_last_batch):
            return loss
        part = self._count(targets) if weights is None else weights[targets].sum()
        return loss * part / self._average(part)

    def _average_count(self, targets: Tensor) -> Tensor:
        """Count a batch's images, on the average of the processes."""
        count = self._count(targets)
        is_even = self.trainer.world_size == 1 or not self.trainer.is_last_batch
        return count if is_even else self._average(count)

    def _count(self, targets: Tensor) -> Tensor:
        """Count images on the device: a number of the host's would wait for a GPU."""
        return torch.full((), len(targets), device=targets.device, dtype=torch.float32)

    def _average(self, value: Tensor) -> Tensor:
        """Average a value over all processes."""
        average: Tensor = self.trainer.strategy.reduce(value.clone(), reduce_op="mean")
        return average

    def validation_step(self, batch: Batch, _: int) -> None:
        """Compare, without smoothing, so that losses of different recipes compare."""
        images, targets = batch
        logits = self(images)
        loss = nn.functional.cross_entropy(logits, targets)
        self.val_loss.update(loss, self._count(targets))
        self.val_accuracy.update(logits, targets)
        self._log("val", self.val_loss, self.val_accuracy, len(targets))

    def _log(
        self, split: str, loss: WeightedMean, accuracy: MulticlassAccuracy, count: int
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
            schedule = {
                "scheduler": plateau,
                "monitor": "val_loss",
                # Lightning moves a plateau that counts epochs only after the epoch's checkpoint is
                # written, so that a resumed run would miss one move.
                "interval": "step",
                "frequency": self._steps_per_epoch(),
            }
        else:
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = {"scheduler": build_schedule(optimizer, recipe, steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _steps_per_epoch(self) -> int:
        """Count the steps of an epoch; of a run that is limited by steps, more than it has."""
        limit = int(self.trainer.estimated_stepping_batches)  # has Lightning count the batches
        batches = self.trainer.num_training_batches
        return int(batches) if math.isfinite(batches) else limit + 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record and the random states, of each process its own.

        Rank 0 writes; all processes come here, so that they can hand it theirs.
        """
        checkpoint[RECORD_KEY] = self.record.model_dump_json()
        checkpoint["random"] = states = self._random_states()
        if processes().world_size > 1:
            checkpoint["random_by_rank"] = {name: by_rank(each) for name, each in states.items()}
            weights = checkpoint.get("current_model_state", checkpoint["state_dict"])
            for name in weights:
                if name.startswith(("train_loss.", "train_accuracy.")):  # the epoch so far
                    total = self.trainer.strategy.reduce(weights[name].clone(), reduce_op="sum")
                    weights[name] = total

    def _random_states(self) -> dict[str, Tensor]:
        """Collect the states of all generators that this process draws from."""
        states = {"augmentation": self.augmentation.get_state(), "torch": torch.get_rng_state()}
        if self.on_device is not self.augmentation:
            states["device"] = self.on_device.get_state()
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore the random states; a process that the run did not have keeps its own."""
        rank, states = processes().rank, checkpoint["random"]
        known = checkpoint.get("random_by_rank", {})
        if known and rank < len(known["torch"]):
            # torch reads a generator's state from the start of the storage: not of a view.
            states = {name: each[rank].clone() for name, each in known.items()}
        elif rank:
            return
        self.augmentation.set_state(states["augmentation"])
        if "device" in states and self.on_device is not self.augmentation:
            self.on_device.set_state(states["device"])
            if "cuda" in states and self.on_device.device.type == "cuda":
                torch.cuda.set_rng_state(states["cuda"], self.on_device.device)
        self._torch_random = states["torch"]
        torch.set_rng_state(self._torch_random)


def _prepare(network: ResNet, recipe: Recipe) -> ResNet:
    """Put the weights in channels-last order; give batch norms the recipe's momentum."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = recipe.bn_momentum
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in place
    return network
