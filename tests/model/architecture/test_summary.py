"""Shapes, parameters and multiply-adds by arithmetic, against what others have published."""

import pytest

from model.architecture.family import get_architecture
from model.architecture.summary import Layer, Summary, summarize


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [  # torchvision's documentation, at 224 x 224
        ("resnet18", 11_689_512, 1.814),
        ("resnet34", 21_797_672, 3.664),
        ("resnet50", 25_557_032, 4.089),
        ("resnet101", 44_549_160, 7.801),
        ("resnet152", 60_192_808, 11.514),
    ],
)
def test_cost_is_the_published_one(name: str, parameters: int, gmacs: float) -> None:
    summary = summarize(get_architecture(name), 224, 224)

    assert summary.parameters == parameters
    assert round(summary.macs / 1e9, 3) == gmacs


def test_resnet18_for_grey_images_and_ten_labels_has_the_published_parameters() -> None:
    spec = get_architecture("resnet18", num_classes=10, in_channels=1)

    assert summarize(spec, 224, 224).parameters == 11_175_370


def test_mini_resnet_costs_what_a_count_by_hand_gives() -> None:
    summary = summarize(get_architecture("mini_resnet"), 28, 28)
    stages = {stage.path: stage.parameters for stage in summary.stages}
    blocks = {block.path: block for stage in summary.stages for block in stage.blocks}

    assert summary.parameters == 696_042
    assert round(summary.macs / 1e9, 4) == 0.0805
    assert summary.stem.parameters == 352  # 9 * 32, and 2 * 32 of the norm
    assert stages == {"layer1": 37_120, "layer2": 131_712, "layer3": 525_568}
    assert blocks["layer2.0"].parameters == 57_728
    assert summary.head.parameters == 1_290  # 128 * 10 + 10


def test_sections_stages_and_blocks_add_up() -> None:
    summary = summarize(get_architecture("resnet50"), 224, 224)
    layers = [layer for layer, _ in summary.layers()]

    assert summary.parameters == sum(layer.parameters for layer in layers)
    assert summary.macs == sum(layer.macs for layer in layers)
    for stage in summary.stages:
        assert stage.parameters == sum(block.parameters for block in stage.blocks)
        assert stage.macs == sum(block.macs for block in stage.blocks)
        assert stage.output_shape == stage.blocks[-1].output_shape
        for block in stage.blocks:
            assert block.parameters == sum(layer.parameters for layer in block.layers)
            assert block.output_shape == block.layers[-1].output_shape


def test_resnet50_gives_the_shapes_of_the_paper() -> None:
    summary = summarize(get_architecture("resnet50"), 224, 224)

    assert summary.input_shape == (3, 224, 224)
    assert summary.stem.output_shape == (64, 56, 56)
    assert [stage.output_shape for stage in summary.stages] == [
        (256, 56, 56),
        (512, 28, 28),
        (1024, 14, 14),
        (2048, 7, 7),
    ]
    assert summary.head.output_shape == (1000,)


def test_the_stride_of_a_bottleneck_sits_on_its_3x3_convolution() -> None:
    summary = summarize(get_architecture("resnet50"), 224, 224)
    first = summary.stages[1].blocks[0]
    convolutions = [
        (layer.path.removeprefix("layer2.0."), layer.kernel, layer.stride)
        for layer in first.layers
        if layer.kind == "conv"
    ]

    assert convolutions == [
        ("conv1", 1, 1),
        ("conv2", 3, 2),
        ("conv3", 1, 1),
        ("downsample.0", 1, 2),
    ]


def test_layers_names_the_shortcut_beside_each_addition_and_nowhere_else() -> None:
    rows = list(summarize(get_architecture("mini_resnet"), 28, 28).layers())
    shortcuts = [(layer.path, shortcut) for layer, shortcut in rows if shortcut]

    assert shortcuts == [
        ("layer1.0.add", "identity"),
        ("layer1.1.add", "identity"),
        ("layer2.0.add", "projection"),
        ("layer2.1.add", "identity"),
        ("layer3.0.add", "projection"),
        ("layer3.1.add", "identity"),
    ]


def test_dropout_is_listed_only_where_the_architecture_has_it() -> None:
    def kinds(name: str) -> list[str]:
        head: tuple[Layer, ...] = summarize(get_architecture(name), 32, 32).head.layers
        return [layer.kind for layer in head]

    assert kinds("mini_resnet") == ["pool", "dropout", "linear"]
    assert kinds("resnet18") == ["pool", "linear"]


def test_an_image_of_one_pixel_passes_every_stage() -> None:
    summary = summarize(get_architecture("resnet18"), 1, 1)

    assert [stage.output_shape[1:] for stage in summary.stages] == [(1, 1)] * 4


@pytest.mark.parametrize(("height", "width"), [(0, 28), (28, 0), (-1, 28)])
def test_an_image_without_pixels_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=r"`height`, `width`"):
        summarize(get_architecture("mini_resnet"), height, width)


def test_a_summary_survives_json() -> None:
    summary = summarize(get_architecture("resnet18"), 33, 47)

    assert Summary.model_validate_json(summary.model_dump_json()) == summary
