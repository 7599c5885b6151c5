"""The first view's answer: its bars and figures, trust, times, the line for the terminal."""

import json
import re
import shutil
import subprocess

import pytest

from tests.page.conftest import Visit
from tests.page.first_view import heading, stub


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


def test_it_says_whether_the_image_looks_like_the_training_data(visit: Visit) -> None:
    page = visit()
    assert "Looks like the training data (score" in page.inner_text(".trust")

    for more, text in (
        (
            {"in_distribution": True, "score": 0.21, "threshold": 0.87},
            "Looks like the training data (score 0.21, threshold 0.87)",
        ),
        ({"in_distribution": False, "score": 1.4}, "The figures below may be meaningless."),
    ):
        page.route("**/predict*", stub(0.9, **more))
        page.click(".thumb >> text=Bag")

        page.wait_for_selector(f".trust:has-text('{text}')")
        assert "like the training data." in (page.text_content("#status") or "")


def test_the_stages_of_the_server_are_told_apart(visit: Visit) -> None:
    page = visit()

    assert re.search(
        r"decode [\d.]+.*preprocess [\d.]+.*queue [\d.]+.*infer [\d.]+.*"
        r"= [\d.]+ ms on the server, \d+ ms in total",
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
