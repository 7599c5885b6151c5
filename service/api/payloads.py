"""From a request's body to the image files in it: raw, in a form, or base64 in JSON.

No framework here. Images are counted while they are parsed, so that no more than the limit
are ever held.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pydantic import ValidationError

from model.validation import first_fault
from service.api.json_text import as_utf8, from_base64, read_json
from service.api.media_types import body_kind, refuse_text
from service.api.multipart import read_form
from service.api.schemas import JsonImages
from service.errors import MalformedRequestError, ServiceError, TooManyImagesError
from service.memory import demand

SPARE_COMMAS = 100
"""What JSON may have beside those that its images need, before it is parsed: 10 MB of zeros made
4 GB of objects and errors."""
_JSON_FORM = (
    'Send {"images": ["<base64>", ...]}, each a whole image file in base64; options such as '
    "`top_k` go into the query, and tensors to /v2/models/{name}/infer."
)


class Payloads(NamedTuple):
    """What a body holds: image files in the order sent, and options if it is a form."""

    images: list[bytes]
    fields: Mapping[str, str] = MappingProxyType({})


def read_payloads(
    body: bytes, content_type: str | None, max_images: int, options: Collection[str] = ()
) -> Payloads:
    """Take the image files out of a body.

    Args:
        body: All of it.
        content_type: The header; for a form it holds the boundary.
        max_images: In one request.
        options: Names of the form fields that are wanted beside the files.

    Raises:
        ServiceError: If the body breaks its format, or holds none or too many.
    """
    match body_kind(content_type):
        case "form":
            return Payloads(*read_form(body, content_type or "", max_images, options))
        case "json":
            return Payloads(_from_json(as_utf8(body), max_images))
        case "raw":
            return raw_payload(body, content_type)


def raw_payload(body: bytes, content_type: str | None) -> Payloads:
    """Take a body for one image file.

    Raises:
        UnsupportedMediaTypeError: If it is text that another content type is for.
    """
    refuse_text(body, content_type)
    return Payloads([body])


def _from_json(text: bytes, max_images: int) -> list[bytes]:
    # base64 has no commas, so one stands between two images, and one within a `data:` prefix
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
    """Tell too many images from other JSON of many items, without parsing it."""
    texts = text.count(b'"') // 2 - 2 * text.count(b'":')  # less keys, and as many values
    if texts > max_images:
        return TooManyImagesError(max_images)
    return MalformedRequestError(
        f"The JSON has {commas:,} commas, more than {max_images} images need. {_JSON_FORM}"
    )
