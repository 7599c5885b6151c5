"""What calibration and the OOD threshold are worth on runs with few images: a line for each run.

The trust head is fitted as an export does it, in torch; only the result is written.

    python -m benchmarks.small_sets RUN [RUN ...]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.networks import outputs
from benchmarks.process import write_result
from model.cli import script
from training.data.dataset import Dataset
from training.evaluation.metrics import reliability, worse_than_softmax
from training.evaluation.predict import Predictions, TrainedNetwork, load_network
from training.runs.dataset import dataset_to_evaluate
from training.trust.head import fit_trust_head
from training.trust.ood import Measured, measure_ood
from training.trust.ood_sets import ood_sets

TITLES = (
    "run",
    "validation images (wrong)",
    "test images",
    "calibrator",
    "NLL before",
    "NLL after",
    "largest probability",
    "flagged % (interval)",
    "mean AUROC",
)


def measure(trained: TrainedNetwork, dataset: Dataset) -> dict[str, Any]:
    """Measure one run."""
    seed = trained.record.seed
    fitted = fit_trust_head(trained.normalize, trained.network, dataset, seed=seed)
    logits, _, probabilities, scores = outputs(trained, fitted, dataset.test)
    predictions = Predictions(logits, dataset.test.targets, probabilities)
    if worse_than_softmax(predictions):
        fitted = fitted.uncalibrated("it made the cross-entropy of the test split worse")
        logits, _, probabilities, scores = outputs(trained, fitted, dataset.test)
    before = reliability(logits.softmax(1), dataset.test.targets).nll
    after = reliability(probabilities, dataset.test.targets).nll
    sets = ood_sets(dataset.preprocessing, None)
    detector, split = fitted.detector, dataset.thresholding
    ood = measure_ood(
        outputs(trained, fitted, dataset.splits[split]).scores,
        Measured(scores, probabilities.argmax(1) == dataset.test.targets),
        {
            name: (each.kind, outputs(trained, fitted, each.images).scores)
            for name, each in sets.items()
        },
        detector.compared[detector.score],
        split,
    )
    record = fitted.chosen.record
    return {
        "run": trained.path.name,
        "validation": record.n,
        "wrong": record.wrong,
        "test": len(dataset.test),
        "calibrator": record.method,
        "left_out": record.left_out,
        "nll_before": before,
        "nll_after": after,
        "largest": float(probabilities.max()),
        "flagged": None if ood.accepted is None else 1 - ood.accepted,
        "flagged_interval": ood.flagged_interval_measured,
        "auroc": sum(each.auroc for each in ood.sets.values()) / len(ood.sets),
    }


def row(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Write the line of a run."""
    share, ends = found["flagged"], found["flagged_interval"]
    return (
        found["run"],
        f"{found['validation']:,} ({found['wrong']:,})",
        f"{found['test']:,}",
        f"{found['calibrator']}{' (left out)' if found['left_out'] else ''}",
        f"{found['nll_before']:.4f}",
        f"{found['nll_after']:.4f}",
        f"{found['largest']:.4f}",
        "not offered"
        if share is None
        else f"{100 * share:.1f} ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})",
        f"{found['auroc']:.2f}",
    )


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Print the table, and write the result."""
    measured = []
    for line in (TITLES, ("---",) * len(TITLES)):
        typer.echo(f"| {' | '.join(line)} |")
    for run in runs:
        trained = load_network(run)
        measured.append(measure(trained, dataset_to_evaluate(trained.record, None, run)))
        typer.echo(f"| {' | '.join(row(measured[-1]))} |")
    typer.echo(str(write_result("small-sets", measured)))


if __name__ == "__main__":
    script(main)()
