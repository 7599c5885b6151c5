"""Every member's cost against what was published, or against a count written down here."""

import re
from pathlib import Path

import pytest

from model.architecture.family import ARCHITECTURES, get_architecture
from model.architecture.plan import BlockPlan
from model.architecture.spec import Architecture
from model.architecture.summary import summarize

PUBLISHED = {  # torchvision's and timm's documentation: parameters, and GMAC at 224 x 224
    "resnext50_32x4d": (25_028_904, 4.230),
    "resnext101_32x8d": (88_791_336, 16.414),
    "wide_resnet50_2": (68_883_240, 11.398),
    "wide_resnet101_2": (126_886_696, 22.753),
    "seresnet50": (28_088_024, None),
    "resnetv2_18": (11_687_720, None),
    "resnetv2_34": (21_795_880, None),
    "resnetv2_50": (25_549_352, None),
    "resnetv2_101": (44_541_480, None),
}

SE_64, SE_128, SE_256, SE_512 = (
    # two 1x1 convolutions with biases: 2 * channels * inner + inner + channels
    2 * 64 * 8 + 8 + 64,
    2 * 128 * 8 + 8 + 128,
    2 * 256 * 16 + 16 + 256,
    2 * 512 * 32 + 32 + 512,
)


def _cifar(blocks: int) -> int:
    """Count resnet(6 * blocks + 2) with option A by hand: 3x3 convolutions and their norms."""
    stem = 3 * 16 * 9 + 2 * 16
    stage_1 = 2 * blocks * (16 * 16 * 9 + 2 * 16)
    stage_2 = (16 * 32 * 9 + 2 * 32) + (2 * blocks - 1) * (32 * 32 * 9 + 2 * 32)
    stage_3 = (32 * 64 * 9 + 2 * 64) + (2 * blocks - 1) * (64 * 64 * 9 + 2 * 64)
    return stem + stage_1 + stage_2 + stage_3 + (64 * 10 + 10)


OPTION_B = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
"""Two projections more: 1x1 convolutions and their norms."""

BY_HAND = {
    # resnet18's and resnet34's published counts, and one SE a block
    "seresnet18": 11_689_512 + 2 * (SE_64 + SE_128 + SE_256 + SE_512),
    "seresnet34": 21_797_672 + 3 * SE_64 + 4 * SE_128 + 6 * SE_256 + 3 * SE_512,
    # resnet18 for grey images and ten labels, no norm on three projections (scale and shift),
    # a bias for the stem, for 4 convolutions of stage 1, and for 4 and a projection of the others
    "resnet18_d2l": 11_175_370 - 2 * (128 + 256 + 512) + 64 + 4 * 64 + 5 * (128 + 256 + 512),
    **{f"resnet{6 * n + 2}": _cifar(n) for n in (3, 5, 7, 9, 18)},
    **{f"resnet{6 * n + 2}_b": _cifar(n) + OPTION_B for n in (3, 5, 7, 9, 18)},
    # stem 3 -> 256, two convolutions, head; all with biases
    "keras_identity": (27 * 256 + 256) + 2 * (256 * 256 * 9 + 256) + (256 * 10 + 10),
    # stem 3 -> 128, a block at 128, then 128 -> 256 -> 256 and a 1x1 projection, head
    "keras_projection": (27 * 128 + 128)
    + 2 * (128 * 128 * 9 + 128)
    + (128 * 256 * 9 + 256)
    + (256 * 256 * 9 + 256)
    + (128 * 256 + 256)
    + (256 * 10 + 10),
    # 28 * 28 pixels -> 256, four blocks of two layers, head
    "residual_mlp": (784 * 256 + 256) + 4 * 2 * (256 * 256 + 256) + (256 * 10 + 10),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_members_cost_is_the_published_one(name: str) -> None:
    parameters, gmacs = PUBLISHED[name]

    summary = summarize(get_architecture(name), 224, 224)

    assert summary.parameters == parameters
    if gmacs is not None:
        assert round(summary.macs / 1e9, 2) == round(gmacs, 2)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_a_members_parameters_are_those_of_a_count_by_hand(name: str) -> None:
    spec = get_architecture(name)

    assert summarize(spec, spec.image_size, spec.image_size).parameters == BY_HAND[name]


def test_the_counts_that_others_have_published_for_small_networks_come_out() -> None:
    assert BY_HAND["resnet20"] == 269_722  # He et al., table 6: 0.27 M
    assert BY_HAND["resnet110"] == 1_727_962  # 1.7 M
    assert BY_HAND["resnet18_d2l"] == 11_178_378


def test_every_member_is_counted_here_or_beside_the_first_six() -> None:
    first = {"mini_resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}

    assert set(ARCHITECTURES) == first | set(PUBLISHED) | set(BY_HAND)


def test_d2ls_network_costs_what_its_images_of_96_pixels_need() -> None:
    assert round(summarize(get_architecture("resnet18_d2l"), 96, 96).macs / 1e9, 4) == 0.3187


@pytest.mark.parametrize(
    ("name", "side", "pixels"),
    [  # each 3x3 convolution adds twice the step before it; the first of a stage has the old step
        ("resnet18", 224, 11 + 4 * 8 + (8 + 3 * 16) + (16 + 3 * 32) + (32 + 3 * 64)),
        ("resnet34", 224, 11 + 6 * 8 + (8 + 7 * 16) + (16 + 11 * 32) + (32 + 5 * 64)),
        ("resnet50", 224, 11 + 3 * 8 + (8 + 3 * 16) + (16 + 5 * 32) + (32 + 2 * 64)),
        ("resnet101", 224, 11 + 3 * 8 + (8 + 3 * 16) + (16 + 22 * 32) + (32 + 2 * 64)),
        ("mini_resnet", 28, 3 + 4 * 2 + (2 + 3 * 4) + (4 + 3 * 8)),
    ],
)
def test_the_receptive_field_is_that_of_a_count_by_hand(name: str, side: int, pixels: int) -> None:
    assert summarize(get_architecture(name), side, side).receptive_field == pixels


def test_an_mlp_sees_everything_at_once() -> None:
    assert summarize(get_architecture("residual_mlp"), 28, 28).receptive_field is None


def test_an_mlp_refuses_an_image_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"\(=32, 32\) must be 28"):
        summarize(get_architecture("residual_mlp"), 32, 32)


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        ("padding", ["identity", "padding", "identity"]),
        ("projection", ["identity", "projection", "identity"]),
        ("always_projection", ["projection"] * 3),
        ("concat", ["concat"] * 3),
        ("none", ["none"] * 3),
    ],
)
def test_the_rule_decides_each_blocks_shortcut(rule: str, kinds: list[str]) -> None:
    spec = Architecture.model_validate(
        {"name": "t", "block": "basic", "depths": (1, 2), "width": 8, "stem": "small"}
        | {"shortcuts": rule}
    )

    blocks = [block for stage in summarize(spec, 8, 8).stages for block in stage.blocks]

    assert [block.shortcut for block in blocks] == kinds
    assert {block.output_shape for block in blocks} == {(8, 8, 8), (16, 4, 4)}


def test_concatenation_lists_what_it_costs() -> None:
    spec = get_architecture("resnet20", shortcuts="concat")

    block = summarize(spec, 32, 32).stages[1].blocks[0]

    rows = {layer.path.removeprefix("layer2.0."): layer for layer in block.layers}
    assert rows["join.concat"].output_shape == (32 + 16, 16, 16)
    assert rows["join.conv"].parameters == (32 + 16) * 32
    assert rows["downsample"].parameters == 0


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"block": "basic", "groups": 2}, "groups"),
        ({"block": "preact_basic", "squeeze": 16}, "squeeze"),
        ({"block": "preact_bottleneck", "shortcuts": "none"}, "shortcuts"),
        ({"block": "bare", "bias": True}, "bias"),
        ({"block": "basic", "stem": "flatten"}, "flatten"),
        ({"block": "linear"}, "flatten"),
        ({"block": "linear", "stem": "flatten", "size": 8, "depths": (1, 1)}, "one stage"),
        ({"block": "linear", "stem": "flatten"}, "size"),
        ({"block": "bottleneck", "width": 8, "width_per_group": 4}, "width_per_group"),
    ],
)
def test_what_a_block_cannot_be_is_refused(changes: dict[str, object], cause: str) -> None:
    fields = {"name": "t", "block": "basic", "depths": (2,)} | changes

    with pytest.raises(ValueError, match=cause):
        Architecture.model_validate(fields)


@pytest.mark.parametrize(
    ("name", "image_size"),
    [("resnet18", 224), ("mini_resnet", 28), ("resnet20", 32), ("resnet18_d2l", 96)],
)
def test_a_member_knows_the_size_of_its_images(name: str, image_size: int) -> None:
    assert get_architecture(name).image_size == image_size


def test_a_plain_block_plan_keeps_the_shape_unnamed() -> None:
    plan = BlockPlan("a", "basic", 8, 8, 8, 1, rule="none")

    assert plan.shortcut == "none"


def test_the_docs_list_every_member_and_the_parameters_of_the_first_of_a_row() -> None:
    page = (Path(__file__).parents[3] / "docs/family.md").read_text(encoding="utf-8")
    table = page.partition("\n## ")[0]
    rows = re.findall(r"^\| (`\w+`.*?) \| .* \| ([\d,]+) \|", table, re.M)

    for names, parameters in rows:
        spec = get_architecture(re.findall(r"`(\w+)`", names)[0])
        counted = summarize(spec, spec.image_size, spec.image_size).parameters
        assert f"{counted:,}" == parameters, spec.name
    assert len(rows) == table.count("\n| `")
