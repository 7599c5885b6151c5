"""How well scores tell images that a network was not trained for: near and far, with intervals.

    python -m benchmarks.ood_detection RUNS --leave-out Shirt --leave-out Sandal [--seeds 3]
    python -m benchmarks.ood_detection RUNS --data CIFAR10 --recipe cifar10 --leave-out bird ...

Near-OOD images are the labels that were left out of training, and images of the same format; far
ones are everything else. A score is chosen, as an export does it, on noise, inverted and shuffled
images of the validation split. Nothing of that kind is reported. The threshold is the
calibration split's.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import torch
import typer
from torch import Tensor

from benchmarks.networks import (
    QUICK,
    DataOption,
    ImagesOption,
    LeaveOutOption,
    Network,
    RecipeOption,
    Runs,
    SeedsOption,
    SetOption,
    features_of,
    networks,
)
from benchmarks.ood_scores import offered, others
from benchmarks.process import write_result
from model.cli import script
from training.data.dataset import Split, sample
from training.trust.head import FITTING_IMAGES
from training.trust.intervals import auroc_interval, share_interval
from training.trust.ood import auroc, find_threshold
from training.trust.ood_sets import MAX_DISTORTED, distort, ood_sets

LEFT_OUT = "labels left out"


def measure(network: Network) -> dict[str, Any]:
    """Measure every score against every set of OOD images."""
    trained, dataset = network.trained, network.dataset
    head = trained.network.classifier

    def seen(images: Split | Tensor) -> tuple[Tensor, Tensor]:
        features = features_of(trained, images)
        return head(features), features

    fitting = sample(dataset.train, FITTING_IMAGES)
    _, features = seen(fitting)
    scores = offered(features, fitting.targets, len(dataset.labels)) | others(features, head)
    validation, calibration, test = (
        seen(split) for split in (dataset.validation, dataset.calibration, dataset.test)
    )
    distorted = distort(sample(dataset.validation, MAX_DISTORTED).images).values()
    chooses = [seen(images) for images in distorted]
    foreign = {LEFT_OUT: ("near", seen(sample_of(network.left_out_images)))}
    for name, one in ood_sets(dataset.preprocessing, None).items():
        foreign[name] = (one.kind, seen(one.images))
    found = {}
    for name, score in scores.items():
        known, inside = score(*test), score(*validation)
        threshold = find_threshold(score(*calibration))
        assert threshold is not None  # noqa: S101  # 19 images are enough
        found[name] = {
            "chooses": mean(auroc(inside, score(*images)) for images in chooses),
            "flagged": float((known < threshold).double().mean()),
            "sets": {
                which: {"kind": kind, **_against(known, score(*images), threshold)}
                for which, (kind, images) in foreign.items()
            },
        }
    return {"run": trained.path.name, "seed": trained.record.seed, "scores": found}


def sample_of(images: Tensor) -> Tensor:
    """Take at most `MAX_DISTORTED` images, evenly."""
    return images[:: max(1, len(images) // MAX_DISTORTED)]


def _against(known: Tensor, foreign: Tensor, threshold: float) -> dict[str, Any]:
    count = int((foreign < threshold).sum())
    return {
        "n": len(foreign),
        "auroc": auroc(known, foreign),
        "auroc_interval": auroc_interval(known, foreign),
        "flagged": count / len(foreign),
        "flagged_interval": share_interval(count, len(foreign)),
    }


def table(measured: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Average the networks: AUROC and share flagged of each score and set."""
    first = measured[0]["scores"]
    sets = next(iter(first.values()))["sets"]
    lines = [("score", "validation", *(f"{name} ({one['kind']})" for name, one in sets.items()))]
    lines.append(("---",) * len(lines[0]))
    best = max(first, key=lambda name: mean(one["scores"][name]["chooses"] for one in measured))
    for name in first:
        its = [one["scores"][name] for one in measured]
        cells = []
        for which in sets:
            area = mean(each["sets"][which]["auroc"] for each in its)
            flagged = mean(each["sets"][which]["flagged"] for each in its)
            spread = [end for each in its for end in each["sets"][which]["auroc_interval"]]
            cells.append(f"{area:.3f} ({min(spread):.3f} to {max(spread):.3f}), {flagged:.0%}")
        shown = f"**{name}**" if name == best else name
        lines.append((shown, f"{mean(each['chooses'] for each in its):.3f}", *cells))
    return lines


def main(  # noqa: PLR0913, PLR0917  # an option each
    runs: Runs,
    data: DataOption = None,
    leave_out: LeaveOutOption = None,
    recipe: RecipeOption = "fast",
    changes: SetOption = None,
    seeds: SeedsOption = 3,
    images: ImagesOption = None,
) -> None:
    """Train the networks that are not there, print the table, and write the result."""
    chosen = QUICK if changes is None else tuple(changes)
    measured = []
    for network in networks(runs, data, recipe, chosen, seeds, leave_out or (), images):
        with torch.inference_mode():
            measured.append({"dataset": network.dataset.name, **measure(network)})
    for line in table(measured):
        typer.echo(f"| {' | '.join(line)} |")
    name = f"ood-detection-{measured[0]['dataset']}"
    typer.echo(str(write_result(name, {"left_out": leave_out, "networks": measured})))


if __name__ == "__main__":
    script(main)()
