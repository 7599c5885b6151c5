"""What a service may ask or offer before its answers: a key, a choice of model."""

from typing import TYPE_CHECKING

import httpx

from tests.page.conftest import Served, Visit, Watch
from tests.page.first_view import heading, stub

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route


def _locked(page: "Page") -> None:
    """Stand in for a service with RESNET_API_KEYS_FILE whose page is public."""

    def answer(route: "Route") -> None:
        path = route.request.url.split("/", 3)[3]
        is_public = path in {"", "docs", "readyz"} or path.startswith("static/")
        if is_public or route.request.headers.get("authorization") == "Bearer right":
            route.continue_()
        else:
            route.fulfill(status=401, json={"status": 401, "code": "unauthorized"})

    page.route(lambda url: url.startswith("http"), answer)


def test_a_key_is_asked_for_kept_for_the_tab_and_forgotten_when_refused(
    visit: Visit, watch: Watch
) -> None:
    watch.allowed.append("401")
    page = visit(ready="empty", before=_locked)
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog [role=alert]:text-is('This key was rejected.')")
    assert page.evaluate("sessionStorage.getItem('resnet.key')") is None
    page.fill("#key", "right")
    page.keyboard.press("Enter")

    page.wait_for_selector("main[data-state=answer]")
    page.wait_for_selector(".thumb img[src^='blob:']")
    assert 'curl -s -H "Authorization: Bearer $KEY"' in (page.text_content(".command") or "")
    page.reload()
    page.wait_for_selector("main[data-state=answer]")
    assert page.locator("dialog").count() == 0


def test_swagger_ui_asks_for_the_key_and_works_under_its_policy(visit: Visit, watch: Watch) -> None:
    watch.allowed.append("401")
    page = visit("docs", ready=None, before=_locked)

    page.wait_for_selector("#key")
    page.keyboard.press("Escape")
    page.wait_for_selector("#swagger-ui >> text=This service needs a key")
    page.click("text=Try again")
    page.fill("#key", "right")
    page.keyboard.press("Enter")

    page.wait_for_selector("text=Classify images", timeout=30_000)  # two megabytes of script


def test_without_a_key_the_page_says_that_it_needs_one(visit: Visit, watch: Watch) -> None:
    watch.allowed.append("401")
    page = visit(ready="empty", before=_locked)

    page.wait_for_selector("#key")
    page.keyboard.press("Escape")

    page.wait_for_selector("#try >> text=This service needs a key")
    page.click("nav >> text=Model card")
    assert page.inner_text("#card").startswith("This service needs a key")
    assert "does not answer" not in page.inner_text("body")
    assert "null" not in page.inner_text("body")


def test_of_several_models_the_one_in_the_address_is_asked(visit: Visit, served: Served) -> None:
    listed = httpx.get(f"{served.url}models").json()
    name = listed["models"][0]["name"]
    listed["models"].insert(0, {**listed["models"][0], "name": "other"})
    listed["models"][1]["default"] = False
    asked: list[str] = []

    def before(page: "Page") -> None:
        page.route("**/models", lambda route: route.fulfill(json=listed))
        page.on("request", lambda request: asked.append(request.url))

    page = visit(f"?model={name}", before=before)

    assert page.locator("#models option").all_inner_texts() == ["other", name]
    assert page.input_value("#models") == name
    assert page.get_attribute("footer [data-file='card.json']", "href") == f"models/{name}/card"
    for part in ("card", "predict", "samples/0.png"):
        assert any(url.startswith(f"{served.url}models/{name}/{part}") for url in asked)


def test_of_several_versions_the_one_in_the_address_is_asked(visit: Visit, served: Served) -> None:
    listed = httpx.get(f"{served.url}models").json()
    name = listed["default"]["name"]
    listed["models"][0] |= {"versions": ["1", "2"], "aliases": {"canary": "1"}}
    asked: list[str] = []

    def before(page: "Page") -> None:
        page.route("**/models", lambda route: route.fulfill(json=listed))
        page.on("request", lambda request: asked.append(request.url))

    page = visit("?version=canary", before=before)

    assert page.locator("#models").is_hidden()
    assert page.locator("#versions option").all_inner_texts() == ["v1 · canary", "v2"]
    assert page.input_value("#versions") == "1"
    for part in ("card", "predict", "samples/0.png"):
        assert any(url.startswith(f"{served.url}models/{name}/versions/1/{part}") for url in asked)


def test_an_image_unlike_the_training_data_is_unknown(visit: Visit) -> None:
    page = visit(
        before=lambda page: page.route("**/predict*", stub(0.9, in_distribution=False, score=0.1))
    )

    assert heading(page) == "Unknown"
    assert page.locator(".large").count() == 0
    assert page.inner_text(".unsure p") == "The network's answer would be Ankle boot, 90.0 %."
    assert page.text_content("#status") == "Unknown. Does not look like the training data."


def test_without_a_threshold_the_page_says_why_and_ticks_nothing(visit: Visit) -> None:
    def answer(route: "Route") -> None:
        body = route.fetch().json()
        manifest = body["manifest"]
        for file in manifest["files"].values():
            file["refusal"] = {"threshold": None, "accepted": None, "left_out": "too few images"}
            file["prediction_sets"] = None
        manifest["labels"] = manifest["labels"][:5]
        route.fulfill(json=body)

    def before(page: "Page") -> None:
        page.route("**/card", answer)
        page.route("**/predict*", stub(0.9, score=0.1))

    page = visit(before=before)
    page.click("text=Why?")
    assert page.inner_text(".trust details p") == "too few images"
    assert "✓" not in page.inner_text("main")
    page.click("nav >> text=Model card")
    assert "Top-5" not in page.inner_text("#card dl.verdict")
