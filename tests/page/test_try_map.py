"""The first view's map of what counted: where it lies, its switches, a model without one."""

from typing import TYPE_CHECKING

from tests.page.conftest import Visit
from tests.page.first_view import choose, stub
from tests.page.given import phone_image

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route


def with_map(page: "Page") -> None:
    """Let the service say that it explains, and point at the map's top left cell."""

    def card(route: "Route") -> None:
        found = route.fetch().json()
        found["options"] = sorted({*found["options"], "explain"})
        route.fulfill(json=found)

    def explain(route: "Route") -> None:
        cells = [[1.0 if row == column == 0 else 0.0 for column in range(4)] for row in range(4)]
        box = {"left": 0, "top": 10, "right": 40, "bottom": 50}  # of an upright 40 x 60
        explanation = {"map": cells, "maps": [cells, cells[::-1]], "box": box}
        assert "explain=true" in route.request.url
        stub(0.9, explanation={**explanation, "width": 40, "height": 60})(route)

    page.route("**/card", card)
    page.route("**/predict*", explain)


GREYS = """() => {
  const image = document.querySelector('.shot img');
  const shot = image.getBoundingClientRect();
  const map = document.querySelector('canvas.map').getBoundingClientRect();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return [1 / 8, 5 / 8].map(cell => {
    const x = (map.left + cell * map.width - shot.left) / shot.width * image.naturalWidth;
    const y = (map.top + cell * map.height - shot.top) / shot.height * image.naturalHeight;
    return context.getImageData(x, y, 1, 1).data[0];
  });
}"""


def test_the_map_lies_on_the_crop_of_a_turned_phone_image(visit: Visit) -> None:
    page = visit(before=with_map)
    alpha = "c => [...c.getContext('2d').getImageData(0, 0, 4, 4).data].filter((_, i) => i % 4 > 2)"

    for turn in (1, 6, 8):
        choose(page, phone_image(turn), f"turned{turn}.jpg", "image/jpeg")
        page.wait_for_selector(f".shot:has(img[alt='turned{turn}.jpg']) canvas.map")

        shot, crop = (page.locator(name).bounding_box() for name in (".shot", "canvas.map"))
        assert shot
        assert crop
        assert abs(shot["height"] / shot["width"] - 1.5) < 0.02
        assert abs(crop["width"] - shot["width"]) < 1
        assert abs(crop["height"] - crop["width"]) < 1
        assert abs(crop["y"] - shot["y"] - shot["height"] / 6) < 1
        assert page.locator("canvas.map").evaluate(alpha) == [255, *[0] * 15]
        under, elsewhere = page.evaluate(GREYS)
        assert under > 200, turn  # the white spot lies where the map's only cell does
        assert elsewhere < 100


def test_the_maps_slider_and_its_cells(visit: Visit) -> None:
    page = visit(before=with_map)
    opacity = "getComputedStyle(document.querySelector('.map')).opacity"

    page.fill("#opacity", "25")
    page.check("#grid")

    assert page.evaluate(opacity) == "0.25"
    rendering = "getComputedStyle(document.querySelector('.map')).imageRendering"
    assert page.evaluate(rendering) == "pixelated"


def test_a_bar_shows_the_map_of_its_own_label(visit: Visit) -> None:
    page = visit(before=with_map)
    strongest = "c => [...c.getContext('2d').getImageData(0, 0, 4, 4).data].indexOf(255, 3)"
    first, second = page.locator(".bars button").all()

    second.click()

    canvas = page.locator("canvas.map")
    assert (canvas.count(), canvas.evaluate(strongest) // 16) == (1, 3)  # in the last row
    assert (
        canvas.get_attribute("aria-label")
        == f"Parts of the image that support {second.inner_text()}"
    )
    assert [each.get_attribute("aria-pressed") for each in (first, second)] == ["false", "true"]


def test_a_model_without_maps_says_so(visit: Visit) -> None:
    def without(page: "Page") -> None:
        def card(route: "Route") -> None:
            body = route.fetch().json()
            route.fulfill(json={**body, "options": ["top_k"]})

        page.route("**/card", card)

    page = visit(before=without)

    assert page.is_visible("text=Map of the parts that count: not recorded for this model.")
