"""How fast training is, and what accuracy it buys.

    python -m benchmarks.train speed [ARCHITECTURE ...]       # pictures/s and share of the peak
    python -m benchmarks.train accuracy RECIPE [--seeds 3] [--data FOLDER]   # against CPU seconds

The peak is not the data sheet's but what one large matrix product reaches here, in the same
run and precision. Accuracy is measured by whole runs of `train-model`, each in a process of
its own; what is there already is not run again.
"""

import argparse
import csv
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from model.architecture import Architecture, get_architecture
from model.network import ResNet
from model.summary import summarize
from training.environment import commit, now
from training.speed import processor_name

RESULTS = Path(__file__).parent / "results"
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "accuracy-against-cpu.png"
NAMES = ("mini_resnet", "resnet20", "resnet18", "resnet50")
SIDES = {"mini_resnet": 28}
"""Of the pictures of members that take any, in pixels."""
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SIDE = 2048
"""Of the square matrices whose product is the peak."""

MARKS = (0.90, 0.921, 0.94, 0.95)
"""Validation accuracies whose first epoch is told; 92.1 % is the best that `baseline` saw."""

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
    """Pictures per second of forward, backward and a plain step, on random pictures."""
    size = _side(spec)
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


def _side(spec: Architecture) -> int:
    return SIDES.get(spec.name) or spec.size or 224


def measure_speed(names: Iterable[str], budget: float) -> list[dict[str, Any]]:
    """Measure members in each precision; batches hold about `budget` multiply-adds."""
    rows: list[dict[str, Any]] = []
    print("| architecture | precision | batch | pictures/s | share of the peak |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        spec = get_architecture(name)
        macs = summarize(spec, _side(spec), _side(spec)).macs
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


def measure_accuracy(
    recipe: str, seeds: int, changes: list[str], out: Path, data: Path | None = None
) -> dict[str, Any]:
    """Train and judge a recipe once a seed, on Fashion-MNIST or another folder's pictures.

    Returns:
        Test accuracy and CPU seconds of each seed, with the epochs' validation accuracy.
    """
    runs = []
    for seed in range(seeds):
        folder = out / "-".join([recipe, *changes, str(seed)])
        if not (folder / "evaluation.json").exists():
            settings = [part for change in changes for part in ("--set", change)]
            settings += [] if data is None else ["--data", str(data)]
            train = ["--recipe", recipe, "--seed", str(seed), "--out", str(folder), *settings]
            _call("train_script", train)
            _call("evaluate_script", [str(folder)])
        with (folder / "metrics.csv").open(newline="") as file:
            epochs = [
                (float(row["cpu_seconds"]), float(row["val_acc"])) for row in csv.DictReader(file)
            ]
        figures = json.loads((folder / "evaluation.json").read_text())
        top1 = figures["top1"]
        cpu = epochs[-1][0]
        runs.append(
            {
                "seed": seed,
                "test_top1": top1,
                "mirrored_top1": figures["mirrored_top1"],
                "cpu_seconds": cpu,
                "epochs": epochs,
            }
        )
        print(f"{folder.name}: {top1:.2%} on the test split after {cpu:,.0f} CPU s", flush=True)
    return {"recipe": recipe, "changes": changes, "runs": runs}


def _call(script: str, arguments: list[str]) -> None:
    code = f"from training.cli import {script}; {script}()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def report(results: list[dict[str, Any]], out: Path) -> None:
    """Print the table of recipes, and draw accuracy against CPU seconds."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    marks = "".join(f" to {mark:.1%} |" for mark in MARKS)
    print(f"| recipe | seeds | test top-1 | CPU s |{marks}")
    print("| --- | --- | --- | --- |" + " --- |" * len(MARKS))
    for result in results:
        name = " ".join([result["recipe"], *result["changes"]])
        top1 = [run["test_top1"] for run in result["runs"]]
        spread = f" ± {100 * stdev(top1):.2f}" if len(top1) > 1 else ""
        cpu = mean(run["cpu_seconds"] for run in result["runs"])
        reached = "".join(f" {cpu_to(mark, result['runs'])} |" for mark in MARKS)
        print(f"| {name} | {len(top1)} | {mean(top1):.2%}{spread} | {cpu:,.0f} |{reached}")
        (line,) = axes.plot(*zip(*result["runs"][0]["epochs"], strict=True), label=name)
        axes.scatter(
            [run["cpu_seconds"] for run in result["runs"]], top1, color=line.get_color(), zorder=3
        )
    axes.set(xscale="log", xlabel="CPU seconds", ylabel="accuracy", ylim=(0.8, 0.97))
    axes.set_title("Lines: validation split, epoch by epoch. Dots: test split, at the end.")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=120)


def cpu_to(mark: float, runs: list[dict[str, Any]]) -> str:
    """Tell after how many CPU seconds each run's validation accuracy had come so far, on average.

    An epoch is as fine as it gets; a dash stands where some run never did.
    """
    firsts = [
        next((cpu for cpu, accuracy in run["epochs"] if accuracy >= mark), None) for run in runs
    ]
    found = [cpu for cpu in firsts if cpu is not None]
    return f"{mean(found):,.0f}" if len(found) == len(runs) else "-"


def _keep(name: str, results: list[dict[str, Any]]) -> None:
    about = {
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "commit": commit(),
        "date": now(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"train-{name}.json"
    path.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


def main() -> None:
    """Measure what the command line asks for, and keep the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("names", nargs="*", default=NAMES)
    speed.add_argument("--budget", type=float, default=4e10, help="multiply-adds of a batch")
    accuracy = commands.add_parser("accuracy")
    accuracy.add_argument("recipe")
    accuracy.add_argument("--seeds", type=int, default=3)
    accuracy.add_argument("--set", dest="changes", action="append", default=[])
    accuracy.add_argument("--data", type=Path, help="Fashion-MNIST if not said")
    accuracy.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    options = parser.parse_args()
    if options.command == "speed":
        _keep("speed", measure_speed(options.names, options.budget))
        return
    path = RESULTS / "train-accuracy.json"
    earlier = json.loads(path.read_text())["results"] if path.exists() else []
    fresh = measure_accuracy(
        options.recipe, options.seeds, options.changes, options.out, options.data
    )
    key = (fresh["recipe"], fresh["changes"])
    results = [one for one in earlier if (one["recipe"], one["changes"]) != key]
    results = sorted([*results, fresh], key=lambda one: one["runs"][0]["cpu_seconds"])
    _keep("accuracy", results)
    report(results, FIGURE)


if __name__ == "__main__":
    main()
