"""The first view: every door, every way an answer can fail to come, and what an answer shows."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.page.conftest import Visit, Watch
from tests.page.given import phone_picture, until, upload

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

DROP = """({files, strings}) => {
  const data = new DataTransfer();
  for (const {name, type, bytes} of files)
    data.items.add(new File([new Uint8Array(bytes)], name, {type}));
  for (const [type, text] of strings) data.setData(type, text);
  return data;
}"""


def drop(page: "Page", files: list[dict[str, Any]], strings: list[list[str]] | None = None) -> None:
    """Drop on the far edge of the page, away from the frame."""
    data = page.evaluate_handle(DROP, {"files": files, "strings": strings or []})
    for kind in ("dragover", "drop"):
        page.dispatch_event("footer", kind, {"dataTransfer": data})


def paste(page: "Page", files: list[dict[str, Any]]) -> None:
    data = page.evaluate_handle(DROP, {"files": files, "strings": []})
    page.evaluate(
        "data => document.dispatchEvent(new ClipboardEvent('paste', "
        "{clipboardData: data, bubbles: true, cancelable: true}))",
        data,
    )


def file(content: bytes, name: str = "boot.png", kind: str = "image/png") -> dict[str, Any]:
    return {"name": name, "type": kind, "bytes": list(content)}


def choose(page: "Page", content: bytes, name: str = "boot.png", kind: str = "image/png") -> None:
    page.set_input_files("[data-door=choose]", upload(content, name, kind))


def heading(page: "Page") -> str:
    return page.inner_text(".answer h2")


def is_boot(page: "Page") -> None:
    page.wait_for_selector("main[data-state=answer] .answer h2:text-is('Ankle boot')")


def notice(page: "Page") -> str:
    page.wait_for_selector(".notice")
    return page.inner_text(".notice")


def test_the_first_sample_is_answered_at_once(visit: Visit) -> None:
    page = visit()

    assert page.inner_text(".hint") == "A sample. Now yours."
    assert heading(page) == "T-shirt/top"
    assert re.match(
        r"T-shirt/top, (\d\d|more than 99) percent\.", page.text_content("#status") or ""
    )


def test_a_chosen_file_is_answered(visit: Visit, boot: bytes) -> None:
    page = visit()

    choose(page, boot)

    is_boot(page)
    assert "Ankle boot" in (page.text_content("#status") or "")


def test_a_picture_dropped_on_the_edge_is_answered(visit: Visit, boot: bytes) -> None:
    page = visit()

    drop(page, [file(boot)])

    is_boot(page)
    assert page.is_hidden("#curtain")


def test_a_real_drop_on_the_frame_is_answered(visit: Visit, boot: bytes) -> None:
    page = visit()

    page.locator(".frame").drop({"files": [upload(boot)]})

    is_boot(page)


def test_a_drop_in_another_view_leads_to_the_answer(visit: Visit, boot: bytes) -> None:
    page = visit("#/architecture", ready="empty")
    page.wait_for_selector(".net")

    drop(page, [file(boot)])

    is_boot(page)
    assert page.is_visible("#try")


def test_a_pasted_picture_is_answered_without_focus(visit: Visit, boot: bytes) -> None:
    page = visit()

    paste(page, [file(boot, "image.png")])

    is_boot(page)
    page.click(".terminal summary")
    assert page.is_visible("text=Save image.png for it")


def test_the_camera_gives_a_picture_and_is_let_go(visit: Visit) -> None:
    page = visit(permissions=["camera"])

    page.click("#camera")
    until(page, "document.querySelector('video')?.videoWidth > 0")
    page.evaluate("window.track = document.querySelector('video').srcObject.getTracks()[0]")
    page.click("text=Take the picture")

    page.wait_for_selector(".shot img[alt='camera.jpg']")
    page.wait_for_selector("main[data-state=answer]")
    assert page.evaluate("track.readyState") == "ended"
    assert page.locator("dialog").count() == 0


def test_escape_closes_the_camera_and_lets_it_go(visit: Visit) -> None:
    page = visit(permissions=["camera"])
    page.click("#camera")
    page.wait_for_selector("dialog[open]")
    page.evaluate("window.track = document.querySelector('video').srcObject.getTracks()[0]")

    page.keyboard.press("Escape")

    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("track.readyState") == "ended"


def test_a_refused_camera_leaves_the_other_doors(visit: Visit) -> None:
    refuse = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no') }"
    page = visit(before=lambda page: page.add_init_script(refuse))

    page.click("#camera")

    assert "The camera is not allowed for this page. Choose a file" in notice(page)


def test_without_a_secure_context_there_is_no_camera_button(visit: Visit) -> None:
    gone = "Object.defineProperty(navigator, 'mediaDevices', {value: undefined})"
    page = visit(before=lambda page: page.add_init_script(gone))

    assert page.locator("#camera").count() == 0


def test_a_sample_is_answered_and_marked(visit: Visit) -> None:
    page = visit()

    page.click(".thumb >> text=Ankle boot")

    is_boot(page)
    assert page.get_attribute(".thumb[data-path='samples/9.png']", "aria-pressed") == "true"


def test_a_link_a_text_and_nothing_are_three_sentences(visit: Visit, watch: Watch) -> None:
    watch.allowed.append("status of 4")
    page = visit()
    said = []

    drop(page, [], [["text/uri-list", "https://example.org/boot.png"]])
    said.append(notice(page))
    drop(page, [file(b"a letter", "letter.txt", "text/plain")])
    page.wait_for_selector("text=letter.txt")
    said.append(notice(page))
    drop(page, [file(b"", "empty.png")])
    page.wait_for_selector("text=empty.png")
    said.append(notice(page))

    assert "Save the picture first" in said[0]
    assert "Unprocessable" in said[1]
    assert "The body is empty" in said[2]
    assert all("JPEG, PNG, WebP, GIF or BMP up to 1 MiB" in text for text in said[1:])
    assert len(set(said)) == 3
    assert heading(page) == "T-shirt/top"
    assert page.get_attribute(".shot img", "alt") == "Sample: T-shirt/top"


def test_a_paste_without_a_picture_says_so(visit: Visit) -> None:
    page = visit()

    paste(page, [])

    assert "There is no picture on the clipboard." in notice(page)


def test_a_file_that_is_too_large_gets_the_limit(visit: Visit, watch: Watch) -> None:
    watch.allowed += ["status of 413", "ERR_"]
    page = visit()

    choose(page, b"\x89PNG" + bytes(2**20))

    assert "1 MiB" in notice(page) or "1,048,576" in notice(page)


def test_a_picture_no_browser_can_show_gets_its_name_and_the_services_reason(
    visit: Visit, watch: Watch
) -> None:
    watch.allowed.append("status of 422")
    page = visit()

    choose(page, b"\0\0\0\x18ftypheic" + bytes(40), "phone.heic", "image/heic")

    assert "phone.heic: Unprocessable" in notice(page)
    assert "no JPEG, PNG, WEBP, GIF or BMP file" in notice(page)


def problem(status: int, code: str, retry: str | None = None) -> Callable[["Route"], None]:
    def answer(route: "Route") -> None:
        body = {"title": f"Title {status}", "detail": "Its own words.", "code": code}
        headers = {"content-type": "application/problem+json"}
        route.fulfill(
            status=status,
            body=json.dumps({**body, "status": status}),
            headers=headers | ({"retry-after": retry} if retry else {}),
        )

    return answer


def test_a_full_server_is_asked_again_as_it_says(visit: Visit, watch: Watch) -> None:
    watch.allowed.append("status of 503")
    page = visit()
    page.route("**/predict*", problem(503, "overloaded", "1"), times=1)

    page.click(".thumb >> text=Ankle boot")

    assert "The server is full. Trying again in 1 s" in notice(page)
    is_boot(page)


def test_a_full_server_is_asked_three_times_at_most(visit: Visit, watch: Watch) -> None:
    watch.allowed.append("status of 503")
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/predict*", problem(503, "overloaded", "1"))

    page.click(".thumb >> text=Ankle boot")
    page.wait_for_selector("main[data-state=refused]")

    assert len([url for url in asked if "predict" in url]) == 3
    assert page.is_visible("text=Try again")


def test_waiting_for_a_full_server_can_be_stopped(visit: Visit, watch: Watch) -> None:
    watch.allowed.append("status of 503")
    page = visit()
    page.route("**/predict*", problem(503, "overloaded", "30"))

    page.click(".thumb >> text=Ankle boot")
    page.click("text=Stop")

    page.wait_for_selector("main[data-state=refused]")
    assert heading(page) == "T-shirt/top"


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [(503, "not_ready", "draining"), (504, "deadline_exceeded", "refused")],
)
def test_the_services_own_words_and_a_way_out(
    visit: Visit, watch: Watch, status: int, code: str, state: str
) -> None:
    watch.allowed.append(f"status of {status}")
    page = visit()
    page.route("**/predict*", problem(status, code), times=1)

    page.click(".thumb >> text=Ankle boot")

    page.wait_for_selector(f"main[data-state={state}]")
    assert "Its own words." in notice(page)
    page.click("text=Try again")
    is_boot(page)


def test_a_server_that_is_gone_can_be_asked_again(visit: Visit, watch: Watch) -> None:
    watch.allowed.append("ERR_INTERNET_DISCONNECTED")
    page = visit()
    page.context.set_offline(True)

    page.click(".thumb >> text=Ankle boot")

    page.wait_for_selector("main[data-state=unreachable]")
    assert "No server at 127.0.0.1:" in notice(page)
    assert "No server" in (page.text_content("#status") or "")
    page.context.set_offline(False)
    page.click("text=Try again")
    is_boot(page)


def test_a_newer_picture_aborts_the_older(visit: Visit) -> None:
    page = visit()

    def never_answer(route: "Route") -> None:
        pass

    page.route("**/predict*", never_answer, times=1)

    page.click(".thumb >> text=Bag")
    page.wait_for_selector("text=Asking fashion-mnist")
    assert "stale" in (page.get_attribute(".answer", "class") or "")
    with page.expect_event("requestfailed"):
        page.click(".thumb >> text=Ankle boot")

    is_boot(page)
    assert page.locator(".notice").count() == 0


def test_a_bar_is_as_long_as_its_probability(visit: Visit) -> None:
    page = visit()

    for line in page.locator(".bars li").all():
        figure = line.locator(".figure").inner_text()
        part = line.locator(".part").bounding_box()
        frame = line.locator(".meter").bounding_box()
        assert frame
        if part and (found := re.fullmatch(r"([\d.]+) %", figure)):
            assert abs(100 * part["width"] / frame["width"] - float(found[1])) < 0.3
    assert "100 %" not in page.inner_text("main")


def test_no_probability_is_rounded_to_certainty(visit: Visit) -> None:
    page = visit()

    for top, shown, spoken in (
        (0.99999, "> 99.9 %", "more than 99 percent"),
        (0.9994, "99.9 %", "more than 99 percent"),
        (0.969, "96.9 %", "97 percent"),
    ):
        page.route("**/predict*", stub(top))
        page.click(".thumb >> text=Bag")
        page.wait_for_selector(f"main[data-state=answer] .large:text-is('{shown}')")

        assert page.locator(".bars .figure").all_inner_texts()[-1] == "< 0.1 %"
        assert page.text_content("#status") == f"Ankle boot, {spoken}."


def test_a_low_probability_is_no_heading(visit: Visit) -> None:
    page = visit(before=lambda page: page.route("**/predict*", stub(0.4)))

    assert heading(page) == "No label reaches 50 %."
    assert page.locator(".large").count() == 0


def stub(top: float, **more: Any) -> Callable[["Route"], None]:
    """An answer made up: one label at `top`, and whatever the result carries besides."""
    predictions = [
        {"label": "Ankle boot", "index": 9, "probability": top},
        {"label": "Sandal", "index": 5, "probability": 0.0001},
    ]
    model = {"name": "made-up", "version": "1", "precision": "float32", "provider": "cpu"}
    body = json.dumps({"model": model, "results": [{"predictions": predictions, **more}]})
    return lambda route: route.fulfill(body=body, content_type="application/json")


def test_it_says_whether_the_picture_looks_like_the_training_data(visit: Visit) -> None:
    page = visit()
    assert "Looks like the training data (score" in page.inner_text(".trust")

    for more, text in (
        (
            {"in_distribution": True, "score": 0.21, "threshold": 0.87},
            "Looks like the training data (score 0.21, limit 0.87)",
        ),
        ({"in_distribution": False, "score": 1.4}, "The figures below may mean nothing."),
    ):
        page.route("**/predict*", stub(0.9, **more))
        page.click(".thumb >> text=Bag")

        page.wait_for_selector(f".trust:has-text('{text}')")
        assert "like the training data." in (page.text_content("#status") or "")


def test_the_stages_of_the_server_are_told_apart(visit: Visit) -> None:
    page = visit()

    assert re.search(
        r"decode [\d.]+.*preprocess [\d.]+.*queue [\d.]+.*infer [\d.]+.*"
        r"= [\d.]+ ms server, \d+ ms in all",
        " ".join(page.inner_text(".times").split()),
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
def test_the_line_for_the_terminal_gives_the_same_figures(visit: Visit) -> None:
    page = visit()
    page.click(".terminal summary")
    command = page.inner_text(".command code")

    answer = json.loads(subprocess.check_output(["sh", "-c", command]))  # noqa: S607

    shown = json.loads(page.text_content(".json pre") or "")
    assert answer == shown


def with_map(page: "Page") -> None:
    """Let the service say that it explains, and point at the map's top left cell."""

    def card(route: "Route") -> None:
        found = route.fetch().json()
        found["options"] = sorted({*found["options"], "explain"})
        route.fulfill(json=found)

    def explain(route: "Route") -> None:
        cells = [[1.0 if row == column == 0 else 0.0 for column in range(4)] for row in range(4)]
        box = {"left": 0, "top": 10, "right": 40, "bottom": 50}  # of an upright 40 x 60
        explanation = {"label": "Bag", "index": 8, "map": cells, "box": box}
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


def test_the_map_lies_on_the_crop_of_a_turned_phone_picture(visit: Visit) -> None:
    page = visit(before=with_map)
    alpha = "c => [...c.getContext('2d').getImageData(0, 0, 4, 4).data].filter((_, i) => i % 4 > 2)"

    for turn in (1, 6, 8):
        choose(page, phone_picture(turn), f"turned{turn}.jpg", "image/jpeg")
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


def test_a_model_without_maps_says_so(visit: Visit) -> None:
    def without(page: "Page") -> None:
        def card(route: "Route") -> None:
            body = route.fetch().json()
            route.fulfill(json={**body, "options": ["top_k"]})

        page.route("**/card", card)

    page = visit(before=without)

    assert page.is_visible("text=Map of what counted: not recorded for this model.")


def test_a_server_without_samples_invites(visit: Visit) -> None:
    def card(route: "Route") -> None:
        route.fulfill(json={**route.fetch().json(), "samples": []})

    page = visit(ready="empty", before=lambda page: page.route("**/card", card))

    assert "Drop a picture anywhere, paste it (Ctrl+V)" in page.inner_text(".frame")
