"""The parts: names, shapes, strides, and what may be added to what."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from model.architecture.plan import BlockPlan
from model.network.blocks import (
    BasicBlock,
    Bottleneck,
    add_shortcut,
    build_block,
    conv,
    count_parameters,
    initialize,
    projection,
    small_stem,
    standard_stem,
)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_conv_keeps_the_size_at_stride_1_and_has_no_bias(kernel: int) -> None:
    layer = conv(2, 5, kernel)

    assert layer(torch.zeros(1, 2, 9, 12)).shape == (1, 5, 9, 12)
    assert layer.bias is None


@pytest.mark.parametrize(("side", "halved"), [(8, 4), (9, 5), (1, 1)])
def test_conv_halves_the_size_at_stride_2_and_rounds_up(side: int, halved: int) -> None:
    assert conv(2, 5, 3, 2)(torch.zeros(1, 2, side, side)).shape == (1, 5, halved, halved)


def test_a_basic_block_strides_in_its_first_convolution() -> None:
    block = BasicBlock(8, 16, 2, projection(8, 16, 2))

    assert block(torch.rand(2, 8, 10, 6)).shape == (2, 16, 5, 3)
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))


def test_a_bottleneck_strides_in_its_3x3_convolution() -> None:
    block = Bottleneck(8, 4, 2, projection(8, 16, 2))
    layers = (block.conv1, block.conv2, block.conv3)

    assert block(torch.rand(2, 8, 10, 6)).shape == (2, 16, 5, 3)
    assert [layer.stride for layer in layers] == [(1, 1), (2, 2), (1, 1)]
    assert [layer.kernel_size for layer in layers] == [(1, 1), (3, 3), (1, 1)]


def test_a_block_adds_its_input_and_cuts_negatives_after_the_addition() -> None:
    block = BasicBlock(3, 3).eval()
    nn.init.zeros_(block.bn2.weight)  # the branch gives zeros
    x = torch.randn(2, 3, 4, 4)

    assert torch.equal(block(x), x.relu())


def test_a_block_with_a_projection_adds_the_projected_input() -> None:
    shortcut = projection(3, 6, 2).eval()
    block = BasicBlock(3, 6, 2, shortcut).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 3, 4, 4)

    assert torch.allclose(block(x), shortcut(x).relu())


def test_add_shortcut_names_both_shapes_when_they_differ() -> None:
    branch, shortcut = torch.zeros(2, 8, 4, 4), torch.zeros(2, 8, 1, 1)  # it would broadcast

    with pytest.raises(ValueError, match=r"\(2, 8, 4, 4\).*\(2, 8, 1, 1\).*projection"):
        add_shortcut(branch, shortcut)


def test_a_block_without_the_projection_it_needs_is_refused_when_it_runs() -> None:
    block = BasicBlock(8, 16, 2)

    with pytest.raises(ValueError, match=r"\(1, 16, 2, 2\).*\(1, 8, 4, 4\)"):
        block(torch.zeros(1, 8, 4, 4))


@pytest.mark.parametrize(
    ("plan", "has_projection"),
    [
        (BlockPlan("a", "basic", 8, 8, 8, 1), False),
        (BlockPlan("a", "basic", 8, 8, 8, 2), True),
        (BlockPlan("a", "basic", 8, 16, 16, 1), True),
        (BlockPlan("a", "bottleneck", 16, 4, 16, 1), False),
        (BlockPlan("a", "bottleneck", 4, 4, 16, 1), True),
    ],
)
def test_build_block_gives_a_projection_where_the_plan_needs_one(
    plan: BlockPlan, has_projection: bool
) -> None:
    block = build_block(plan)

    assert (block.downsample is not None) == has_projection
    assert block(torch.zeros(1, plan.in_channels, 4, 4)).shape[1] == plan.out_channels


def test_the_standard_stem_quarters_the_image_and_the_small_one_keeps_it() -> None:
    image = torch.zeros(1, 3, 64, 48)

    assert nn.Sequential(standard_stem(3, 8))(image).shape == (1, 8, 16, 12)
    assert nn.Sequential(small_stem(3, 8))(image).shape == (1, 8, 64, 48)


def test_initialize_draws_convolutions_from_kaimings_normal_over_the_fan_out() -> None:
    torch.manual_seed(0)
    layer = conv(64, 128, 3)

    initialize(layer)

    expected = (2 / (128 * 9)) ** 0.5  # gain of ReLU over the square root of the fan-out
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0, abs=expected / 50)
    assert layer.weight.abs().max().item() > 3 * expected  # a normal's tail, not a uniform's


def test_initialize_starts_norms_as_the_identity() -> None:
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.weight, 7)
    nn.init.constant_(norm.bias, 7)

    initialize(norm)

    assert norm.weight.tolist() == [1] * 4
    assert norm.bias.tolist() == [0] * 4


def test_norms_keep_the_papers_eps_and_momentum() -> None:
    norm = BasicBlock(4, 4).bn1

    assert (norm.eps, norm.momentum) == (1e-5, 0.1)


def test_count_parameters_leaves_out_what_is_frozen() -> None:
    layer = nn.Linear(3, 2)

    layer.bias.requires_grad_(False)

    assert count_parameters(layer) == 6
