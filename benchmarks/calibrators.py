"""What each calibrator is worth on images of any runs: cross-entropy and errors, on the test split.

Each is fitted on the validation split as an export does it, and measured on the test split; the
plain softmax is there for comparison. `chosen` is what cross-validation would take.

    python -m benchmarks.calibrators RUN [RUN ...]
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import torch
import typer

from benchmarks.networks import outputs
from benchmarks.process import write_result
from model.artifact.trust import Reliability
from model.cli import CommandError, script
from training.evaluation.metrics import reliability
from training.evaluation.predict import load_network
from training.runs.dataset import dataset_to_evaluate
from training.trust.calibration import CalibrationData, choose, fit_method
from training.trust.calibrator import METHODS
from training.trust.head import fit_trust_head

ERRORS = {
    "ece": "ECE, points",
    "smooth_ece": "without bins, points",
    "classwise_ece": "classwise, points",
}
TITLES = ("data", "calibrator", "runs", "NLL", *ERRORS.values(), "chosen")


def measure(run: Path) -> dict[str, object]:
    """Fit every calibrator of a run, and measure it on the test split."""
    trained = load_network(run)
    dataset = dataset_to_evaluate(trained.record, None, run)
    fitted = fit_trust_head(trained.normalize, trained.network, dataset, seed=trained.record.seed)
    data = {}
    measuring = dataset.measuring if dataset.measuring == "test" else "calibration"
    for name in ("validation", measuring):
        split = dataset.splits[name]
        if not len(split.targets):
            raise CommandError(
                f"{run} has no images in the {name} split, which this compares. Train on a folder "
                "with the folders `val` and `test`, or with neither."
            )
        logits, features, *_ = outputs(trained, fitted, split)
        distances = fitted.head.distances(features)
        data[name] = CalibrationData(logits.clone(), distances.clone(), split.targets)
    found, fitting = {}, data["validation"]
    for method in METHODS:
        calibrator = fit_method(fitting, method, len(fitting.targets))
        with torch.no_grad():
            test = data[measuring]
            answers = calibrator(test.logits.double(), test.distances.double())
        found[method] = reliability(answers, test.targets).model_dump()
    chosen = choose(data["validation"], "validation", seed=trained.record.seed).record
    return {
        "run": run.name,
        "dataset": trained.record.dataset,
        "seed": trained.record.seed,
        "validation": len(dataset.validation),
        "wrong": chosen.wrong,
        "test": len(test.targets),
        "chosen": chosen.method,
        "methods": found,
    }


def table(measured: list[dict[str, object]]) -> list[tuple[str, ...]]:
    """Average the runs of each data set: mean, and standard deviation of the cross-entropy."""
    by_dataset = defaultdict(list)
    for one in measured:
        by_dataset[str(one["dataset"])].append(one)
    lines = []
    for dataset, its in by_dataset.items():
        for method in METHODS:
            figures = [_figures(one, method) for one in its]
            nlls = [each.nll for each in figures]
            spread = f" ± {stdev(nlls):.4f}" if len(nlls) > 1 else ""
            errors = (
                f"{100 * mean(getattr(each, name) or 0 for each in figures):.2f}" for name in ERRORS
            )
            chosen = sum(one["chosen"] == method for one in its)
            lines.append(
                (dataset, method, str(len(its)), f"{mean(nlls):.4f}{spread}", *errors, str(chosen))
            )
    return lines


def _figures(one: Mapping[str, object], method: str) -> Reliability:
    methods = one["methods"]
    assert isinstance(methods, dict)  # noqa: S101  # for the types
    return Reliability.model_validate(methods[method])


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Print the table, and write the result."""
    measured = [measure(run) for run in runs]
    for line in (TITLES, ("---",) * len(TITLES), *table(measured)):
        typer.echo(f"| {' | '.join(line)} |")
    typer.echo(str(write_result("calibrators", measured)))


if __name__ == "__main__":
    script(main)()
