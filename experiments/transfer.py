"""Experiment 7: does pretraining on other labels help to learn new labels from few images?

The data set's labels are divided in two halves. One network learns the first half from all its
images. Others learn the second half from few images, with and without the first one's weights, by
the recipes and functions of the commands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import torch
from matplotlib.figure import Figure

from experiments.experiment import Experiment, Row, Setting
from experiments.figures import COLOURS, Rows, arms_of, over_arms, percent, table
from experiments.verdicts import Claim, judge
from training.data.dataset import Dataset, Split
from training.evaluation.metrics import accuracy
from training.evaluation.predict import load_network, predict_split
from training.fit.loop import Outcome
from training.fit.train import train
from training.recipe.presets import get_recipe

SHOTS = 50
"""Training images of each new label, and as many validation images."""

FEW_SHOT_EPOCHS = 100
"""Epochs over the few images, for all arms."""

OURS = ("architecture=resnet20", "normalize=data")
"""Of the first network, whose weights are fine-tuned; the recipe expects ImageNet's."""

ARMS = MappingProxyType(
    {
        "from scratch": ("cifar10", ("ema_decay=0",)),
        "head alone": ("finetune", (*OURS, "backbone_lr_scale=0")),
        "fine-tuned": ("finetune", OURS),
    }
)
CLAIMS: tuple[Claim, ...] = (
    ("fine-tuned", "lower", "from scratch"),
    ("fine-tuned", "lower", "head alone"),
    ("head alone", "lower", "from scratch"),
)


def only(dataset: Dataset, labels: Sequence[int], shots: int | None = None) -> Dataset:
    """Keep some labels, renumbered, with at most `shots` images each; all in the test split."""

    def choose(split: Split, limit: int | None) -> Split:
        found = [(split.targets == label).nonzero()[:limit, 0] for label in labels]
        targets = [torch.full_like(where, new) for new, where in enumerate(found)]
        return split[torch.cat(found)].with_targets(torch.cat(targets))

    return replace(
        dataset,
        labels=tuple(dataset.labels[label] for label in labels),
        train=choose(dataset.train, shots),
        validation=choose(dataset.validation, shots),
        test=choose(dataset.test, None),
    )


def _halves(dataset: Dataset) -> tuple[range, range]:
    count = len(dataset.labels)
    return range(count // 2), range(count // 2, count)


@lru_cache(maxsize=1)
def _temporary_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="transfer-")  # deleted when the process ends


def _pretrained(setting: Setting) -> Path:
    """Train on the first half of the labels, once for each seed."""
    folder = Path(_temporary_folder().name) / f"{setting.dataset.sha256[:12]}-{setting.seed}"
    if not folder.exists():
        first, _ = _halves(setting.dataset)
        recipe = get_recipe("cifar10", [f"epochs={setting.epochs}"])
        _complete(train(only(setting.dataset, first), recipe, folder, seed=setting.seed))
    return folder / "checkpoints" / "best.ckpt"


def _complete(outcome: Outcome) -> Outcome:
    """Reject the outcome of a training that the user has stopped.

    Raises:
        KeyboardInterrupt: If it was stopped.
    """
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    _, second = _halves(setting.dataset)
    dataset = only(setting.dataset, second, SHOTS)
    name, changes = ARMS[arm]
    recipe = get_recipe(name, [*changes, f"epochs={FEW_SHOT_EPOCHS}", "batch_size=50"])
    init = _pretrained(setting) if name == "finetune" else None
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        outcome = _complete(train(dataset, recipe, run, seed=setting.seed, init=init))
        predict = load_network(outcome.folder.best).predict()
        error = 1 - accuracy(predict_split(predict, dataset.test))
    yield {"pictures": len(dataset.train), "test_error": error}


def _draw(rows: Rows, out: Path) -> None:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for place, (arm, errors) in enumerate(over_arms(rows, "test_error", lambda _: True).items()):
        axes.barh(arm, sum(errors) / len(errors), color=COLOURS[place], alpha=0.5)
        axes.scatter(errors, [arm] * len(errors), color=COLOURS[place], zorder=3)
    axes.set(xlabel="test error on the new labels; a dot is a seed", xlim=(0, None))
    axes.invert_yaxis()
    figure.savefig(out, dpi=120)


def _summarize(rows: Rows) -> str:
    errors = over_arms(rows, "test_error", lambda _: True)
    lines = [(arm, str(len(errors[arm])), percent(errors[arm])) for arm in arms_of(rows)]
    claims = judge(errors, "Test error", CLAIMS)
    return f"{table(('arm', 'seeds', 'test error'), lines)}\n\n{claims}"


EXPERIMENT = Experiment(
    name="transfer",
    title="Fine-tuning",
    claim="Features learned on other labels are better than random ones, and fine-tuning them is "
    "better than freezing them (Yosinski et al., 2014).",
    done="A network learns the first half of the labels from all their images, with the recipe "
    f"`cifar10`. Then networks learn the second half from {SHOTS} images of each label: from "
    "scratch, or with the recipe `finetune` from the first network's weights, all of them or only "
    f"the head. {SHOTS} further images of each label choose the epoch. The test is on all test "
    "images of the new labels. The arm from scratch uses the recipe `cifar10` without averaging "
    "(Muon, shifted images), the others SGD with random crops. These are the recipes that a user "
    "would take, so the arms differ in more than their first weights.",
    arms=tuple(ARMS),
    epochs=15,
    seeds=3,
    limit=None,
    cost="about 35 minutes of CPU time on a processor with bfloat16",
    columns=("pictures", "test_error"),
    measure=_measure,
    draw=_draw,
    summarize=_summarize,
)
