"""JSON and base64 in the variants that clients send: encodings, line breaks, prefixes."""

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
"""Of JSON and of byte order marks, after the zeros of UTF-16 and UTF-32."""
URL_SAFE, WHITE_SPACE = bytes.maketrans(b"-_", b"+/"), string.whitespace.encode()


def as_utf8(text: bytes) -> bytes:
    """Remove a byte order mark, and convert UTF-16 and UTF-32 to UTF-8.

    Raises:
        MalformedRequestError: If the bytes are not valid in their encoding.
    """
    encoding = json.detect_encoding(text)
    if encoding == "utf-8" or not text[:64].lstrip(BLANKS).startswith(BEGINNINGS):
        return text
    try:
        return text.decode(encoding).lstrip("\ufeff").encode()
    except UnicodeError as error:
        raise MalformedRequestError(
            f"The JSON starts like {encoding}, but is not valid. Send it in UTF-8."
        ) from error


def read_json(model: type[Model], text: bytes) -> Model:
    """Validate JSON in UTF-8.

    Line breaks within strings, as `base64` writes them, are accepted.

    Raises:
        ValidationError: If it is not JSON, or does not match the model.
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
    """Decode an image; `index` is its position in the request.

    Raises:
        MalformedRequestError: If it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # by far the most common form
        pass
    try:
        return base64.b64decode(_plain(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequestError(
            f"Image {index} is not base64 ({error}). Send the file's bytes in base64.", index=index
        ) from error


def _plain(text: str) -> bytes:
    """Remove a `data:` prefix, white space and padding; convert the alphabet for URLs."""
    start = text[:1000].lstrip()
    if start[:5].lower() == "data:":
        prefix, comma, _ = start.partition(",")
        if not comma or not prefix.lower().endswith(";base64"):
            raise ValueError("a `data:` prefix must end in `;base64,`")
        text = text[text.index(",") + 1 :]
    letters = text.encode("ascii", "replace").translate(URL_SAFE, WHITE_SPACE).rstrip(b"=")
    return letters + b"=" * (-len(letters) % 4)
