"""Whether a request's body is a form, JSON, or one image file, by its content type.

The format of an image file is read from its bytes, so all media types of images, and of unknown
bytes, are treated alike. Text in place of an image file is rejected with what it seems to be.
"""

import re
from functools import lru_cache
from typing import Literal

from service.errors import UnsupportedMediaTypeError

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp")
RAW_TYPES = (*IMAGE_TYPES, "application/octet-stream")
"""The media types in the documentation."""
MULTIPART, JSON = "multipart/form-data", "application/json"
URLENCODED = "application/x-www-form-urlencoded"
ACCEPTED = (*RAW_TYPES, MULTIPART, JSON)

BodyKind = Literal["raw", "form", "json"]

_OTHER_KINDS = ("text/", "audio/", "video/", "multipart/")
_WAY_OUT = (
    f"Send one of {', '.join(ACCEPTED)}. With curl: --data-binary @image.png -H 'content-type: "
    "image/png', or -F file=@image.png."
)
_TEXT = re.compile(
    rb"(?P<json>(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff\0)?\s{0,64}[{\[])"
    rb"|(?P<form>(?:\r\n){0,9}--[^\r\n]{1,256}\r?\ncontent-)"
    rb"|(?P<base64>\s{0,9}(?:data:|iVBORw0KGgo|/9j/|R0lGOD|UklGR))",
    re.IGNORECASE,
)
_TEXT_KINDS = {
    "json": "JSON. Send it with content type application/json.",
    "form": "a form. Send it with content type multipart/form-data and the form's boundary. "
    "Most clients set both if you set no content type.",
    "base64": "an image in base64. Send the file's own bytes, or JSON: "
    '{"images": ["<base64>"]} with content type application/json.',
}


@lru_cache(64)
def body_kind(content_type: str | None) -> BodyKind:
    """Return whether a body is a form, JSON, or one image file.

    Raises:
        UnsupportedMediaTypeError: If it is text, audio, video, or another kind of form.
    """
    if content_type is None:
        return "raw"
    name = content_type.partition(";")[0].strip().lower()
    if name == MULTIPART:
        return "form"
    if name in {JSON, "text/json"} or name.endswith("+json"):
        return "json"
    if name.startswith(_OTHER_KINDS) and name != "text/plain":
        raise UnsupportedMediaTypeError(f"The content type is {name[:100]!r}. {_WAY_OUT}")
    return "raw"


def check_not_text(body: bytes, content_type: str | None) -> None:
    """Reject text in place of an image file, and say what it seems to be.

    Raises:
        UnsupportedMediaTypeError: If the body is JSON, a form, or base64.
    """
    found = _TEXT.match(body)
    if found is not None:
        raise UnsupportedMediaTypeError(
            f"The content type is {_shown(content_type)}, and the body looks like "
            f"{_TEXT_KINDS[str(found.lastgroup)]}"
        )
    # also curl's default for --data-binary; a form of this type, and a file that `curl -d` has
    # changed, have no zero byte, and every image file has one
    if content_type is not None and content_type.lower().startswith(URLENCODED) and 0 not in body:
        raise UnsupportedMediaTypeError(
            f"The content type is {URLENCODED!r}, and the body is such a form, or a file from "
            f"which `curl -d` has removed bytes. {_WAY_OUT}"
        )


def _shown(content_type: str | None) -> str:
    return "not given" if not content_type else repr(content_type[:100])
