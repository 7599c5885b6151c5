"""Experiment 1: do deeper plain networks train worse, and do shortcuts fix that?"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from experiments.experiment import Experiment, Row, Setting
from experiments.figures import Rows, draw_lines, final, last_epoch_table
from experiments.loop import Plan, Trial, fitted
from experiments.verdicts import Claim, judge
from model.architecture.spec import Architecture
from training.data.dataset import Dataset

WIDTH = 8
ARMS = ("plain-20", "plain-56", "residual-20", "residual-56")
CLAIMS: tuple[Claim, ...] = (
    ("plain-56", "higher", "plain-20"),
    ("residual-56", "not higher", "residual-20"),
    ("residual-56", "lower", "plain-56"),
)
ERRORS = {"train_error": "training error", "test_error": "test error"}


def architecture(arm: str, dataset: Dataset) -> Architecture:
    """Build the 20 or 56 layers of He et al., section 4.2, with or without option A shortcuts."""
    kind, layers = arm.split("-")
    blocks = (int(layers) - 2) // 6
    shortcuts = "none" if kind == "plain" else "padding"
    return fitted(dataset, depths=(blocks,) * 3, width=WIDTH, shortcuts=shortcuts)


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    trial = Trial(architecture(arm, setting.dataset), setting.dataset, setting.seed)
    for epoch in trial.fit(Plan(setting.epochs)):
        yield asdict(epoch)


def _draw(rows: Rows, out: Path) -> None:
    draw_lines(rows, out, "epoch", ERRORS, "Deeper plain networks, deeper residual networks")


def _summarize(rows: Rows) -> str:
    claims = judge(final(rows, "train_error"), "Training error", CLAIMS)
    return f"{last_epoch_table(rows, ERRORS)}\n\n{claims}"


EXPERIMENT = Experiment(
    name="degradation",
    title="Degradation",
    claim="Without shortcuts, 56 layers have a higher training error than 20 layers. With "
    "shortcuts they do not (He et al., 2015, figures 1 and 6, on CIFAR-10).",
    done=f"The 6n + 2 layer networks of He et al., section 4.2, with {WIDTH}-{2 * WIDTH}-"
    f"{4 * WIDTH} channels instead of 16-32-64, with option A shortcuts or none. Nesterov SGD; one "
    "cycle that peaks at 0.1 after a fifth of the steps; batch 128.",
    arms=ARMS,
    epochs=10,
    seeds=3,
    limit=20_000,
    cost="about an hour of CPU time on a processor with bfloat16",
    columns=("epoch", "train_loss", "train_error", "test_loss", "test_error"),
    measure=_measure,
    draw=_draw,
    summarize=_summarize,
)
