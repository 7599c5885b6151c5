"""The experiments: each runs on a few pictures, goes on where it stopped, and is reported."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

pytest.importorskip("torch")

import torch

from model.architecture import get_architecture
from model.blocks import BasicBlock, PreactBasicBlock
from model.network import ResNet
from model.summary import summarize
from training.datasets.dataset import Dataset
from training.experiments import d2l, transfer, variants
from training.experiments.cli import EXPERIMENTS, main
from training.experiments.experiment import Experiment, Row, Setting
from training.experiments.figures import Rows
from training.experiments.gradients import gradient_norms
from training.experiments.loop import Plan, Trial, fitted
from training.experiments.report import write_page
from training.experiments.run import ExperimentError, read_rows, run
from training.experiments.verdicts import judge
from training.run import RunFolder
from training.train import Outcome


@pytest.fixture(scope="module")
def few(small_fashion: Dataset) -> Dataset:
    """64 pictures of 14 x 14 to learn from, 32 to test on."""
    return replace(
        small_fashion,
        train=small_fashion.train[:64],
        validation=small_fashion.validation[:8],
        test=small_fashion.test[:32],
    )


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_an_experiment_writes_its_rows_a_figure_and_its_section(
    name: str, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = EXPERIMENTS[name]
    monkeypatch.setattr(d2l, "SIDE", 32)
    monkeypatch.setattr(transfer, "LOOKS", 1)
    out = tmp_path / "experiments"

    run(experiment, few, out, seeds=1, epochs=1, limit=48, tell=lambda _: None)
    write_page(EXPERIMENTS.values(), out, tmp_path / "experiments.md")

    rows = read_rows(out / f"{name}.csv")
    assert {row["arm"] for row in rows} == set(experiment.arms)
    assert tuple(rows[0]) == ("arm", "seed", *experiment.columns)
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "experiments.md").read_text()
    assert page.count("Not run yet") == len(EXPERIMENTS) - 1
    assert f"](experiments/{name}.png)" in page
    assert "48 training pictures, 1 epochs" in page


@pytest.mark.parametrize(
    ("ours", "relation", "outcome"),
    [
        ((0.10, 0.11, 0.12), "lower", "as claimed"),
        ((0.30, 0.31, 0.32), "lower", "**against the claim**"),
        ((0.19, 0.20, 0.22), "lower", "not told apart by these seeds"),
        ((0.30, 0.31, 0.32), "higher", "as claimed"),
        ((0.10, 0.11, 0.12), "higher", "**against the claim**"),
        ((0.19, 0.20, 0.22), "not higher", "as claimed"),
        ((0.30, 0.31, 0.32), "not higher", "**against the claim**"),
        ((0.10,), "lower", "one seed, not judged"),
    ],
)
def test_a_claim_is_judged_by_means_and_their_standard_errors(
    ours: tuple[float, ...], relation: Literal["lower", "not higher", "higher"], outcome: str
) -> None:
    values = {"a": ours, "b": (0.19, 0.20, 0.21)}

    line = judge(values, "Error", [("a", relation, "b"), ("a", relation, "never run")])

    assert line.startswith(f"- Error of a {relation} than of b: ")
    assert line.endswith(f" against 20.00 ± 1.00 %: {outcome}.")


def _counting(calls: list[tuple[str, int]]) -> Experiment:
    def measure(arm: str, setting: Setting) -> Iterator[Row]:
        calls.append((arm, setting.seed))
        if arm == "b" and len(calls) == 2:
            raise KeyboardInterrupt
        yield {"epoch": 1, "train_error": 0.25}

    def draw(rows: Rows, out: Path) -> None:
        out.write_text(str(len(rows)))

    return Experiment(
        name="count",
        title="Count",
        claim="",
        done="",
        arms=("a", "b"),
        epochs=1,
        seeds=2,
        limit=None,
        cost="",
        columns=("epoch", "train_error"),
        measure=measure,
        draw=draw,
        sum_up=lambda rows: f"{len(rows)} rows",
    )


def _run_counting(calls: list[tuple[str, int]], few: Dataset, out: Path, epochs: int = 1) -> None:
    run(_counting(calls), few, out, seeds=2, epochs=epochs, limit=None, tell=lambda _: None)


def test_a_run_that_was_stopped_goes_on_where_it_stopped(few: Dataset, tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    with pytest.raises(KeyboardInterrupt):
        _run_counting(calls, few, tmp_path)

    _run_counting(calls, few, tmp_path)

    assert calls == [("a", 0), ("b", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert [(row["arm"], row["seed"]) for row in read_rows(tmp_path / "count.csv")] == [
        ("a", "0"),
        ("b", "0"),
        ("a", "1"),
        ("b", "1"),
    ]
    assert (tmp_path / "count.png").read_text() == "4"


def test_rows_of_different_plans_are_never_mixed(few: Dataset, tmp_path: Path) -> None:
    calls = [("", 0), ("", 0)]
    _run_counting(calls, few, tmp_path)

    with pytest.raises(ExperimentError, match="another epochs; name another folder"):
        _run_counting(calls, few, tmp_path, epochs=2)


def test_the_page_says_what_was_not_run(tmp_path: Path) -> None:
    write_page(EXPERIMENTS.values(), tmp_path / "experiments", tmp_path / "experiments.md")

    page = (tmp_path / "experiments.md").read_text()
    assert page.count("**Result.** Not run yet.") == len(EXPERIMENTS)
    assert all(f"## {experiment.title}" in page for experiment in EXPERIMENTS.values())


def test_a_training_that_was_stopped_by_hand_leaves_no_row(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Outcome(RunFolder(tmp_path), 1, "val_acc", 0.5, interrupted=True)
    monkeypatch.setattr(transfer, "train", lambda *_, **__: stopped)
    experiment, out = EXPERIMENTS["transfer"], tmp_path / "out"

    with pytest.raises(KeyboardInterrupt):
        run(experiment, few, out, seeds=1, epochs=1, limit=None, tell=lambda _: None)

    assert read_rows(out / "transfer.csv") == []


@pytest.mark.parametrize("arm", sorted(variants.FIELDS))
def test_variants_cost_the_same_within_a_tenth(arm: str, small_fashion: Dataset) -> None:
    def macs(name: str) -> int:
        spec = variants.at_equal_cost(name, small_fashion)
        return summarize(spec, 28, 28).macs

    assert macs(arm) == pytest.approx(macs("basic"), rel=0.1)


def test_the_shortcut_adds_exactly_one_to_the_derivative() -> None:
    torch.manual_seed(0)
    block = PreactBasicBlock(2, 2).double().eval()
    x = torch.randn(1, 2, 3, 3, dtype=torch.double)
    branch = lambda x: block(x) - x  # noqa: E731  # F of y = x + F(x)

    whole = torch.autograd.functional.jacobian(block, x).reshape(18, 18)  # type: ignore[no-untyped-call]
    alone = torch.autograd.functional.jacobian(branch, x).reshape(18, 18)  # type: ignore[no-untyped-call]

    assert torch.allclose(whole, alone + torch.eye(18, dtype=torch.double))


def test_gradient_norms_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    spec = get_architecture("mini_resnet").model_copy(update={"width": 4, "dropout": 0.0})
    network = ResNet(spec).double()
    images, targets = torch.rand(4, 1, 8, 8, dtype=torch.double), torch.tensor([0, 1, 2, 3])

    found = gradient_norms(network, images, targets)

    assert [path for path, _, _ in found] == [
        f"layer{stage}.{index}" for stage in (1, 2, 3) for index in (0, 1)
    ]
    features = network.forward_features(images).detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(network.forward_head(features), targets)
    (gradient,) = torch.autograd.grad(loss, features)
    assert found[-1][1] == pytest.approx(gradient.norm().item())


def test_a_trial_learns_and_repeats_under_its_seed(few: Dataset) -> None:
    spec = fitted(few, depths=(1, 1), width=8)

    def losses(seed: int) -> list[float]:
        return [epoch.train_loss for epoch in Trial(spec, few, seed).fit(Plan(6, batch_size=16))]

    first = losses(1)
    assert first[-1] < first[0]
    assert losses(1) == pytest.approx(first, rel=1e-3)
    assert losses(2) != pytest.approx(first, rel=1e-3)


def test_a_trial_prepares_the_fresh_network(few: Dataset) -> None:
    def silence(network: ResNet) -> None:
        for module in network.modules():
            if isinstance(module, BasicBlock):
                torch.nn.init.zeros_(module.bn2.weight)

    trial = Trial(fitted(few, depths=(1,), width=4), few, 0, silence)

    assert trial.network.get_parameter("layer1.0.bn2.weight").abs().sum() == 0


def test_enlarged_pictures_keep_their_values(few: Dataset) -> None:
    large = d2l.enlarged(few, 28)

    assert large.train.images.shape == (64, 28, 28, 1)
    assert large.train.images.float().mean() == pytest.approx(
        few.train.images.float().mean().item(), rel=0.02
    )
    assert (large.preprocessing.mean, large.preprocessing.std) == ((0.0,), (1.0,))


def test_the_command_names_what_there_is(command: Callable[..., object]) -> None:
    finished = command(main, "nonsense")

    assert getattr(finished, "code") == 2  # noqa: B009  # its class lives in conftest
    assert "degradation" in getattr(finished, "err")  # noqa: B009


def test_the_command_writes_the_page_alone(command: Callable[..., object], tmp_path: Path) -> None:
    finished = command(main, "none", "--out", tmp_path / "results")

    assert getattr(finished, "code") == 0  # noqa: B009
    assert (tmp_path / "results.md").read_text().count("Not run yet") == len(EXPERIMENTS)


def test_transfer_cuts_the_labels_in_two_and_numbers_them_anew(small_fashion: Dataset) -> None:
    half = transfer.only(small_fashion, [7, 2], shots=3)

    assert half.labels == ("Sneaker", "Pullover")
    assert torch.bincount(half.train.targets).tolist() == [3, 3]
    whole = small_fashion.test
    for new, old in enumerate((7, 2)):
        ours = half.test.images[half.test.targets == new]
        assert torch.equal(ours, whole.images[whole.targets == old])
