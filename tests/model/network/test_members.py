"""The members as torch networks: built, named, shaped, and their blocks at work."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from model.architecture.family import ARCHITECTURES, get_architecture
from model.architecture.plan import BlockKind, BlockPlan
from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from model.network.blocks import (
    BareBlock,
    BasicBlock,
    ConcatFuse,
    LinearBlock,
    PadShortcut,
    PreactBasicBlock,
    SqueezeExcite,
    build_block,
    projection,
    residual_mlp,
    scale_branches,
)
from model.network.resnet import ResNet, build


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_member_builds_with_the_parameters_of_its_summary(name: str) -> None:
    spec = ARCHITECTURES[name]

    with torch.device("meta"):
        network = ResNet(spec)

    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted == summarize(spec, spec.image_size, spec.image_size).parameters


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_member_answers_with_finite_logits_of_the_summarys_shape(name: str) -> None:
    spec = ARCHITECTURES[name]
    narrow = spec.model_copy(update={"width": 16} if spec.block != "linear" else {})
    side = spec.image_size if spec.image_size < 96 else 33  # odd, to see the rounding
    torch.manual_seed(0)

    with torch.no_grad():
        logits = ResNet(narrow).eval()(torch.rand(2, spec.in_channels, side, side))

    assert logits.shape == (2, *summarize(narrow, side, side).head.output_shape)
    assert bool(logits.isfinite().all())


def test_the_d2l_block_keeps_the_shape_or_halves_it() -> None:
    x = torch.rand(4, 3, 6, 6)
    same = BasicBlock(3, 3, bias=True)
    halving = BasicBlock(3, 6, 2, projection(3, 6, 2, norm=False, bias=True), bias=True)

    assert same(x).shape == x.shape
    assert halving(x).shape == (4, 6, 3, 3)
    assert same.conv1.bias is not None


def test_the_bare_identity_block_keeps_32x32x256() -> None:
    block = BareBlock(256, 256)

    with torch.no_grad():
        assert block(torch.rand(1, 256, 32, 32)).shape == (1, 256, 32, 32)
    assert not [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    assert block.downsample is None


def test_the_bare_projecting_block_takes_32x32x128_to_16x16x256() -> None:
    block = BareBlock(128, 256, 2)

    with torch.no_grad():
        assert block(torch.rand(1, 128, 32, 32)).shape == (1, 256, 16, 16)
    assert isinstance(block.pool, nn.MaxPool2d)


def test_a_bare_block_lets_negative_inputs_through() -> None:
    block = BareBlock(2, 2)
    scale_branches(block, 0)
    x = torch.randn(1, 2, 4, 4)

    assert torch.equal(block(x), x)


def test_padding_takes_every_second_pixel_and_puts_half_the_zeros_on_each_side() -> None:
    x = torch.arange(2 * 3 * 3, dtype=torch.float32).reshape(1, 2, 3, 3)

    y = PadShortcut(2, 5, 2)(x)

    assert y.shape == (1, 5, 2, 2)
    assert y[0, 1:3].tolist() == [[[0, 2], [6, 8]], [[9, 11], [15, 17]]]
    assert y[0, [0, 3, 4]].abs().sum() == 0


def test_padding_refuses_to_take_channels_away() -> None:
    with pytest.raises(ValueError, match=r"`out_channels` \(=2\).*\(=4\)"):
        PadShortcut(4, 2, 1)


def test_squeeze_and_excitation_scales_each_channel_by_a_sigmoid() -> None:
    module = SqueezeExcite(4, 2)
    nn.init.zeros_(module.fc2.weight)
    module.fc2.bias = nn.Parameter(torch.tensor([0.0, 100.0, -100.0, 0.0]))
    x = torch.rand(1, 4, 3, 3)

    scaled = module(x)

    assert torch.allclose(scaled[0, 0], x[0, 0] / 2)
    assert torch.allclose(scaled[0, 1], x[0, 1])
    assert scaled[0, 2].abs().max() < 1e-6


def test_a_preactivated_block_adds_nothing_to_the_sum() -> None:
    block = PreactBasicBlock(3, 3).eval()
    scale_branches(block, 0)
    x = torch.randn(2, 3, 4, 4)

    assert torch.equal(block(x), x)


def test_a_preactivated_projection_reads_the_activated_input() -> None:
    block = PreactBasicBlock(3, 6, 2).eval()
    scale_branches(block, 0)
    x = torch.randn(2, 3, 4, 4)

    assert block.downsample is not None
    expected = block.downsample(block.norm1(x).relu())
    assert torch.allclose(block(x), expected)


def test_a_join_lets_the_shortcut_have_other_channels_than_the_branch() -> None:
    join = ConcatFuse(5 + 3, 4)

    assert join(torch.rand(2, 5, 6, 6), torch.rand(2, 3, 6, 6)).shape == (2, 4, 6, 6)


def test_a_plain_block_is_its_branch_alone() -> None:
    block = BasicBlock(3, 3, plain=True).eval()
    scale_branches(block, 0)

    assert torch.equal(block(torch.rand(1, 3, 4, 4)), torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "bare", "linear"])
def test_a_block_whose_last_weights_are_zero_is_the_identity_on_what_is_not_negative(
    kind: BlockKind,
) -> None:
    channels = 4 if kind == "bottleneck" else 16
    block = build_block(BlockPlan("b", kind, 16, channels, 16, 1))
    scale_branches(block, 0)
    x = torch.rand(3, 16) if kind == "linear" else torch.rand(3, 16, 5, 5)

    assert torch.equal(block(x), x)
    assert torch.equal(block.eval()(x), x)


@pytest.mark.parametrize("blocks", [1, 10, 100])
def test_a_residual_mlp_gives_numbers_of_sane_size_however_deep(blocks: int) -> None:
    vector = torch.arange(1.0, 13.0)  # 1 to 12, as tutorials do
    answers = []
    for seed in range(20):
        torch.manual_seed(seed)
        answers.append(residual_mlp(12, 24, 8, blocks)(vector))

    together = torch.stack(answers)
    assert together.shape == (20, 8)
    assert bool(together.isfinite().all())
    assert 0.1 < together.std() < 100


def test_weights_of_variance_one_would_explode() -> None:
    torch.manual_seed(0)
    network = residual_mlp(input=12, hidden=24, output=8, blocks=10)
    for parameter in network.parameters():
        nn.init.normal_(parameter)

    assert network(torch.arange(1.0, 13.0)).abs().max() > 1e12


def test_widths_that_do_not_match_are_named() -> None:
    with pytest.raises(ValueError, match=r"`out_features` \(=8\).*`in_features` \(=12\)"):
        LinearBlock(12, 24, 8)
    with pytest.raises(ValueError, match="width 7; this network reads width 12"):
        residual_mlp(12, 24, 8, 10)(torch.zeros(7))
    with pytest.raises(ValueError, match=r"`hidden` \(=0\)"):
        residual_mlp(12, 0, 8, 10)


def test_the_mlp_of_pixels_names_the_shape_it_reads() -> None:
    network = build("residual_mlp").eval()

    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"\(1, 32, 32\); this network reads \(1, 28, 28\)"):
        network(torch.rand(2, 1, 32, 32))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mini_resnet", {"shortcuts": "concat"}),
        ("mini_resnet", {"shortcuts": "none"}),
        ("resnet50", {"shortcuts": "always_projection", "stem": "small"}),
        ("resnet50", {"shortcuts": "padding", "squeeze": 16}),
        ("resnetv2_18", {"stem": "small"}),
    ],
)
def test_any_shortcut_builds_as_its_summary_says(name: str, changes: dict[str, object]) -> None:
    fields = get_architecture(name).model_dump() | {"width": 8} | changes
    spec = Architecture.model_validate(fields)
    network = ResNet(spec)

    counted = sum(parameter.numel() for parameter in network.parameters())
    assert counted == summarize(spec, 28, 28).parameters
    assert network(torch.rand(2, spec.in_channels, 28, 28)).shape == (2, spec.num_classes)


def test_grouped_convolutions_are_resnexts() -> None:
    with torch.device("meta"):
        block = build("resnext50_32x4d").get_submodule("layer1.0")

    assert isinstance(block.conv2, nn.Conv2d)
    assert (block.conv2.groups, block.conv2.out_channels) == (32, 128)
