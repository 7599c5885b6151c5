"""Experiment 2: which gradient reaches the early layers, with and without shortcuts?

For y = x + F(x) the derivative is dy/dx = dF/dx + 1: whatever the branch does, the gradient
arrives undiminished. A plain block passes dF/dx alone.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from experiments.degradation import ARMS, architecture
from experiments.experiment import Experiment, Row, Setting
from experiments.figures import COLOURS, Rows, arms_of, by_x, mean_and_spread, table
from experiments.loop import Plan, Trial
from experiments.run import first
from experiments.verdicts import Claim, judge
from model.network.resnet import ResNet

GRADIENT_IMAGES = 256
MOMENTS = MappingProxyType({"start": "At initialisation", "end": "After training"})
CLAIMS: tuple[Claim, ...] = (
    ("residual-20", "lower", "plain-20"),
    ("residual-56", "lower", "plain-56"),
)


def gradient_norms(
    network: ResNet, images: Tensor, targets: Tensor
) -> list[tuple[str, float, float]]:
    """Measure each block: path, norm at its output, norm of its first convolution's weights.

    Args:
        network: In training mode after this.
        images: Normalised, (N, C, S, S).
        targets: (N,).
    """
    norms: dict[str, float] = {}

    def watch(path: str, block: nn.Module) -> "torch.utils.hooks.RemovableHandle":
        def note(_: nn.Module, __: object, output: tuple[Tensor, ...]) -> None:
            norms[path] = output[0].norm().item()

        return block.register_full_backward_hook(note)

    plans = [plan for stage in network.architecture.stages for plan in stage.blocks]
    blocks = {plan.path: network.get_submodule(plan.path) for plan in plans}
    handles = [watch(path, block) for path, block in blocks.items()]
    network.train()
    network.zero_grad()
    nn.functional.cross_entropy(network(images), targets).backward()  # type: ignore[no-untyped-call]
    for handle in handles:
        handle.remove()
    found = []
    for path in blocks:
        weights = network.get_parameter(f"{path}.conv1.weight").grad
        found.append((path, norms[path], 0.0 if weights is None else weights.norm().item()))
    network.zero_grad()
    return found


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    trial = Trial(architecture(arm, setting.dataset), setting.dataset, setting.seed)
    batch = first(setting.dataset, GRADIENT_IMAGES)
    for moment in MOMENTS:
        if moment == "end":
            for _ in trial.fit(Plan(setting.epochs)):
                pass
        images = trial.normalize(batch.images)
        found = gradient_norms(trial.network, images, batch.targets)
        for layer, (path, output, weights) in enumerate(found, 1):
            yield {
                "moment": moment,
                "block": layer,
                "path": path,
                "output_gradient": f"{output:.6g}",
                "weight_gradient": f"{weights:.6g}",
            }


def _draw(rows: Rows, out: Path) -> None:
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, moment in zip(figure.subplots(1, 2, sharey=True), MOMENTS, strict=True):
        own = [row for row in rows if row["moment"] == moment]
        for place, arm in enumerate(arms_of(own)):
            values = by_x(own, arm, "block", "output_gradient")
            means = [mean_and_spread(value)[0] for value in values.values()]
            style = "--" if arm.startswith("plain") else "-"
            axes.plot(list(values), means, style, color=COLOURS[place], label=arm)
        axes.set(xlabel="block", ylabel="norm of the gradient at the block's output", yscale="log")
        axes.set_title(MOMENTS[moment])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(out, dpi=120)


def _summarize(rows: Rows) -> str:
    lines = []
    for moment in MOMENTS:
        for arm in arms_of(rows):
            own = [row for row in rows if row["moment"] == moment]
            values = list(by_x(own, arm, "block", "output_gradient").values())
            first, last = (mean_and_spread(values[place])[0] for place in (0, -1))
            lines.append((moment, arm, f"{first:.3g}", f"{last:.3g}", f"{first / last:.3g}"))
    claims = [
        judge(_unevenness(rows, moment), f"{when}, largest / smallest norm", CLAIMS, _factor)
        for moment, when in MOMENTS.items()
    ]
    head = ("moment", "network", "first block", "last block", "first / last")
    return "\n".join([table(head, lines), "", *claims, "", _direction(rows)])


def _direction(rows: Rows) -> str:
    """Say whether the gradient grows or vanishes without shortcuts; either makes it useless."""
    own = [row for row in rows if row["moment"] == "start"]
    values = list(by_x(own, "plain-56", "block", "output_gradient").values())
    ratio = mean_and_spread(values[0])[0] / mean_and_spread(values[-1])[0]
    way = "grows towards the input" if ratio > 1 else "vanishes towards the input"
    return (
        f"Without shortcuts the gradient {way} at initialisation: in plain-56 it is {ratio:,.0f} "
        "times as large at the first block as at the last. In the forward pass, batch norm keeps "
        "the scale of the values. In the backward pass only a shortcut keeps the gradient's."
    )


def _unevenness(rows: Rows, moment: str) -> dict[str, list[float]]:
    """Largest divided by smallest norm of a network's blocks, for each arm, over the seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    for arm, seed in dict.fromkeys((row["arm"], row["seed"]) for row in rows):
        norms = [
            float(row["output_gradient"])
            for row in rows
            if (row["arm"], row["seed"], row["moment"]) == (arm, seed, moment)
        ]
        found[arm].append(max(norms) / min(norms))
    return found


def _factor(values: Sequence[float]) -> str:
    mean, spread = mean_and_spread(values)
    return f"{mean:.1f} ± {spread:.1f}"


EXPERIMENT = Experiment(
    name="gradients",
    title="Gradients",
    claim="Through shortcuts the gradient reaches every block by additions only, "
    "dy/dx = dF/dx + 1, so it cannot vanish (He et al., 2016, section 2).",
    done="The networks of the first experiment. Measured is the norm of the loss's gradient at the "
    f"output of each block, over {GRADIENT_IMAGES} training images, at initialisation and after "
    "training.",
    arms=ARMS,
    epochs=1,
    seeds=3,
    limit=20_000,
    cost="about 6 minutes of CPU time on a processor with bfloat16",
    columns=("moment", "block", "path", "output_gradient", "weight_gradient"),
    measure=_measure,
    draw=_draw,
    summarize=_summarize,
)
