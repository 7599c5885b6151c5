"""Text of a manifest that is shown: in logs, terminals and pages, and compared by people."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, halves of characters, and what reorders the text around it
(Boucher and Anderson, "Trojan Source", 2021, arXiv 2111.00169)."""


def _printable(text: str) -> str:
    if found := _HIDDEN.search(text):
        raise ValueError(
            f"must be printable; U+{ord(found[0]):04X} at position {found.start()} is not"
        )
    return text


def _visible(text: str) -> str:
    if not as_seen(text):
        raise ValueError("must have a character that can be seen")
    return text


def as_seen(text: str) -> str:
    """Bring a label to what a reader sees: one form of each letter, no blanks to overlook."""
    shown = "".join(
        c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf"
    )
    return " ".join(shown.split())


Text = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_printable)]
"""One line that may be shown anywhere."""
Label = Annotated[
    str, StringConstraints(max_length=500), AfterValidator(_printable), AfterValidator(_visible)
]
"""The name of a class."""
