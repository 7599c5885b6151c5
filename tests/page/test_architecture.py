"""The second view, by geometry: an unbroken spine, arcs beside it, nothing out of the page."""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.page.conftest import Served, Visit
from tests.page.given import architecture_of, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

NETWORKS = ("mini_resnet", "resnet34", "resnet50", "resnet152")
SPINE = """() => [...document.querySelectorAll('.net .row')].filter(row => row.checkVisibility())
  .map(row => {
    const svg = row.querySelector('.gutter');
    const drawn = mark => getComputedStyle(mark.closest('g') ?? mark).display !== 'none';
    const shown = [...svg.querySelectorAll('*')].filter(drawn);
    const box = mark => mark.getBoundingClientRect();
    const spines = shown.filter(mark => mark.matches('.spine')).map(box);
    const arcs = shown.filter(mark => mark.matches('.arc')).map(box);
    const {top, bottom, left} = box(row);
    return {
      top, bottom, left, io: row.matches('.is-io'), text: row.textContent,
      spine: spines.map(r => [r.top, r.bottom, r.left]),
      arc: arcs.map(r => [r.top, r.bottom, r.left, r.right]),
    };
  })"""


@pytest.fixture(scope="module")
def described(served: Served) -> Callable[[str], dict[str, Any]]:
    base = httpx.get(f"{served.url}architecture").json()
    return lambda name: architecture_of(name, base)


@pytest.fixture
def draw(visit: Visit, described: Callable[[str], dict[str, Any]]) -> Visit:
    def open_page(name: str, place: str = "#/architecture", **options: Any) -> "Page":
        body = json.dumps(described(name))

        def serve(page: "Page") -> None:
            page.route(
                "**/architecture",
                lambda route: route.fulfill(body=body, content_type="application/json"),
            )

        page = visit(place, before=serve, ready="empty", **options)
        page.wait_for_selector(".net .row")
        return page

    return open_page


def assert_drawn_well(page: "Page") -> None:
    """Rows touch, the spine runs through all of them, no arc lies on it, nothing overflows."""
    rows = page.evaluate(SPINE)
    scale = 0.5 if page.get_attribute(".net", "data-size") == "phone" else 1
    for above, below in pairwise(rows):
        assert abs(above["bottom"] - below["top"]) < 0.6, (above["text"], below["text"])
    for row in rows:
        (spine,) = row["spine"]
        assert abs(spine[2] - row["left"] - 72 * scale) < 0.6
        if not row["io"]:
            assert abs(spine[0] - row["top"]) < 0.6
            assert abs(spine[1] - row["bottom"]) < 0.6
        for top, bottom, left, right in row["arc"]:
            assert top >= row["top"] - 0.6
            assert bottom <= row["bottom"] + 0.6
            assert left >= spine[2] - 0.6
            assert abs(right - row["left"] - (84 if scale < 1 else 170)) < 1.6
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_drawing_holds_at_every_width_closed_and_with_everything_open(
    draw: Visit, name: str
) -> None:
    page = draw(name)

    for state in ("closed", "open"):
        if state == "open":
            page.click("text=Open all")
        assert page.locator(".net details:not([open])").count() == 0 or state == "closed"
        for width in (1280, 390, 320):
            page.set_viewport_size({"width": width, "height": 800})
            size = "desktop" if width > 640 else "phone"
            until(page, f"document.querySelector('.net').dataset.size === '{size}'")
            assert_drawn_well(page)


@pytest.mark.parametrize(
    ("name", "piles", "blocks"),
    [
        ("mini_resnet", [], 6),
        ("resnet34", ["×3", "×3", "×5"], 16),
        ("resnet152", ["×7", "×35"], 50),
    ],
)
def test_alike_blocks_are_piled_and_unfolded(
    draw: Visit, name: str, piles: list[str], blocks: int
) -> None:
    page = draw(name)

    shown = page.locator("details.pile > summary .closed .inside").all_text_contents()
    assert shown == piles
    page.click("text=Group equal blocks")

    assert page.locator("details.pile").count() == 0
    assert page.locator("details.block").count() == blocks


def test_the_deep_link_opens_a_block_inside_a_pile(draw: Visit) -> None:
    page = draw("resnet152", "#/architecture/layer3.17?by=params")

    assert page.get_attribute("[id='layer3.17']", "open") is not None
    assert page.is_visible("[id='layer3.17.conv2']")
    assert page.locator("[value=parameters]").is_checked()
    until(
        page,
        "(() => { const box = document.getElementById('layer3.17').getBoundingClientRect();"
        " return box.top > 0 && box.bottom < innerHeight })()",
    )


def test_sizes_by_parameters_grow_fourfold_per_stage(draw: Visit) -> None:
    page = draw("resnet34")
    parts = (
        "[...document.querySelectorAll('.net details.block, .net details.pile')]"
        ".map(one => Number(one.querySelector('.bar rect').dataset.part))"
    )

    page.click("text=Group equal blocks")
    by_macs = page.evaluate(parts)
    page.check("[value=parameters]")
    by_parameters = page.evaluate(parts)

    plain = [1, 5, 9, 15]
    assert page.url.endswith("?by=params&fold=0")
    assert len({by_macs[index] for index in plain}) == 1
    ratios = [by_parameters[b] / by_parameters[a] for a, b in pairwise(plain)]
    assert all(abs(ratio - 4) < 0.05 for ratio in ratios)


def test_the_strip_shows_shares_and_leads_to_the_stage(draw: Visit) -> None:
    page = draw("mini_resnet", "#/architecture?by=params")

    widths = page.evaluate(
        "[...document.querySelectorAll('.strip li')].map(li => li.getBoundingClientRect().width)"
    )
    shares = [width / sum(widths) for width in widths]

    assert "Stage 3 76 %" in page.inner_text(".shares")
    assert shares == pytest.approx([0.001, 0.053, 0.189, 0.755, 0.002], abs=0.01)
    page.click(".strip li:nth-child(4) a")
    assert "/layer3?by=params" in page.url


def test_the_keyboard_opens_a_block(draw: Visit) -> None:
    page = draw("mini_resnet")

    page.focus("[id='layer2.0'] > summary")
    page.keyboard.press("Enter")

    assert page.is_visible("[id='layer2.0.downsample.0']")
    assert page.get_attribute("[id='layer2.0'] > summary", "aria-label") == (
        "Basic block, halves the size, layer2.0. Projection shortcut 1×1 /2, to 64 channels. "
        "Output 64×14×14. 57,728 parameters and 11.2 M multiply-adds."
    )


def test_identity_and_projection_differ_in_form(draw: Visit) -> None:
    page = draw("mini_resnet")
    dash = "mark => getComputedStyle(mark).strokeDasharray"

    assert page.locator(".arc.projection").first.evaluate(dash) == "6px, 3px"
    assert page.locator(".arc.identity").first.evaluate(dash) == "none"
    assert page.locator("[id='layer2.0'] .closed .ontag").text_content() == "1×1 /2"


def test_the_drawing_is_saved_as_one_svg(draw: Visit) -> None:
    page = draw("resnet34")

    with page.expect_download() as waiting:
        page.click("text=Save as SVG")

    text = waiting.value.path().read_text()
    assert waiting.value.suggested_filename == "resnet34.svg"
    assert re.match(r'<svg xmlns="http://www.w3.org/2000/svg" role="group"', text)
    assert '<g id="layer2" role="list"' in text
    assert text.index('id="layer1"') < text.index('id="layer2"') < text.index('id="layer3"')
    assert "<script" not in text


def test_the_rows_are_those_of_the_service(visit: Visit, served: Served) -> None:
    described = httpx.get(f"{served.url}architecture").json()
    page = visit("#/architecture", ready="empty")
    page.wait_for_selector(".net .row")

    for stage in described["stages"]:
        for block in stage["blocks"]:
            label = page.get_attribute(f"[id='{block['path']}'] > summary", "aria-label") or ""
            assert f"{block['parameters']:,} parameters" in label
            assert "×".join(map(str, block["output_shape"])) in label
