"""What the experiments measure with: trials, gradients, networks of equal cost, cut data."""

import pytest

pytest.importorskip("torch")

import torch

from experiments import d2l, transfer, variants
from experiments.gradients import gradient_norms
from experiments.loop import Plan, Trial, fitted
from model.architecture.family import get_architecture
from model.architecture.summary import summarize
from model.network.blocks import BasicBlock, PreactBasicBlock
from model.network.resnet import ResNet
from training.data.dataset import Dataset


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


def test_enlarged_images_keep_their_values(few: Dataset) -> None:
    large = d2l.enlarged(few, 28)

    assert large.train.images.shape == (64, 28, 28, 1)
    assert large.train.images.float().mean() == pytest.approx(
        few.train.images.float().mean().item(), rel=0.02
    )
    assert (large.preprocessing.mean, large.preprocessing.std) == ((0.0,), (1.0,))


def test_transfer_cuts_the_labels_in_two_and_numbers_them_anew(small_fashion: Dataset) -> None:
    half = transfer.only(small_fashion, [7, 2], shots=3)

    assert half.labels == ("Sneaker", "Pullover")
    assert torch.bincount(half.train.targets).tolist() == [3, 3]
    whole = small_fashion.test
    for new, old in enumerate((7, 2)):
        ours = half.test.images[half.test.targets == new]
        assert torch.equal(ours, whole.images[whole.targets == old])
