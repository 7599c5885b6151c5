"""What calibration and the OOD threshold are worth on runs with few images: a line for each run.

The trust head is fitted as an export does it, in torch; nothing is written.

    python -m benchmarks.small_sets RUN [RUN ...]
"""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.networks import outputs
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


def row(trained: TrainedNetwork, dataset: Dataset) -> tuple[str, ...]:
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
    return (
        trained.path.name,
        f"{record.n:,} ({record.wrong:,})",
        f"{len(dataset.test):,}",
        f"{record.method}{' (left out)' if record.left_out else ''}",
        f"{before:.4f}",
        f"{after:.4f}",
        f"{float(probabilities.max()):.4f}",
        _flagged(ood.accepted, ood.flagged_interval_measured),
        f"{sum(each.auroc for each in ood.sets.values()) / len(ood.sets):.2f}",
    )


def _flagged(accepted: float | None, interval: tuple[float, float] | None) -> str:
    if accepted is None or interval is None:
        return "not offered"
    return f"{100 * (1 - accepted):.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Print the table."""
    for line in (TITLES, ("---",) * len(TITLES)):
        typer.echo(f"| {' | '.join(line)} |")
    for run in runs:
        trained = load_network(run)
        dataset = dataset_to_evaluate(trained.record, None, run)
        typer.echo(f"| {' | '.join(row(trained, dataset))} |")


if __name__ == "__main__":
    script(main)()
