"""The first view's doors: a file, a drop, the clipboard, the camera, a sample."""

import csv
import re
from typing import TYPE_CHECKING

from tests.page.conftest import Visit, Watch
from tests.page.first_view import choose, drop, file, heading, is_boot, notice, paste
from tests.page.given import until, upload

if TYPE_CHECKING:
    from playwright.sync_api import Route


def test_the_first_sample_is_answered_at_once(visit: Visit) -> None:
    page = visit()

    assert page.inner_text(".hint") == "This is a sample. Now try your own image."
    assert heading(page) == "T-shirt/top"
    assert re.match(
        r"T-shirt/top, (\d\d|more than 99) percent\.", page.text_content("#status") or ""
    )


def test_a_chosen_file_is_answered(visit: Visit, boot: bytes) -> None:
    page = visit()

    choose(page, boot)

    is_boot(page)
    assert "Ankle boot" in (page.text_content("#status") or "")


def test_an_image_dropped_on_the_edge_is_answered(visit: Visit, boot: bytes) -> None:
    page = visit()

    drop(page, [file(boot)])

    is_boot(page)
    assert page.is_hidden("#curtain")


def test_several_files_become_a_table_and_a_csv_of_which_one_may_fail(
    visit: Visit, boot: bytes, watch: Watch
) -> None:
    watch.allowed.append("422")
    page = visit()
    files = [upload(boot, "=boot.png"), upload(b"text", "note.txt"), upload(boot, "b.png")]

    page.set_input_files("[data-door=choose]", files)
    page.wait_for_selector(".many [role=status]:text-is('3 of 3 done')")
    with page.expect_download() as saved:
        page.click("text=Save as CSV")
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))

    assert [row["label"] for row in rows] == ["Ankle boot", "", "Ankle boot"]
    assert rows[0]["file"] == "'=boot.png"
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert page.locator(".many tbody tr").count() == 3
    assert heading(page) == "T-shirt/top"


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


def test_a_pasted_image_is_answered_without_focus(visit: Visit, boot: bytes) -> None:
    page = visit()

    paste(page, [file(boot, "image.png")])

    is_boot(page)
    page.click(".terminal summary")
    assert page.is_visible("text=Save image.png first")


def test_the_camera_gives_an_image_and_is_let_go(visit: Visit) -> None:
    page = visit(permissions=["camera"])

    page.click("#camera")
    until(page, "document.querySelector('video')?.videoWidth > 0")
    page.evaluate("window.track = document.querySelector('video').srcObject.getTracks()[0]")
    page.click("text=Take a photo")

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

    assert "This page may not use the camera. Choose a file" in notice(page)


def test_without_a_secure_context_there_is_no_camera_button(visit: Visit) -> None:
    gone = "Object.defineProperty(navigator, 'mediaDevices', {value: undefined})"
    page = visit(before=lambda page: page.add_init_script(gone))

    assert page.locator("#camera").count() == 0


def test_a_sample_is_answered_and_marked(visit: Visit) -> None:
    page = visit()

    page.click(".thumb >> text=Ankle boot")

    is_boot(page)
    assert page.get_attribute(".thumb[data-path='samples/9.png']", "aria-pressed") == "true"


def test_a_server_without_samples_invites(visit: Visit) -> None:
    def card(route: "Route") -> None:
        route.fulfill(json={**route.fetch().json(), "samples": []})

    page = visit(ready="empty", before=lambda page: page.route("**/card", card))

    assert "Drop an image anywhere, paste it (Ctrl+V)" in page.inner_text(".frame")
