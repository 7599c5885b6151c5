"""The drawing: valid, whole, folded, and readable without its colours."""

import re
import xml.etree.ElementTree as ET

import pytest

from model.architecture.family import ARCHITECTURES, get_architecture
from model.architecture.layers import Summary
from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from model.drawing.mermaid import draw_mermaid
from model.drawing.outline import Row, outline
from model.drawing.svg import draw, short

SVG = "{http://www.w3.org/2000/svg}"


def _summary(name: str, **changes: object) -> Summary:
    spec = Architecture.model_validate(get_architecture(name).model_dump() | changes)
    return summarize(spec, spec.image_size, spec.image_size)


def _drawn(name: str) -> ET.Element:
    return ET.fromstring(draw(name, _summary(name)))  # noqa: S314  # our own text


def _blocks(name: str, **changes: object) -> list[Row]:
    return [row for row in outline(_summary(name, **changes)) if row.kind == "block"]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_member_draws_as_valid_xml_that_names_itself(name: str) -> None:
    drawing = _drawn(name)

    title, description = drawing.find(f"{SVG}title"), drawing.find(f"{SVG}desc")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith(f"{name}: ")
    assert description is not None
    assert drawing.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"


@pytest.mark.parametrize("name", ["mini_resnet", "resnet152", "residual_mlp"])
def test_each_row_is_a_list_item_with_a_title(name: str) -> None:
    drawing = _drawn(name)

    items = [group for group in drawing.iter(f"{SVG}g") if group.get("role") == "listitem"]
    assert len(items) == len(outline(_summary(name)))
    assert all(item[0].tag == f"{SVG}title" and item[0].text for item in items)


def test_a_projecting_block_is_spoken_with_shape_and_cost() -> None:
    titles = [element.text for element in _drawn("resnet34").iter(f"{SVG}title")]

    assert (
        "Basic block, halves the image, layer2.0. Projection shortcut 1×1 /2. "
        "Output 128×28×28. 230,144 parameters and 180 M multiply-adds."
    ) in titles


def test_identities_are_the_weights_names_and_occur_once() -> None:
    identities = [element.get("id") for element in _drawn("resnet34").iter() if element.get("id")]

    assert len(identities) == len(set(identities))
    assert {"layer1.0", "layer2.0", "layer4.2"} <= set(identities)


def test_three_equal_blocks_are_piled_and_two_are_not() -> None:
    counts = {row.path: row.count for row in _blocks("resnet34")}

    assert counts == {
        "layer1.0 … 2": 3,
        "layer2.0": 1,
        "layer2.1 … 3": 3,
        "layer3.0": 1,
        "layer3.1 … 5": 5,
        "layer4.0": 1,
        "layer4.1": 1,
        "layer4.2": 1,
    }


def test_a_pile_sums_what_its_blocks_cost() -> None:
    (pile,) = [row for row in _blocks("resnet34") if row.path == "layer3.1 … 5"]

    assert pile.macs == 5 * 231_211_008
    assert pile.parameters == 5 * 1_180_672


def test_fifty_blocks_become_ten_rows() -> None:
    assert len(_blocks("resnet152")) == 10
    assert sum(row.count for row in _blocks("resnet152")) == 50


def test_the_glyph_shows_kernels_of_the_branch_alone() -> None:
    assert _blocks("resnet50")[0].glyph == "1·3·1"
    assert _blocks("seresnet18")[0].glyph == "3·3"
    assert _blocks("mini_resnet", shortcuts="concat")[0].glyph == "3·3"
    assert _blocks("residual_mlp")[0].glyph == "×4"


@pytest.mark.parametrize(
    ("name", "changes", "title"),
    [
        ("resnext50_32x4d", {}, "Bottleneck, 32 groups, halves the image"),
        ("seresnet18", {}, "Basic block, squeeze-excite, halves the image"),
        ("resnetv2_18", {}, "Pre-activated block, halves the image"),
        ("keras_projection", {}, "Bare block, halves the image"),
    ],
)
def test_a_row_says_what_is_special_about_its_block(
    name: str, changes: dict[str, object], title: str
) -> None:
    assert title in [row.title for row in _blocks(name, **changes)]


@pytest.mark.parametrize(
    ("rule", "label", "stroke"),
    [
        ("projection", "1×1 /2", 'class="line projection"'),
        ("padding", "pad /2", 'class="line padding"'),
        ("concat", "concat /2", 'class="line concat"'),
    ],
)
def test_a_shortcut_is_told_by_form_and_label(rule: str, label: str, stroke: str) -> None:
    drawing = draw("t", _summary("mini_resnet", shortcuts=rule))

    assert stroke in drawing
    assert f">{label}</text>" in drawing


def test_a_plain_network_has_no_arc_and_says_so() -> None:
    drawing = draw("t", _summary("mini_resnet", shortcuts="none"))

    assert "6 plain blocks" in drawing
    assert "<circle" not in drawing
    assert "No shortcut." in drawing


def test_the_drawing_asks_no_other_host_and_runs_nothing() -> None:
    drawing = draw("mini_resnet", _summary("mini_resnet")).replace(
        '"http://www.w3.org/2000/svg"', ""
    )

    assert not re.search(r"http|url\(|@import|<script|<image|href|\son\w+=", drawing)


def test_a_name_cannot_break_out_of_the_drawing() -> None:
    drawing = draw('<script>"&', _summary("mini_resnet"))

    assert "<script>" not in drawing
    ET.fromstring(drawing)  # noqa: S314  # our own text


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    line = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * line[0] + 0.7152 * line[1] + 0.0722 * line[2]


@pytest.mark.parametrize(
    ("paper", "colours"),
    [
        ("#FFFFFF", ["#0072B2", "#C44E00", "#007F5F", "#9C4A7D", "#8A6A00", "#1B1F24", "#57606A"]),
        ("#0D1117", ["#56B4E9", "#F0883E", "#2FBF93", "#E19CC6", "#D9B23A", "#E6EDF3", "#9AA4AF"]),
    ],
)
def test_every_colour_stands_out_from_its_paper(paper: str, colours: list[str]) -> None:
    drawing = draw("mini_resnet", _summary("mini_resnet"))

    for colour in colours:
        assert colour in drawing
        lights = sorted((_luminance(paper), _luminance(colour)))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, colour  # WCAG 2.2, 1.4.3


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (352, "352"),
        (1_290, "1.29 k"),
        (99_960, "100 k"),
        (14_450_688, "14.5 M"),
        (231_211_008, "231 M"),
        (1_156_055_040, "1.16 G"),
    ],
)
def test_numbers_have_three_figures(number: int, text: str) -> None:
    assert short(number) == text


def test_mermaid_links_each_row_to_the_next_and_each_shortcut() -> None:
    chart = draw_mermaid("mini_resnet", _summary("mini_resnet"))

    lines = chart.splitlines()
    assert lines[1].startswith('title: "mini_resnet: 6 residual blocks')
    assert lines[3] == "flowchart TD"
    shortcuts = re.findall(r'(\w+) (-->|-\.->)\|"(.*)"\| (j\d+)', chart)
    assert [way for _, _, way, _ in shortcuts].count("projection 1×1 /2") == 2
    assert [way for _, _, way, _ in shortcuts].count("identity") == 4
    for before, arrow, way, joint in shortcuts:
        (block,) = re.findall(rf"(n\d+) --> {joint}\n", chart)
        assert f"    {before} --> {block}\n" in chart  # past the block, not into it
        assert arrow == ("-->" if way == "identity" else "-.->")
    assert chart.count("    subgraph ") == chart.count("    end\n") == 5  # stem, stages, head


@pytest.mark.parametrize(
    ("rule", "way"),
    [("padding", "pad /2"), ("concat", "concat /2"), ("always_projection", "projection 1×1")],
)
def test_mermaid_says_what_a_shortcut_passes_through(rule: str, way: str) -> None:
    chart = draw_mermaid("resnet20", _summary("resnet20", shortcuts=rule))

    assert f'-.->|"{way}"|' in chart
    assert chart.count('(("concat"))') == (7 if rule == "concat" else 0)  # stage 1 is a pile


def test_mermaid_of_a_plain_network_has_no_joints() -> None:
    assert "((" not in draw_mermaid("resnet20", _summary("resnet20", shortcuts="none"))


def test_the_legend_explains_the_lines_of_norm_and_relu() -> None:
    assert "Batch norm after a layer" in draw("resnet18", _summary("resnet18"))
    assert "Batch norm" not in draw("residual_mlp", _summary("residual_mlp"))
