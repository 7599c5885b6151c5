"""Experiment 6: the recipe of a textbook, compared with the accuracy that it reports."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from experiments.experiment import Experiment, Row, Setting
from experiments.figures import Rows, draw_lines, final, last_epoch_table
from experiments.loop import Plan, Trial
from model.architecture.family import get_architecture
from model.network.resnet import ResNet
from training.data.dataset import Dataset, MemorySplit, Split

IMAGE_SIZE = 96
BUDGET_S = 2 * 3600
"""CPU time after which no further epoch starts."""

PUBLISHED = 0.893


def enlarged(dataset: Dataset, image_size: int) -> Dataset:
    """Resize the images, and keep their values in [0, 1], as the book does."""
    size = (image_size, image_size)

    def resize(split: Split) -> MemorySplit:
        channels = split.images.shape[-1]
        images = torch.empty(len(split), *size, channels, dtype=torch.uint8)
        for start in range(0, len(split), 1000):
            few = split.images[start : start + 1000].permute(0, 3, 1, 2).float()
            large = nn.functional.interpolate(few, size, mode="bilinear")
            images[start : start + 1000] = large.round().to(torch.uint8).permute(0, 2, 3, 1)
        return MemorySplit(images, split.targets)

    channels = dataset.preprocessing.channels
    plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    return replace(
        dataset,
        preprocessing=dataset.preprocessing.model_copy(
            update={"resize": image_size, "crop": image_size, **plain}
        ),
        train=resize(dataset.train),
        validation=dataset.validation[:0],
        test=resize(dataset.test),
    )


def _xavier(network: ResNet) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    spec = get_architecture(
        arm,
        num_classes=len(setting.dataset.labels),
        in_channels=setting.dataset.preprocessing.channels,
    )
    trial = Trial(spec, enlarged(setting.dataset, IMAGE_SIZE), setting.seed, _xavier)
    plan = Plan(
        setting.epochs,
        batch_size=256,
        learning_rate=0.05,
        momentum=0.0,
        weight_decay=0.0,
        one_cycle=False,
        flip=False,
    )
    began = time.process_time()
    for epoch in trial.fit(plan):
        yield {**asdict(epoch), "cpu_seconds": f"{time.process_time() - began:.0f}"}
        if time.process_time() - began > BUDGET_S:
            return


def _draw(rows: Rows, out: Path) -> None:
    panels = {"train_error": "training error", "test_error": "test error"}
    draw_lines(rows, out, "epoch", panels, "resnet18_d2l at 96 pixels")


def _summarize(rows: Rows) -> str:
    last = max(int(row["epoch"]) for row in rows)
    reached = 1 - statistics.fmean(
        value for values in final(rows, "test_error").values() for value in values
    )
    best = max(1 - float(row["test_error"]) for row in rows)
    gap = (
        f"{100 * abs(reached - PUBLISHED):.1f} points {'above' if reached > PUBLISHED else 'below'}"
    )
    errors = {"train_error": "training error", "test_error": "test error"}
    return (
        f"{last_epoch_table(rows, errors)}\n\nTest accuracy after {last} epochs: "
        f"{reached:.3f}; the best epoch has {best:.3f}. "
        f"Published after 10 epochs: {PUBLISHED}; this is {gap}."
    )


EXPERIMENT = Experiment(
    name="d2l",
    title="The book's recipe",
    claim=f"ResNet-18 on Fashion-MNIST at 96 x 96, SGD 0.05, batch 256, 10 epochs: training "
    f"accuracy 0.997, test accuracy {PUBLISHED} (Zhang et al., Dive into Deep Learning, "
    "section 8.6).",
    done="`resnet18_d2l` (biases in convolutions, no norm on projections, Xavier initialisation) "
    "on the 55,000 images that are not held out, resized to 96 x 96, without augmentation, "
    f"momentum or schedule. No epoch starts after {BUDGET_S // 3600} hours of CPU time.",
    arms=("resnet18_d2l",),
    epochs=10,
    seeds=1,
    limit=None,
    cost="about an hour and a half of CPU time on a processor with bfloat16",
    columns=("epoch", "train_loss", "train_error", "test_loss", "test_error", "cpu_seconds"),
    measure=_measure,
    draw=_draw,
    summarize=_summarize,
)
