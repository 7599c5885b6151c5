"""The family as data: published members, their plans, and what a name or value is refused for."""

import itertools

import pytest
from pydantic import ValidationError

from model.architecture.family import ARCHITECTURES, get_architecture
from model.architecture.spec import Architecture


def test_every_member_stands_under_its_own_name() -> None:
    assert {name: spec.name for name, spec in ARCHITECTURES.items()} == {
        name: name for name in ARCHITECTURES
    }


@pytest.mark.parametrize(
    ("name", "depths", "layers"),
    [
        ("resnet18", (2, 2, 2, 2), 18),
        ("resnet34", (3, 4, 6, 3), 34),
        ("resnet50", (3, 4, 6, 3), 50),
        ("resnet101", (3, 4, 23, 3), 101),
        ("resnet152", (3, 8, 36, 3), 152),
    ],
)
def test_a_name_counts_the_layers_with_weights(
    name: str, depths: tuple[int, ...], layers: int
) -> None:
    spec = get_architecture(name)
    convolutions_a_block = {"basic": 2, "bottleneck": 3}[spec.block]

    assert spec.depths == depths
    assert 1 + convolutions_a_block * sum(depths) + 1 == layers  # stem and head are one each


def test_channels_double_and_the_size_halves_at_each_stage_after_the_first() -> None:
    stages = get_architecture("resnet50").stages

    assert [stage.path for stage in stages] == ["layer1", "layer2", "layer3", "layer4"]
    assert [stage.blocks[0].channels for stage in stages] == [64, 128, 256, 512]
    assert [stage.blocks[-1].out_channels for stage in stages] == [256, 512, 1024, 2048]
    assert [[block.stride for block in stage.blocks] for stage in stages[:2]] == [
        [1, 1, 1],
        [2, 1, 1, 1],
    ]


def test_each_block_takes_what_the_block_before_it_gives() -> None:
    for spec in ARCHITECTURES.values():
        blocks = [block for stage in spec.stages for block in stage.blocks]

        assert blocks[0].in_channels == spec.width
        for before, after in itertools.pairwise(blocks):
            assert after.in_channels == before.out_channels
        assert spec.feature_channels == blocks[-1].out_channels


@pytest.mark.parametrize(
    ("name", "projections"),
    [
        ("mini_resnet", ["layer2.0", "layer3.0"]),
        ("resnet34", ["layer2.0", "layer3.0", "layer4.0"]),
        ("resnet50", ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]),
    ],
)
def test_the_shortcut_is_a_projection_only_where_the_shape_changes(
    name: str, projections: list[str]
) -> None:
    blocks = [block for stage in get_architecture(name).stages for block in stage.blocks]

    assert [block.path for block in blocks if block.shortcut == "projection"] == projections


def test_get_architecture_changes_only_what_is_given() -> None:
    spec = get_architecture("resnet18", num_classes=10, in_channels=1, stem="small")

    assert (spec.num_classes, spec.in_channels, spec.stem) == (10, 1, "small")
    assert spec.model_copy(
        update={"num_classes": 1000, "in_channels": 3, "stem": "standard"}
    ) == get_architecture("resnet18")


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"(?s)'resnt152'.*resnet18.*Did you mean 'resnet152'\?"):
        get_architecture("resnt152")


def test_a_name_near_to_none_is_refused_without_a_hint() -> None:
    with pytest.raises(ValueError, match="must be one of") as refused:
        get_architecture("vgg")

    assert "Did you mean" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_classes", 0), ("num_classes", -1), ("in_channels", 2), ("stem", "medium")],
)
def test_a_value_out_of_its_range_is_refused(field: str, value: object) -> None:
    changes: dict[str, object] = {field: value}

    with pytest.raises(ValueError, match=field):
        get_architecture("resnet18", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [("depths", ()), ("width", 0), ("dropout", 1.0), ("dropout", -0.1), ("groups", 2)],
)
def test_a_specification_refuses_bad_and_undeclared_fields(field: str, value: object) -> None:
    fields = get_architecture("resnet18").model_dump() | {field: value}

    with pytest.raises(ValidationError, match=field):
        Architecture.model_validate(fields)


def test_an_architecture_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        get_architecture("resnet18").width = 1  # type: ignore[misc]


def test_an_architecture_survives_json() -> None:
    for spec in ARCHITECTURES.values():
        assert Architecture.model_validate_json(spec.model_dump_json()) == spec
