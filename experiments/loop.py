"""A short training loop, the same for all networks that are compared.

Nesterov SGD, one cycle, flips as the only augmentation, bfloat16 where the processor supports it.
The full trainer is `training.fit.train`; its checkpoints, curves and averages are not needed here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from model.architecture.spec import Architecture
from model.network.resnet import Normalize, ResNet
from training.data.dataset import Dataset, Split
from training.data.loader import loader
from training.recipe.augment import random_flip

EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Plan:
    """The numbers of a short training."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    one_cycle: bool = True
    flip: bool = True


@dataclass(frozen=True)
class Epoch:
    """Figures after an epoch; both errors in evaluation mode, over whole splits."""

    epoch: int
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float


class Trial:
    """A network and its data.

    Args:
        architecture: Fitted to the data's labels and channels.
        dataset: Images.
        seed: Of weights, order and flips.
        prepare: Changes the fresh network, for example zero-init.
    """

    def __init__(
        self,
        architecture: Architecture,
        dataset: Dataset,
        seed: int,
        prepare: Callable[[ResNet], None] | None = None,
    ) -> None:
        torch.manual_seed(seed)
        spec = dataset.preprocessing
        self.dataset = dataset
        self.seed = seed
        self.normalize = Normalize(spec.mean, spec.std)
        network = ResNet(architecture)
        if prepare is not None:
            prepare(network)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits(self, images: Tensor) -> Tensor:
        """uint8 (N, S, S, C) -> logits (N, K), in float32."""
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            logits: Tensor = self.network(self.normalize(images))
        return logits.float()

    def fit(self, plan: Plan) -> Iterator[Epoch]:
        """Train, and yield the figures after each epoch."""
        batches = loader(self.dataset.train, plan.batch_size, self.seed)
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=plan.learning_rate,
            momentum=plan.momentum,
            weight_decay=plan.weight_decay,
            nesterov=plan.momentum > 0,
        )
        total = max(plan.epochs * len(batches) + 1, 10)  # a warm-up of 0 steps divides by zero
        schedule = None
        if plan.one_cycle:
            schedule = OneCycleLR(
                optimizer, plan.learning_rate, total, pct_start=0.2, cycle_momentum=False
            )
        rng = torch.Generator().manual_seed(self.seed)
        for epoch in range(1, plan.epochs + 1):
            self.network.train()
            batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            for images, targets in batches:
                seen = random_flip(images, rng) if plan.flip else images
                loss = nn.functional.cross_entropy(self.logits(seen), targets)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if schedule is not None:
                    schedule.step()
            train_loss, train_error = self.evaluate(self.dataset.train)
            test_loss, test_error = self.evaluate(self.dataset.test)
            yield Epoch(epoch, train_loss, train_error, test_loss, test_error)

    @torch.no_grad()
    def evaluate(self, split: Split) -> tuple[float, float]:
        """Cross-entropy and share of wrong answers over a split."""
        self.network.eval()
        losses = wrong = 0.0
        for images, targets in loader(split, EVALUATION_BATCH):
            logits = self.logits(images)
            losses += nn.functional.cross_entropy(logits, targets, reduction="sum").item()
            wrong += int((logits.argmax(1) != targets).sum())
        return losses / len(split), wrong / len(split)


def multiplies_bfloat16() -> bool:
    """Whether the processor supports bfloat16; elsewhere it is emulated and slow."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def fitted(dataset: Dataset, **fields: object) -> Architecture:
    """Describe a network for the data's labels, channels and size, with the small stem."""
    return Architecture.model_validate(
        {
            "name": "experiment",
            "block": "basic",
            "stem": "small",
            "size": dataset.preprocessing.crop,
            "in_channels": dataset.preprocessing.channels,
            "num_classes": len(dataset.labels),
            **fields,
        }
    )
