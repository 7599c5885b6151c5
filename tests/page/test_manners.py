"""All three views: languages, keyboard, screen readers, colours, narrow screens."""

import re
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.page.conftest import Visit, Watch
from tests.page.given import until, upload

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

VIEWS = ("", "#/architecture/layer2.0", "#/card")


def go(page: "Page", place: str) -> None:
    """Change the view as a link does."""
    page.evaluate("place => { location.hash = place || '#/' }", place)
    view = re.sub(r"[^a-z].*", "", place[2:]) or "try"
    page.wait_for_selector(f"#{view}:not([hidden]) h1", state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, watch: Watch, scheme: str) -> None:
    watch.allowed.append("status of 422")
    page = visit(scheme=scheme, reduced_motion="reduce")
    found: dict[str, Any] = {}

    for place in (*VIEWS, "refused"):
        if place == "refused":
            go(page, "")
            page.set_input_files("[data-door=choose]", upload(b"no image"))
            page.wait_for_selector("main[data-state=refused]")
        else:
            go(page, place)
        for violation in Axe().run(page).response["violations"]:
            nodes = [node["html"][:120] for node in violation["nodes"]]
            found[f"{place} {violation['id']} {violation['impact']}"] = nodes

    assert not found


@pytest.mark.parametrize("locale", ["en", "zh-CN"])
def test_no_view_scrolls_sideways(visit: Visit, locale: str) -> None:
    page = visit(locale=locale)

    for place in VIEWS:
        go(page, place)
        for width in (1280, 768, 390, 320):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (place, width)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_from_the_paper_and_under_their_labels(visit: Visit, scheme: str) -> None:
    page = visit(scheme=scheme)
    names: tuple[str, ...] = (
        "ink",
        "muted",
        "paper",
        "band",
        "wash",
        "warn",
        "on",
        "conv",
        "projection",
        "pool",
    )
    names += ("linear", "norm", "act")
    colours = page.evaluate(
        """names => Object.fromEntries(names.map(name => {
          const probe = document.createElement('i');
          probe.style.color = `var(--${name})`;
          document.body.append(probe);
          const {color} = getComputedStyle(probe);
          probe.remove();
          return [name, color];
        }))""",
        names,
    )

    for ground in ("paper", "band"):
        for name in ("ink", "muted"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for name in ("conv", "projection", "pool", "linear", "norm", "act"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("conv", "pool", "linear"):
        assert contrast(colours["on"], colours[name]) >= 4.5, name
    for ground in ("wash", "warn"):
        assert contrast(colours["ink"], colours[ground]) >= 7, ground


def test_forced_colours_keep_the_drawing(visit: Visit) -> None:
    page = visit("#/architecture", ready="empty", forced_colors="active", scheme="dark")
    page.wait_for_selector(".net .row")
    stroke = "mark => getComputedStyle(mark).stroke"

    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for mark in (".spine", ".arc.identity", ".arc.projection"):
        assert contrast(page.locator(mark).first.evaluate(stroke), ground) >= 4.5


NAMES = (
    "fashion-mnist|mini_resnet|float32|float16|int8|calibration|refusal|cpu|ReLU|SVG|README|JSON|English|SHA|Softmax|ONNX|opset|"
    "torch|Top|PSI|ECE|logit|bilinear|default|test|conv|downsample|layer|bn|fc|Ctrl|"
    "JPEG|PNG|WebP|GIF|BMP|MiB|MB|kB|dirty|md|MIT|record|CPU|x86_64|AVX512|bfloat16|best.ckpt|sha256"
)


def test_in_chinese_no_english_is_left_but_names(visit: Visit) -> None:
    page = visit(locale="zh-CN")
    assert page.get_attribute("html", "lang") == "zh-CN"
    labels = page.locator(".thumb span").all_inner_texts()

    for place in VIEWS:
        go(page, place)
        until(
            page, "document.querySelectorAll('.net .row').length || !location.hash.includes('ar')"
        )
        text = page.evaluate(
            "[...document.querySelectorAll('main, header, footer, #status')]"
            ".map(one => one.innerText).join(' ')"
        )
        text = text.replace("\nEN\n", "\n")  # the button to the other language
        for label in sorted(labels, key=len, reverse=True):
            text = text.replace(label, "")
        text = re.sub(r"[a-z_]+=[\w.]+", "", text)  # as `--set` takes them
        text = re.sub(r"[0-9a-f]{12,}|\d{4}-\d\d-\d\dT[\d:+]+|" + NAMES, "", text)
        assert not re.findall(r"[A-Za-z]{2,}", text), place


def test_the_language_is_switched_and_remembered(visit: Visit) -> None:
    page = visit()

    page.click("#language")
    page.wait_for_selector("nav >> text=模型卡")
    page.reload()

    page.wait_for_selector("nav >> text=模型卡")
    assert page.locator(".answer h2").inner_text() == "T-shirt/top"
    assert page.get_attribute("html", "lang") == "zh-CN"


def test_the_address_chooses_the_language(visit: Visit) -> None:
    page = visit("?lang=zh", locale="en")

    assert page.get_attribute("html", "lang") == "zh-CN"


def test_the_answer_stays_when_the_language_changes(visit: Visit, boot: bytes) -> None:
    page = visit()
    page.set_input_files("[data-door=choose]", upload(boot))
    page.wait_for_selector("h2:text-is('Ankle boot')")

    page.click("#language")

    page.wait_for_selector("text=没有丢失 >> visible=true", state="detached")
    assert page.inner_text(".answer h2") == "Ankle boot"
    assert page.get_attribute(".shot img", "alt") == "boot.png"


def test_colours_can_be_chosen_against_the_system(visit: Visit) -> None:
    page = visit(scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"

    page.click("#theme")
    page.click("#theme")

    assert page.evaluate(ground) == "rgb(13, 17, 23)"
    assert page.get_attribute("#theme", "aria-label") == "Colours: dark"


def test_tab_reaches_everything_in_reading_order_with_a_ring(visit: Visit) -> None:
    page = visit()
    reached: list[str] = []

    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(() => { const one = document.activeElement;"
                " const {outlineStyle, outlineWidth} = getComputedStyle(one);"
                " if (outlineStyle === 'none' || outlineWidth === '0px') return 'no ring';"
                " return (one.textContent || one.ariaLabel || '').trim().slice(0, 12) })()"
            )
        )

    assert "no ring" not in reached
    assert reached[:6] == ["Skip to the ", "Try it", "Architecture", "Model card", "ZH", "◐"]
    assert reached[7:10] == ["Choose", "Paste", "Camera"]
    assert reached[10:12] == ["", ""]  # the map's slider and its cells, named by their labels
    assert reached[12] == "Show 10"
    assert reached[13:] == ["What does th", "Get the same", "JSON"]


def test_focus_never_moves_by_itself(visit: Visit, boot: bytes) -> None:
    page = visit()
    page.focus(".thumb >> nth=3")

    page.set_input_files("[data-door=choose]", upload(boot))
    page.wait_for_selector("h2:text-is('Ankle boot')")

    assert page.evaluate("document.activeElement.dataset.path") == "samples/3.png"


def test_all_labels_can_be_shown_and_hidden_again(visit: Visit) -> None:
    page = visit()

    page.click("text=Show 10")
    assert page.locator(".bars li").count() == 10
    page.click("text=Show fewer")

    assert page.locator(".bars li").count() == 5


def test_swagger_ui_asks_the_service_behind_a_prefix_that_a_proxy_takes_off(visit: Visit) -> None:
    def take_off(route: "Route") -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace("/resnet/", "/")))

    page = visit(
        "resnet/docs", ready=None, before=lambda page: page.route("**/resnet/**", take_off)
    )
    block = page.locator(".opblock", has_text="/livez").first
    block.locator(".opblock-summary").click()
    block.get_by_text("Try it out").click()
    block.get_by_text("Execute").click()

    page.wait_for_selector(".live-responses-table >> text=200")
    assert block.locator(".request-url").inner_text().endswith("/resnet/livez")
