"""Experiment 3: which shortcut: identity, projection, concatenation, none?"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from experiments.degradation import ERRORS
from experiments.experiment import Experiment, Row, Setting
from experiments.figures import Rows, arms_of, draw_lines, final, last_epoch_table, table
from experiments.loop import Plan, Trial, fitted
from experiments.verdicts import Claim, judge

WIDTH = 8
RULES = MappingProxyType(
    {
        "identity (A)": "padding",
        "projection where needed (B)": "projection",
        "projection always (C)": "always_projection",
        "concatenation": "concat",
        "none": "none",
    }
)
CLAIMS: tuple[Claim, ...] = (
    *((arm, "lower", "none") for arm in RULES if arm != "none"),
    ("projection where needed (B)", "lower", "identity (A)"),
    ("projection always (C)", "lower", "projection where needed (B)"),
)


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    spec = fitted(setting.dataset, depths=(5, 5, 5), width=WIDTH, shortcuts=RULES[arm])
    trial = Trial(spec, setting.dataset, setting.seed)
    parameters = sum(parameter.numel() for parameter in trial.network.parameters())
    for epoch in trial.fit(Plan(setting.epochs)):
        yield {**asdict(epoch), "parameters": parameters}


def _draw(rows: Rows, out: Path) -> None:
    draw_lines(rows, out, "epoch", ERRORS, "Kinds of shortcut, in 32 layers")


def _summarize(rows: Rows) -> str:
    sizes = {row["arm"]: int(row["parameters"]) for row in rows}
    costs = table(("arm", "parameters"), [(arm, f"{sizes[arm]:,}") for arm in arms_of(rows)])
    claims = judge(final(rows, "test_error"), "Test error", CLAIMS)
    return f"{last_epoch_table(rows, ERRORS)}\n\n{costs}\n\n{claims}"


EXPERIMENT = Experiment(
    name="shortcuts",
    title="Shortcuts",
    claim="Any shortcut is far better than none. Projections everywhere are slightly better than "
    "only where needed, and those slightly better than padding; the differences are not essential "
    "(He et al., 2015, table 3). Concatenation lets later layers choose what to keep "
    "(Huang et al., 2016).",
    done=f"32 layers with {WIDTH}-{2 * WIDTH}-{4 * WIDTH} channels that differ only in the "
    "shortcut. Training as in the first experiment.",
    arms=tuple(RULES),
    epochs=10,
    seeds=3,
    limit=10_000,
    cost="about 40 minutes of CPU time on a processor with bfloat16",
    columns=("epoch", "train_loss", "train_error", "test_loss", "test_error", "parameters"),
    measure=_measure,
    draw=_draw,
    summarize=_summarize,
)
