"""Which characters a name may have, and when two names are one."""

import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from model.printable import JOINERS, Label, Text, as_seen, hidden_in

EVERY_CHARACTER = "".join(map(chr, range(sys.maxunicode + 1)))


ADAPTERS: dict[str, TypeAdapter[str]] = {"label": TypeAdapter(Label), "text": TypeAdapter(Text)}


def _is_taken(kind: str, text: str) -> bool:
    try:
        ADAPTERS[kind].validate_python(text)
    except ValidationError:
        return False
    return True


def test_a_name_that_is_taken_now_is_taken_by_every_manifest() -> None:
    visible = [c for c in EVERY_CHARACTER if not hidden_in(c)]

    text = "".join(visible)
    chunks = [text[at : at + 400] for at in range(0, len(text), 400)]

    assert len(visible) > 100_000
    assert all(_is_taken("label", f"x{chunk}") for chunk in chunks)


@pytest.mark.parametrize(
    ("character", "is_in_a_name", "is_in_a_manifest"),
    [
        ("a", True, True),
        ("\u00a0", True, True),  # no-break space
        ("\u200d", True, True),  # zero width joiner
        ("\u00ad", False, True),  # soft hyphen
        ("\u200b", False, True),  # zero width space
        ("\u200f", False, True),  # right-to-left mark
        ("\ue000", False, True),  # private use
        ("\n", False, False),
        ("\x1b", False, False),
        ("\x85", False, False),  # next line
        ("\u2028", False, False),  # line separator
        ("\u202e", False, False),  # right-to-left override
        ("\ud800", False, False),  # half a character
    ],
)
def test_a_new_name_may_have_less_than_a_manifest_is_refused_for(
    character: str, is_in_a_name: bool, is_in_a_manifest: bool
) -> None:
    assert (hidden_in(f"a{character}") == "") is is_in_a_name
    assert _is_taken("label", f"a{character}") is is_in_a_manifest
    assert _is_taken("text", f"a{character}") is is_in_a_manifest


def test_the_first_character_that_cannot_be_seen_is_given() -> None:
    assert hidden_in("a\u200b\x1b") == "\u200b"


@pytest.mark.parametrize(
    ("one", "other", "alike", "alike_folded"),
    [
        ("caf\u00e9", "cafe\u0301", True, True),
        ("cafe\u200b\u0301", "caf\u00e9", True, True),
        ("hot\u00a0 dog ", "hot dog", True, True),
        (f"cat{JOINERS}", "cat", True, True),
        ("Cat", "cat", False, True),
        ("STRASSE", "stra\u00dfe", False, True),
        ("\uff11", "1", False, True),
        ("cat", "dog", False, False),
    ],
)
def test_names_that_look_alike_are_one(
    one: str, other: str, alike: bool, alike_folded: bool
) -> None:
    assert (as_seen(one) == as_seen(other)) is alike
    assert (as_seen(one, fold=True) == as_seen(other, fold=True)) is alike_folded


@pytest.mark.parametrize("text", ["", " ", "\u3000", "\u200d", "\u200b \u00ad"])
def test_of_what_cannot_be_seen_nothing_is_left(text: str) -> None:
    assert not as_seen(text)
    assert not _is_taken("label", text)
