"""Experiment 7: are a few pictures of new labels better learned after many of others?

The data set's labels are cut in two. One network learns the first half from all its
pictures; others learn the second half from few, with and without what the first one knows,
by the same commands that a user has: recipes, `train`, `evaluate`.
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
from training.evaluation.predict import load_network, predict_split
from training.fit.train import Outcome, train
from training.recipe.recipe import get_recipe

SHOTS = 50
"""Pictures of each new label to learn from, and as many to choose the checkpoint by."""

LOOKS = 100
"""Epochs over the few pictures, of all arms."""

OURS = ("architecture=resnet20", "normalize=data")
"""What the weights to begin with are of; the recipe expects ImageNet's."""

ARMS = MappingProxyType(
    {
        "from scratch": ("cifar10", ("ema_decay=0",)),
        "head alone": ("finetune", (*OURS, "backbone_rate=0")),
        "fine-tuned": ("finetune", OURS),
    }
)
CLAIMS: tuple[Claim, ...] = (
    ("fine-tuned", "lower", "from scratch"),
    ("fine-tuned", "lower", "head alone"),
    ("head alone", "lower", "from scratch"),
)


def only(dataset: Dataset, labels: Sequence[int], shots: int | None = None) -> Dataset:
    """Keep some labels, numbered anew, and of each at most `shots` pictures but in the test."""

    def choose(split: Split, limit: int | None) -> Split:
        places = [(split.targets == label).nonzero()[:limit, 0] for label in labels]
        targets = [torch.full_like(found, new) for new, found in enumerate(places)]
        return Split(split.images[torch.cat(places)], torch.cat(targets))

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
def _workshop() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="transfer-")  # it lasts as long as the process


def _pretrained(setting: Setting) -> Path:
    """Train on the first half of the labels, once for a seed."""
    folder = Path(_workshop().name) / f"{setting.dataset.sha256[:12]}-{setting.seed}"
    if not folder.exists():
        first, _ = _halves(setting.dataset)
        recipe = get_recipe("cifar10", [f"epochs={setting.epochs}"])
        _whole(train(only(setting.dataset, first), recipe, folder, seed=setting.seed))
    return folder / "checkpoints" / "best.ckpt"


def _whole(outcome: Outcome) -> Outcome:
    """Let nothing be told of a training that was stopped by hand.

    Raises:
        KeyboardInterrupt: If it was.
    """
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome


def _measure(arm: str, setting: Setting) -> Iterator[Row]:
    _, second = _halves(setting.dataset)
    dataset = only(setting.dataset, second, SHOTS)
    name, changes = ARMS[arm]
    recipe = get_recipe(name, [*changes, f"epochs={LOOKS}", "batch_size=50"])
    init = _pretrained(setting) if name == "finetune" else None
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        outcome = _whole(train(dataset, recipe, run, seed=setting.seed, init=init))
        predict = load_network(outcome.folder.best).predict()
        answers = predict_split(predict, dataset.test)
    wrong = (answers.logits.argmax(1) != answers.targets).float().mean().item()
    yield {"pictures": len(dataset.train), "test_error": wrong}


def _draw(rows: Rows, out: Path) -> None:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for place, (arm, errors) in enumerate(over_arms(rows, "test_error", lambda _: True).items()):
        axes.barh(arm, sum(errors) / len(errors), color=COLOURS[place], alpha=0.5)
        axes.scatter(errors, [arm] * len(errors), color=COLOURS[place], zorder=3)
    axes.set(xlabel="test error on the new labels; a dot is a seed", xlim=(0, None))
    axes.invert_yaxis()
    figure.savefig(out, dpi=120)


def _sum_up(rows: Rows) -> str:
    errors = over_arms(rows, "test_error", lambda _: True)
    lines = [(arm, str(len(errors[arm])), percent(errors[arm])) for arm in arms_of(rows)]
    claims = judge(errors, "Test error", CLAIMS)
    return f"{table(('arm', 'seeds', 'test error'), lines)}\n\n{claims}"


EXPERIMENT = Experiment(
    name="transfer",
    title="Fine-tuning",
    claim="Features that were learned on other labels beat random ones, and fine-tuning them beats "
    "freezing them (Yosinski et al., 2014).",
    done=f"The first half of the labels is learned from all its pictures by recipe `cifar10`; then "
    f"{SHOTS} pictures of each label of the second half, from random weights and by recipe "
    f"`finetune` from the first network's, whole or the head alone. {SHOTS} further pictures of "
    "each label choose the epoch; the test is on all test pictures of the new labels. From scratch "
    "is recipe `cifar10` without averaging (Muon, shifted pictures), the others SGD with random "
    "crops: each what its user would take, so they differ in more than their first weights.",
    arms=tuple(ARMS),
    epochs=15,
    seeds=3,
    limit=None,
    cost="about 35 minutes of CPU time where the processor multiplies bfloat16",
    columns=("pictures", "test_error"),
    measure=_measure,
    draw=_draw,
    summarize=_sum_up,
)
