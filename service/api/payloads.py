"""Extract the image files from a request's body: raw, in a form, or base64 in JSON.

Knows no framework. Images are counted while they are parsed, so that never more than the limit are
in memory.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pydantic import ValidationError

from model.validation import first_fault
from service.api.json_text import as_utf8, from_base64, read_json
from service.api.media_types import body_kind, check_not_text
from service.api.multipart import read_form
from service.api.schemas import JsonImages
from service.errors import MalformedRequestError, ServiceError, TooManyImagesError
from service.memory import demand

SPARE_COMMAS = 100
"""Commas that JSON may have besides those between its images; checked before it is parsed, since
10 MB of zeros made 4 GB of objects and errors."""
_JSON_FORM = (
    'Send {"images": ["<base64>", ...]}, with a complete image file in base64 in '
    "each. Send options such as `top_k` in the query, and tensors to "
    "/v2/models/{name}/infer."
)


class Payloads(NamedTuple):
    """The content of a body: image files in the order sent, and options if it is a form."""

    images: list[bytes]
    fields: Mapping[str, str] = MappingProxyType({})


def read_payloads(
    body: bytes, content_type: str | None, max_images: int, options: Collection[str] = ()
) -> Payloads:
    """Extract the image files from a body.

    Args:
        body: All of it.
        content_type: The header; for a form it names the boundary.
        max_images: In one request.
        options: Names of the form fields to return besides the files.

    Raises:
        ServiceError: If the body is malformed, or has no images or too many.
    """
    match body_kind(content_type):
        case "form":
            return Payloads(*read_form(body, content_type or "", max_images, options))
        case "json":
            return Payloads(_from_json(as_utf8(body), max_images))
        case "raw":
            return raw_payload(body, content_type)


def raw_payload(body: bytes, content_type: str | None) -> Payloads:
    """Read a body as one image file.

    Raises:
        UnsupportedMediaTypeError: If it is text, which needs another content type.
    """
    check_not_text(body, content_type)
    return Payloads([body])


def _from_json(text: bytes, max_images: int) -> list[bytes]:
    # base64 has no commas: there is one between two images, and one in a `data:` prefix
    commas, limit = text.count(b","), 2 * max_images + SPARE_COMMAS
    if commas > limit:
        raise _too_many_items(text, commas, max_images)
    demand(3 * len(text))
    try:
        images = read_json(JsonImages, text).images
    except ValidationError as error:
        where, _, rule = first_fault(error)
        raise MalformedRequestError(f"{where[:100] or 'the body'}: {rule}. {_JSON_FORM}") from error
    if len(images) > max_images:
        raise TooManyImagesError(max_images)
    return [from_base64(text, index) for index, text in enumerate(images)]


def _too_many_items(text: bytes, commas: int, max_images: int) -> ServiceError:
    """Return the error for JSON of too many items, without parsing it."""
    texts = text.count(b'"') // 2 - 2 * text.count(b'":')  # without the keys, and as many values
    if texts > max_images:
        return TooManyImagesError(max_images)
    return MalformedRequestError(
        f"The JSON has {commas:,} commas, more than {max_images} images need. {_JSON_FORM}"
    )
