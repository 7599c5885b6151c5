"""The statistics of batch norms, where each process has its own."""

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn


class SharedNormStatistics(Callback):
    """Average the statistics of batch norms over all processes, after each step.

    On GPUs batch norms are synchronised, and have the same statistics in all processes. torch has
    no such norm for CPUs: each process normalises by its own images. The average of their
    statistics makes processes validate the same network, and is what rank 0 saves.
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Average them in place."""
        statistics = _statistics_of(pl_module)
        if not statistics:
            return
        all_of_them = torch.cat(statistics)
        dist.all_reduce(all_of_them)
        shared = torch.split(all_of_them / trainer.world_size, [len(each) for each in statistics])
        for own, average in zip(statistics, shared, strict=True):
            own.copy_(average)


def _statistics_of(module: nn.Module) -> list[Tensor]:
    """List the running means and variances of a network's batch norms, each of shape (C,)."""
    return [
        statistic
        for part in module.modules()
        if isinstance(part, nn.BatchNorm2d)
        for statistic in (part.running_mean, part.running_var)
        if statistic is not None
    ]
