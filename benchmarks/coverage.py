"""Coverage of prediction sets and the share flagged, beside what is guaranteed, for any runs.

The trust head is fitted as an export does it, in torch; nothing is written but the result.

    python -m benchmarks.coverage RUN [RUN ...]

The exact interval holds 95 of 100 measured coverages. Of 18 (two data sets, three seeds, three
levels) one outside is to be expected. The last line says how many there are.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.networks import outputs
from benchmarks.process import write_result
from model.cli import script
from training.evaluation.predict import load_network
from training.runs.dataset import dataset_to_evaluate
from training.trust.conformal import Answers, fit_sets, measure_sets
from training.trust.head import fit_trust_head
from training.trust.ood import find_threshold, flagged_interval

TITLES = (
    *("run", "sets for", "wanted %", "by the threshold %", "guaranteed %", "inside", "served %"),
    *("labels a set", "empty without the likeliest %", "lowest label %"),
)


def measure(run: Path) -> dict[str, Any]:
    """Fit the thresholds of a run on its calibration split, and measure them on its test split.

    Raises:
        ValueError: If it has no calibration split.
    """
    trained = load_network(run)
    dataset = dataset_to_evaluate(trained.record, None, run)
    if not len(dataset.calibration) or not len(dataset.test):
        raise ValueError(f"{run} has no calibration split, or no test split.")
    fitted = fit_trust_head(trained.normalize, trained.network, dataset, seed=trained.record.seed)
    targets = dataset.validation.targets
    logits, features, *_ = outputs(trained, fitted, dataset.validation)
    chooses = fitted.out_of_fold_probabilities(logits, features, targets)
    served, scores = {}, {}
    for name in ("calibration", "test"):
        found = outputs(trained, fitted, dataset.splits[name])
        scores[name] = found.scores
        served[name] = Answers(found.probabilities.numpy(), dataset.splits[name].targets.numpy())
    sets = fit_sets(Answers(chooses.numpy(), targets.numpy()), served["calibration"], "calibration")
    threshold = find_threshold(scores["calibration"])
    assert sets is not None  # noqa: S101  # 19 images are enough
    assert threshold is not None  # noqa: S101  # likewise
    sets, test = measure_sets(sets, served["test"]), served["test"]
    counts = len(scores["calibration"]), len(scores["test"])
    is_flagged = (scores["test"] < threshold).numpy()
    is_right = test.probabilities.argmax(1) == test.targets
    return {
        "run": run.name,
        "seed": trained.record.seed,
        "dataset": trained.record.dataset,
        "architecture": trained.record.architecture.name,
        "images": dict(zip(("calibration", "test"), counts, strict=True)),
        "top1": {name: _top1(answers) for name, answers in served.items()},
        "sets": [one.model_dump() for one in sets.measured],
        "sets_per_label": [one.model_dump() for one in sets.per_label.measured]
        if sets.per_label
        else [],
        "flagged": float(is_flagged.mean()),
        "flagged_interval": flagged_interval(*counts),
        "flagged_top1": float(is_right[is_flagged].mean()) if is_flagged.any() else None,
    }


def _top1(answers: Answers) -> float:
    return float((answers.probabilities.argmax(1) == answers.targets).mean())


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Write the lines of the table for a run."""
    lines: list[tuple[str, ...]] = []
    for which, name in (("all images", "sets"), ("each label", "sets_per_label")):
        for one in found[name]:
            ends = one["expected"]
            inside = "-" if ends is None else str(ends[0] <= one["by_threshold"] <= ends[1])
            lines.append(
                (
                    found["run"],
                    which,
                    f"{100 * one['wanted']:.0f}",
                    f"{100 * one['by_threshold']:.2f}",
                    "-" if ends is None else f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f}",
                    inside,
                    f"{100 * one['measured']:.2f}",
                    f"{one['mean_size']:.2f}",
                    f"{100 * one['empty']:.1f}",
                    f"{100 * min(share for share in one['per_label'] if share is not None):.1f}",
                )
            )
    return lines


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders.")]) -> None:
    """Print the table, and write the result."""
    torch.manual_seed(0)
    for line in (TITLES, ("---",) * len(TITLES)):
        typer.echo(f"| {' | '.join(line)} |")
    measured = []
    for run in runs:
        measured.append(measure(run))
        for line in rows(measured[-1]):
            typer.echo(f"| {' | '.join(line)} |")
    insides = [
        one["expected"][0] <= one["by_threshold"] <= one["expected"][1]
        for found in measured
        for one in found["sets"]
    ]
    for found in measured:
        low, high = found["flagged_interval"]
        right = found["flagged_top1"]
        typer.echo(
            f"{found['run']}: top-1 {found['top1']['test']:.2%}, flagged {found['flagged']:.2%} of "
            f"the test images ({low:.2%} to {high:.2%} is to be expected)"
            f"{'' if right is None else f', {right:.1%} of those answered rightly'}"
        )
    typer.echo(
        f"{insides.count(False)} of {len(insides)} coverages outside; "
        f"{0.05 * len(insides):.1f} are to be expected"
    )
    typer.echo(str(write_result("coverage", {"runs": measured, "outside": insides.count(False)})))


if __name__ == "__main__":
    script(main)()
