"""The third view: every figure is the manifest's, and what is not there says so."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.page.conftest import Served, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ShowCard = Callable[..., "Page"]


@pytest.fixture
def show(visit: Visit) -> ShowCard:
    """Open the card of a manifest that was changed on its way."""

    def open_page(change: Callable[[dict[str, Any]], None] = lambda _: None) -> "Page":
        def answer(route: "Route") -> None:
            body = route.fetch().json()
            change(body["manifest"])
            route.fulfill(json=body)

        page = visit("#/card", ready="empty", before=lambda page: page.route("**/card", answer))
        page.wait_for_selector("#card h1")
        return page

    return open_page


def test_the_figures_are_the_manifests(show: ShowCard, served: Served) -> None:
    manifest = httpx.get(f"{served.url}card").json()["manifest"]
    page = show()

    text = page.inner_text("#card")
    assert f"{100 * manifest['metrics']['top1']:.1f} %" in page.inner_text("dl.verdict")
    assert f"{manifest['metrics']['n']:,}" in text
    assert manifest["provenance"]["dataset_sha256"] in text
    assert manifest["provenance"]["created"] in text
    assert all(file["sha256"] in text for file in manifest["files"].values())
    assert all(label in text for label in manifest["labels"])


def test_the_interval_is_wilsons(show: ShowCard) -> None:
    def ninety_of_hundred(manifest: dict[str, Any]) -> None:
        manifest["metrics"].update(top1=0.9, n=100)

    page = show(ninety_of_hundred)

    assert "82.6 % to 94.5 %" in page.inner_text("dl.verdict")  # Wilson 1927, by hand


def test_a_missing_field_reads_not_recorded(show: ShowCard) -> None:
    missing = {"nothing"}

    def remove(manifest: dict[str, Any]) -> None:
        for part in (manifest, manifest["provenance"], manifest["files"]["float32"]):
            part.update(dict.fromkeys(missing & part.keys()))

    page = show(remove)
    before = page.locator(".none").count()
    for name in ("metrics", "recipe", "commit", "dataset_sha256", "top1"):
        missing.clear()
        missing.add(name)
        page.reload()
        page.wait_for_selector("#card h1")

        text = page.inner_text("#card")
        assert page.locator(".none").count() > before, name
        assert "not recorded" in text
        assert not {"undefined", "null", "NaN"} & set(text.split())


def test_the_data_and_the_cost_of_training_are_shown(show: ShowCard) -> None:
    def tell(manifest: dict[str, Any]) -> None:
        manifest["data"] = {"licence": "MIT", "splits": {"train": 55_000, "test": 10_000}}
        manifest["provenance"]["cost"] = {
            "epochs": 85, "seconds": 6_000, "cpu_seconds": 11_000, "threads": 2, "processor": "AVX",
        }  # fmt: skip

    text = show(tell).inner_text("#card")

    assert "MIT" in text
    assert "train 55,000 · test 10,000" in text
    assert "100 min · epochs: 85 · CPU seconds: 11,000 · threads: 2 (AVX)" in text


def test_only_weights_that_nobody_trained_are_called_random(show: ShowCard) -> None:
    origin: dict[str, str | None] = {"recipe": None, "weights": None}

    def change(manifest: dict[str, Any]) -> None:
        manifest["metrics"] = None
        manifest["provenance"].update(origin)

    page = show(change)
    random = page.inner_text(".uses")
    origin["weights"] = "resnet50.pth, SHA-256 abc"
    page.reload()
    page.wait_for_selector("#card h1")

    assert "its weights are random" in random
    assert "random" not in page.inner_text(".uses")
    assert "resnet50.pth, SHA-256 abc" in page.inner_text("#card")


def measured(manifest: dict[str, Any]) -> None:
    """What an exporter may add: bins of reliability, and the confusions."""
    n = [0] * 7 + [10, 40, 60, 100, 200, 400, 900, 8290]
    bins = [
        {"confidence": (index + 0.5) / 15, "accuracy": max(0, index / 15), "n": count}
        for index, count in enumerate(n)
    ]
    side = len(manifest["labels"])
    matrix = [[1000 if row == column else 0 for column in range(side)] for row in range(side)]
    matrix[6][6], matrix[6][0] = 700, 300
    manifest["metrics"]["reliability"] = {"ece": 0.006, "bins": bins}
    manifest["metrics"]["confusion"] = matrix
    manifest["labels"][5] = (
        "A label that somebody gave a name of eighty characters, in a folder or in a table"
    )


def test_reliability_is_drawn_with_its_counts(show: ShowCard) -> None:
    page = show(measured)

    chart = page.locator(".part-reliability svg")
    assert "10,000 images; calibration error 0.60 %" in (chart.get_attribute("aria-label") or "")
    assert chart.locator(".count").count() == 15
    assert chart.locator(".gap").count() == 8
    assert chart.locator(".few").count() == 1


def test_labels_come_worst_recall_first_with_what_they_are_taken_for(show: ShowCard) -> None:
    page = show(measured)

    parts = ("labels", "confusions")
    rows = page.locator(".part-labels tbody tr").all_inner_texts()
    assert rows[0].split("\t") == [
        "Shirt", "1,000", "100.0 %", "70.0 %", "82.4 %", "T-shirt/top",
    ]  # fmt: skip
    assert page.locator(".confusion [data-depth='0']").first.inner_text() == ""
    assert page.locator(".confusion .diagonal").count() == 10
    spare = "box => box.clientWidth - box.scrollWidth"
    assert [page.locator(f".part-{one} .scrolls").evaluate(spare) for one in parts] == [0, 0]


def test_drift_is_shown_where_the_service_measures_it(visit: Visit) -> None:
    def serve(page: "Page") -> None:
        def card(route: "Route") -> None:
            body = route.fetch().json()
            route.fulfill(json={**body, "routes": [*body["routes"], "/drift"]})

        drift = {"quantities": {"brightness": {"psi": 0.31}, "confidence": {"psi": 0.02}}}
        page.route("**/card", card)
        page.route("**/drift", lambda route: route.fulfill(json=drift))

    page = visit("#/card", ready="empty", before=serve)

    page.wait_for_selector(".part-drift table")
    assert page.locator(".part-drift td").all_inner_texts() == ["0.310", "0.020"]


def test_what_the_page_does_not_know_is_shown_as_it_is(show: ShowCard) -> None:
    def add(manifest: dict[str, Any]) -> None:
        manifest["drift_reference"] = {"brightness": [1, 2, 3]}

    page = show(add)

    page.click("summary:has-text('drift_reference')")
    assert '"brightness"' in page.inner_text("details:has-text('drift_reference') pre")
