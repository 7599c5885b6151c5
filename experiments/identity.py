"""Experiment 4: does training improve if every block starts as the identity?

That a block whose last weights are zero is the identity on non-negative values is exact, and is a
test (tests/model/network/test_members.py). The effect on training is measured here.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from experiments.degradation import ERRORS
from experiments.experiment import Experiment, Row, Setting
from experiments.figures import Rows, at_epoch, draw_lines, last_epoch_table
from experiments.loop import Plan, Trial, fitted
from experiments.verdicts import judge
from model.network.blocks import scale_branches

WIDTH = 8
FACTORS = {"norms start at 1": 1.0, "zero-init": 0.0}
EARLY = (1, 2, 3)
"""Epochs of the early phase."""


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    spec = fitted(setting.dataset, depths=(9, 9, 9), width=WIDTH, shortcuts="padding")
    factor = FACTORS[arm]
    trial = Trial(
        spec, setting.dataset, setting.seed, lambda network: scale_branches(network, factor)
    )
    for epoch in trial.fit(Plan(setting.epochs)):
        yield asdict(epoch)


def _draw(rows: Rows, out: Path) -> None:
    draw_lines(rows, out, "epoch", ERRORS, "The last norm of each branch at 1 or at 0, 56 layers")


def _summarize(rows: Rows) -> str:
    last = max(int(row["epoch"]) for row in rows)
    lines = [
        judge(
            at_epoch(rows, "train_error", epoch),
            f"Training error after epoch {epoch}",
            [("zero-init", "lower", "norms start at 1")],
        )
        for epoch in (*(early for early in EARLY if early < last), last)
    ]
    return "\n".join([last_epoch_table(rows, ERRORS), "", *lines])


EXPERIMENT = Experiment(
    name="identity",
    title="Identity",
    claim="If the last norm of each branch starts at zero, every block starts as the identity, and "
    "the early phase of training is easier (Goyal et al., 2017, section 5.1).",
    done=f"56 layers with {WIDTH}-{2 * WIDTH}-{4 * WIDTH} channels and option A shortcuts, from "
    "two initialisations. Training as in the first experiment. A test checks the first half of the "
    "claim exactly: with the last weights at zero, a block returns its non-negative input, bit for "
    "bit.",
    arms=tuple(FACTORS),
    epochs=10,
    seeds=3,
    limit=10_000,
    cost="about 25 minutes of CPU time on a processor with bfloat16",
    columns=("epoch", "train_loss", "train_error", "test_loss", "test_error"),
    measure=_measure,
    draw=_draw,
    summarize=_summarize,
)
