"""Write the page of all experiments, from the CSV files alone."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment
from experiments.run import read_rows

HEAD = """# Experiments

Claims about residual networks, measured. Each section is written by
`python -m experiments` from the CSV beside its figure; no figure on this page was
typed by hand. Each result names the data set that it was measured on; errors are shares of
wrong answers in evaluation mode, and what stands behind ± is the standard deviation over the
seeds.

    python -m experiments all --out runs/experiments    # every one, on Fashion-MNIST
    python -m experiments transfer --data FOLDER --out runs/experiments
    python -m experiments NAME --seeds 1 --epochs 2 --limit 2000 --out runs/quick
"""


def write_page(experiments: Iterable[Experiment], folder: Path, page: Path) -> None:
    """Write all sections; an experiment without a CSV is marked as not run."""
    sections = [HEAD, *(_section(experiment, folder) for experiment in experiments)]
    page.write_text("\n".join(sections), encoding="utf-8")


def _section(experiment: Experiment, folder: Path) -> str:
    lines = [
        f"## {experiment.title}",
        f"**Claim.** {experiment.claim}",
        f"**Done.** {experiment.done}",
        f"**Command.** `python -m experiments {experiment.name}`: "
        f"{experiment.seeds} seeds, {experiment.epochs} epochs, "
        f"{experiment.limit or 'all'} training images; expected: {experiment.cost}.",
    ]
    rows = read_rows(folder / f"{experiment.name}.csv")
    if not rows:
        return "\n\n".join([*lines, "**Result.** Not run yet.\n"])
    record = json.loads((folder / f"{experiment.name}.json").read_bytes())
    lines += [
        f"**Result.** {_provenance(record)}",
        experiment.summarize(rows),
        f"![{experiment.title}]({folder.name}/{experiment.name}.png)\n",
    ]
    return "\n\n".join(lines)


def _provenance(record: dict[str, Any]) -> str:
    plan = record["plan"]
    return (
        f"{plan['dataset']}, {plan['pictures']:,} training images, {plan['epochs']} epochs, "
        f"{record['cpu_seconds'] / 60:.0f} minutes of CPU time on {record['processor']}, "
        f"torch {record['torch']}, commit {record['commit']}, {record['finished']}."
    )
