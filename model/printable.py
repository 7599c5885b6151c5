"""Text that is shown: in logs, terminals and pages, and compared by people.

There are two rules. A manifest is refused for what endangers its reader: control characters, and
what reorders the text around it. A name that is given now, by a folder or a file of labels, may
have no character that cannot be seen (`hidden_in`). The manifest is not so strict, since it may
have labels of an earlier version.
"""

import codecs
import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

MAX_LABEL_LENGTH = 500
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
JOINERS = "\u200c\u200d"
"""Shape the letters beside them, as in Persian, and make one sign of several emoji."""
_DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, halves of characters, and what reorders the text around it
(Boucher and Anderson, "Trojan Source", 2021, arXiv 2111.00169)."""


def decode_text(content: bytes) -> str:
    """Decode a file of text in UTF-8, or in the encoding that its byte order mark names.

    Raises:
        UnicodeDecodeError: If it is not in that encoding.
    """
    marked = (name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark))
    return content.decode(next(marked, "utf-8"))


def hidden_in(name: str) -> str:
    """Give the first character of a name that cannot be seen; empty if there is none."""
    return next(
        (
            character
            for character in name
            if not character.isprintable()
            and unicodedata.category(character) != "Zs"
            and character not in JOINERS
        ),
        "",
    )


def as_seen(text: str, *, fold: bool = False) -> str:
    """Bring a label to what a reader sees, to compare it: empty if that is nothing.

    Args:
        text: The label. Characters without a form, and blanks beyond one, do not count.
        fold: Whether case and forms of one letter do not count either. Names of folders must
            differ in more than those; a list of labels, such as ImageNet's, may have both.
    """
    shown = "".join(c for c in text if unicodedata.category(c) != "Cf")
    form = unicodedata.normalize("NFKC" if fold else "NFC", shown)
    return " ".join((form.casefold() if fold else form).split())


def _printable(text: str) -> str:
    if found := _DANGEROUS.search(text):
        raise ValueError(
            f"must be printable; U+{ord(found[0]):04X} at position {found.start()} is not"
        )
    return text


def _visible(text: str) -> str:
    if not as_seen(text):
        raise ValueError("must have a character that can be seen")
    return text


Text = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_printable)]
"""One line that may be shown anywhere."""
Label = Annotated[
    str,
    StringConstraints(max_length=MAX_LABEL_LENGTH),
    AfterValidator(_printable),
    AfterValidator(_visible),
]
"""The name of a class."""
