"""Write the page of all experiments, from the CSV files alone."""

import json
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment
from experiments.run import read_rows

HEAD = """# Experiments

This page measures claims about residual networks from well-known papers.
`python -m experiments` writes the whole page, from the CSV files beside the plots.

```console
$ python -m experiments all --out runs/experiments    # every experiment, on Fashion-MNIST
$ python -m experiments transfer --data FOLDER --out runs/experiments
$ python -m experiments NAME --seeds 1 --epochs 2 --limit 2000 --out runs/quick
```

Errors are shares of wrong answers in evaluation mode, with the standard deviation over the seeds
after ±. A claim is *confirmed* or *contradicted* if two means differ by more than two standard
errors of their difference; otherwise it is *inconclusive*. Each row of a table is one kind of
network, or one way of training it.
"""

WIDTH = 120
"""Of a line of text; the same as in the pages that are written by hand."""


def write_page(experiments: Iterable[Experiment], folder: Path, page: Path) -> None:
    """Write all sections; an experiment without a CSV is marked as not run."""
    sections = [HEAD, *(_section(experiment, folder) for experiment in experiments)]
    page.write_text("\n".join(sections), encoding="utf-8")


def _section(experiment: Experiment, folder: Path) -> str:
    lines = [
        f"## {experiment.title}",
        f"**Claim.** {experiment.claim}",
        f"**Method.** {experiment.done}",
        f"**Command.** `python -m experiments {experiment.name}`: "
        f"{_number(experiment.seeds, 'seed')}, {_number(experiment.epochs, 'epoch')}, "
        f"{experiment.limit or 'all'} training images; expected: {experiment.cost}.",
    ]
    rows = read_rows(folder / f"{experiment.name}.csv")
    if not rows:
        return "\n\n".join([*map(_wrapped, lines), "**Result.** Not run yet.\n"])
    record = json.loads((folder / f"{experiment.name}.json").read_bytes())
    lines += [
        f"**Result.** {_provenance(record)}",
        experiment.summarize(rows),
        f"![{experiment.title}]({folder.name}/{experiment.name}.png)\n",
    ]
    return "\n\n".join(map(_wrapped, lines))


def _number(count: int, of: str) -> str:
    return f"{count} {of}" if count == 1 else f"{count} {of}s"


def _wrapped(text: str) -> str:
    """Break the long lines of a paragraph or list; leave tables and images as they are."""
    return "\n".join(
        line if line.startswith(("|", "!")) else _fill(line) for line in text.split("\n")
    )


def _fill(line: str) -> str:
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(
        line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _provenance(record: dict[str, Any]) -> str:
    plan = record["plan"]
    epochs = _number(plan["epochs"], "epoch")
    return (
        f"{plan['dataset']}, {plan['pictures']:,} training images, {epochs}, "
        f"{record['cpu_seconds'] / 60:.0f} minutes of CPU time on {record['processor']}, "
        f"torch {record['torch']}, commit {record['commit']}, {record['finished']}."
    )
