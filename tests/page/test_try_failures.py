"""The first view's ways to fail: no image, one that is refused, a server that is full or gone."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.page.conftest import Visit, Watch
from tests.page.first_view import choose, drop, file, heading, is_boot, notice, paste

if TYPE_CHECKING:
    from playwright.sync_api import Route


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

    assert "Save the image first" in said[0]
    assert "This image cannot be read" in said[1]
    assert "The body is empty" in said[2]
    assert all("JPEG, PNG, WebP, GIF or BMP up to 1 MiB" in text for text in said[1:])
    assert len(set(said)) == 3
    assert heading(page) == "T-shirt/top"
    assert page.get_attribute(".shot img", "alt") == "Sample: T-shirt/top"


def test_a_paste_without_an_image_says_so(visit: Visit) -> None:
    page = visit()

    paste(page, [])

    assert "There is no image on the clipboard." in notice(page)


def test_a_file_that_is_too_large_gets_the_limit(visit: Visit, watch: Watch) -> None:
    watch.allowed += ["status of 413", "ERR_"]
    page = visit()

    choose(page, b"\x89PNG" + bytes(2**20))

    assert "1 MiB" in notice(page) or "1,048,576" in notice(page)


def test_an_image_no_browser_can_show_gets_its_name_and_the_services_reason(
    visit: Visit, watch: Watch
) -> None:
    watch.allowed.append("status of 422")
    page = visit()

    choose(page, b"\0\0\0\x18ftypheic" + bytes(40), "phone.heic", "image/heic")

    assert "phone.heic: This image cannot be read" in notice(page)
    assert "not a JPEG, PNG, WEBP, GIF or BMP file" in notice(page)


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

    assert "The server is busy. Trying again in 1 s" in notice(page)
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
    assert "does not answer. Is the service still running?" in notice(page)
    assert "does not answer" in (page.text_content("#status") or "")
    page.wait_for_selector("#ready >> text=not ready")
    page.context.set_offline(False)
    page.click("text=Try again")
    is_boot(page)
    page.wait_for_selector("#ready[data-ready=true]")


def test_a_newer_image_aborts_the_older(visit: Visit) -> None:
    page = visit()

    def never_answer(route: "Route") -> None:
        pass

    page.route("**/predict*", never_answer, times=1)

    page.click(".thumb >> text=Bag")
    page.wait_for_selector("text=Sending to fashion-mnist")
    assert "stale" in (page.get_attribute(".answer", "class") or "")
    with page.expect_event("requestfailed"):
        page.click(".thumb >> text=Ankle boot")

    is_boot(page)
    assert page.locator(".notice").count() == 0
