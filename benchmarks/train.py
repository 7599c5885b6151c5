"""How fast training is, and what accuracy it buys.

    python -m benchmarks.train speed [ARCHITECTURE ...]       # images/s and share of the peak
    python -m benchmarks.train accuracy RECIPE [--seeds 3] [--data FOLDER]   # against CPU seconds

The peak is not the data sheet's but what one large matrix product reaches here, in the same
run and precision. Accuracy is measured by whole runs: see `benchmarks.accuracy`.
"""

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.accuracy import keep, measure_accuracy, report
from model.architecture.family import get_architecture
from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from model.cli import CommandError
from model.network.resnet import ResNet
from training.cli.errors import user_errors
from training.export.latency import processor_name
from training.runs.environment import commit, now

RESULTS = Path(__file__).parent / "results"
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "accuracy-against-cpu.png"
NAMES = ("mini_resnet", "resnet20", "resnet18", "resnet50")
IMAGE_SIZES = {"mini_resnet": 28}
"""Image sizes of members that take any, in pixels."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SIDE = 2048
"""Of the square matrices whose product is the peak."""

BACKWARD = 3
"""Forward is one part of a step, the gradients of activations and of weights are two."""


def peak(precision: torch.dtype, repeats: int = 8) -> float:
    """Floating-point operations per second of one large matrix product.

    It is made in two ways, as a product and as a convolution of 1 x 1: different libraries
    compute them, and which of them knows the processor better differs. The faster one counts.
    """
    left, right = torch.randn(2, SIDE, SIDE).to(precision)
    image, kernels = left.reshape(1, SIDE, SIDE, 1), right.reshape(SIDE, SIDE, 1, 1)
    image = image.contiguous(memory_format=torch.channels_last)
    ways: tuple[Callable[[], Tensor], ...] = (
        lambda: torch.mm(left, right),
        lambda: nn.functional.conv2d(image, kernels),
    )
    best = min(_median_seconds(way, repeats) for way in ways)
    return 2 * SIDE**3 / best


def _median_seconds(way: Callable[[], Tensor], repeats: int) -> float:
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats):
            began = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - began)
    return median(seconds[2:])


def training_speed(spec: Architecture, batch: int, precision: torch.dtype, steps: int) -> float:
    """Images per second of forward, backward and a plain step, on random images."""
    size = _image_size(spec)
    network = ResNet(spec).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch, spec.in_channels, size, size)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, spec.num_classes, (batch,))
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return batch / median(seconds[1:])


def _image_size(spec: Architecture) -> int:
    return IMAGE_SIZES.get(spec.name) or spec.size or 224


def measure_speed(names: Iterable[str], budget: float) -> list[dict[str, Any]]:
    """Measure members in each precision; batches hold about `budget` multiply-adds."""
    rows: list[dict[str, Any]] = []
    print("| architecture | precision | batch | images/s | share of the peak |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        spec = get_architecture(name)
        macs = summarize(spec, _image_size(spec), _image_size(spec)).macs
        batch = max(8, min(512, int(budget / macs) // 8 * 8))
        for precision, dtype in PRECISIONS.items():
            speed = training_speed(spec, batch, dtype, steps=4)
            share = BACKWARD * 2 * macs * speed / peak(dtype)
            rows.append(
                {
                    "architecture": name,
                    "precision": precision,
                    "batch": batch,
                    "images_per_second": round(speed, 1),
                    "share_of_peak": round(share, 3),
                }
            )
            print(f"| {name} | {precision} | {batch} | {speed:,.1f} | {share:.0%} |", flush=True)
    return rows


def _keep_speed(results: list[dict[str, Any]]) -> None:
    about = {
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "commit": commit(),
        "date": now(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "train-speed.json"
    path.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def speed(
    names: Annotated[list[str] | None, typer.Argument(help="Architectures.")] = None,
    budget: Annotated[float, typer.Option(help="Multiply-adds of a batch.")] = 4e10,
) -> None:
    """Measure images a second, and keep the results."""
    _keep_speed(measure_speed(names or NAMES, budget))


@app.command()
def accuracy(
    recipe: str,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Images; by default Fashion-MNIST.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER")] = Path("runs/benchmark"),
) -> None:
    """Train a recipe once a seed, and keep the results."""
    try:
        with user_errors():
            row = measure_accuracy(recipe, seeds, changes or [], out, data)
    except CommandError as error:
        sys.exit(f"error: {error}")
    report(keep(row, RESULTS / "train-accuracy.json"), FIGURE)


if __name__ == "__main__":
    app()
