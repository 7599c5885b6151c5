"""Experiment 5: pre-activation, squeeze-and-excitation and groups, at the basic block's cost."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from experiments.degradation import ERRORS
from experiments.experiment import Experiment, Row, Setting
from experiments.figures import Rows, arms_of, draw_lines, final, last_epoch_table, table
from experiments.loop import Plan, Trial, fitted
from experiments.verdicts import Claim, judge
from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from training.data.dataset import Dataset

FIELDS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "basic": {"block": "basic", "width": 16},
        "pre-activated": {"block": "preact_basic"},
        "squeeze-excite": {"block": "basic", "squeeze": 16},
        "bottleneck": {"block": "bottleneck"},
        "8 groups": {"block": "bottleneck", "groups": 8, "width_per_group": 16},
    }
)
DEPTHS = (2, 2, 2)
CLAIMS: tuple[Claim, ...] = (
    ("pre-activated", "lower", "basic"),
    ("squeeze-excite", "lower", "basic"),
    ("8 groups", "lower", "bottleneck"),
    ("8 groups", "lower", "basic"),
)


def _macs(spec: Architecture) -> int:
    return summarize(spec, spec.image_size, spec.image_size).macs


def at_equal_cost(arm: str, dataset: Dataset) -> Architecture:
    """Choose the width at which an arm costs as many multiply-adds as the basic block's."""
    target = _macs(fitted(dataset, depths=DEPTHS, **FIELDS["basic"]))
    widths = [16] if arm == "basic" else range(4, 49)
    specs = [fitted(dataset, depths=DEPTHS, **{**FIELDS[arm], "width": width}) for width in widths]
    return min(specs, key=lambda spec: abs(_macs(spec) - target))


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    spec = at_equal_cost(arm, setting.dataset)
    trial = Trial(spec, setting.dataset, setting.seed)
    summary = summarize(spec, spec.image_size, spec.image_size)
    for epoch in trial.fit(Plan(setting.epochs)):
        yield {
            **asdict(epoch),
            "width": spec.width,
            "parameters": summary.parameters,
            "macs": summary.macs,
        }


def _draw(rows: Rows, out: Path) -> None:
    draw_lines(rows, out, "epoch", ERRORS, "Blocks of equal multiply-adds")


def _summarize(rows: Rows) -> str:
    seen = {row["arm"]: row for row in rows}
    lines = [
        (
            arm,
            seen[arm]["width"],
            f"{int(seen[arm]['parameters']):,}",
            f"{int(seen[arm]['macs']):,}",
        )
        for arm in arms_of(rows)
    ]
    costs = table(("arm", "width", "parameters", "multiply-adds"), lines)
    claims = judge(final(rows, "test_error"), "Test error", CLAIMS)
    return f"{last_epoch_table(rows, ERRORS)}\n\n{costs}\n\n{claims}"


EXPERIMENT = Experiment(
    name="variants",
    title="Variants at equal cost",
    claim="At equal cost, pre-activation helps very deep networks (He et al., 2016). "
    "Squeeze-and-excitation lowers the error at almost no cost (Hu et al., 2017). Groups allow "
    "more width, which is worth more than depth (Xie et al., 2016).",
    done="Six blocks in three stages. Each arm has the width whose multiply-adds are nearest to "
    "those of basic blocks with 16-32-64 channels. Training as in the first experiment.",
    arms=tuple(FIELDS),
    epochs=10,
    seeds=3,
    limit=10_000,
    cost="about 45 minutes of CPU time on a processor with bfloat16",
    columns=(
        "epoch",
        "train_loss",
        "train_error",
        "test_loss",
        "test_error",
        "width",
        "parameters",
        "macs",
    ),
    measure=_measure,
    draw=_draw,
    summarize=_summarize,
)
