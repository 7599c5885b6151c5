"""JSON and base64 as clients really write them: encodings, line breaks, prefixes."""

import base64
import binascii
import json
import string
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import MalformedRequestError

Model = TypeVar("Model", bound=BaseModel)
BREAKS = b"\r\n\t"
BLANKS = b"\0 \r\n\t"
BEGINNINGS = (b"{", b"[", b"\xef", b"\xfe", b"\xff")
"""Of JSON and of byte order marks; zeros before and between them are those of UTF-16 and UTF-32."""
URL_SAFE, WHITE_SPACE = bytes.maketrans(b"-_", b"+/"), string.whitespace.encode()


def as_utf8(text: bytes) -> bytes:
    """Take off a byte order mark, and turn UTF-16 and UTF-32 into UTF-8.

    Raises:
        MalformedRequestError: If the bytes are not of the encoding that they begin in.
    """
    encoding = json.detect_encoding(text)
    if encoding == "utf-8" or not text[:64].lstrip(BLANKS).startswith(BEGINNINGS):
        return text
    try:
        return text.decode(encoding).lstrip("\ufeff").encode()
    except UnicodeError as error:
        raise MalformedRequestError(
            f"The JSON begins as {encoding} and cannot be read as that. Send it in UTF-8."
        ) from error


def read_json(model: type[Model], text: bytes) -> Model:
    """Validate JSON in UTF-8.

    Line breaks within texts, as `base64` writes them, are passed over.

    Raises:
        ValidationError: If it is no JSON, or not what the model says.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        if (
            "control character"
            not in error.errors(include_url=False, include_input=False)[0]["msg"]
        ):
            raise
    return model.model_validate_json(text.translate(None, BREAKS))


def from_base64(text: str, index: int) -> bytes:
    """Decode the image of that index in the request.

    Raises:
        MalformedRequestError: If it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # by far the most are as they should be
        pass
    try:
        return base64.b64decode(_plain(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequestError(
            f"Image {index} is not base64 ({error}). Send the file's bytes in base64.", index=index
        ) from error


def _plain(text: str) -> bytes:
    """Take off a `data:` prefix, white space and padding; take the alphabet for URLs, too."""
    start = text[:1000].lstrip()
    if start[:5].lower() == "data:":
        prefix, comma, _ = start.partition(",")
        if not comma or not prefix.lower().endswith(";base64"):
            raise ValueError("a `data:` prefix must end in `;base64,`")
        text = text[text.index(",") + 1 :]
    letters = text.encode("ascii", "replace").translate(URL_SAFE, WHITE_SPACE).rstrip(b"=")
    return letters + b"=" * (-len(letters) % 4)
