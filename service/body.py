"""From a request's body to the picture files in it: raw, multipart, or base64 in JSON.

No framework here: chunks of bytes come in, whole files go out. Bytes are counted while
they arrive, pictures while they are parsed, so that nothing beyond a limit is ever held.
"""

import base64
import binascii
import io
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from model.validation import first_fault
from service.errors import (
    BodyTooLargeError,
    ClientLeftError,
    MalformedRequestError,
    TooManyImagesError,
    UnsupportedMediaTypeError,
)
from service.intake import Intake, Upload
from service.memory import demand
from service.schemas import JsonImages

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp")
RAW_TYPES = (*IMAGE_TYPES, "application/octet-stream")
MULTIPART, JSON = "multipart/form-data", "application/json"
ACCEPTED = (*RAW_TYPES, MULTIPART, JSON)
FILE_FIELD = b"file"
RECEIVE_TIMEOUT_S = 30.0
MAX_HEADER_BYTES = 16_384
"""Of one part of a multipart body."""

SPARE_COMMAS = 100
"""What JSON may have beside those that its pictures need, before it is parsed: 10 MB of zeros made
4 GB of objects and errors."""


def media_type(content_type: str | None) -> str:
    """Name the media type; a request that names none is taken for a raw image.

    Raises:
        UnsupportedMediaTypeError: If it is none that we read.
    """
    if not content_type:
        return "application/octet-stream"
    name = content_type.partition(";")[0].strip().lower()
    if name not in ACCEPTED:
        raise UnsupportedMediaTypeError(
            f"The content type is {name[:100]!r}; send one of {', '.join(ACCEPTED)}. With curl: "
            "--data-binary @picture.png -H 'content-type: image/png', or -F file=@picture.png."
        )
    return name


async def receive(
    next_message: Callable[[], Awaitable[MutableMapping[str, Any]]],
    declared_length: str | None,
    limit: int,
    timeout_s: float = RECEIVE_TIMEOUT_S,
    take: Upload | None = None,
) -> bytes:
    """Collect a body, no further than the limits of size and time.

    Args:
        next_message: ASGI's `receive`.
        declared_length: The Content-Length header; one over the limit is refused unread.
        limit: In bytes.
        timeout_s: For the whole body, however slowly it trickles.
        take: Counts the bytes among those of all requests; None: nothing does.

    Raises:
        BodyTooLargeError: If there is more than the limit.
        ReceiveTimeoutError: If the end does not come in time, or the bytes come too slowly.
        OverloadedError: If there is no room for them.
        ClientLeftError: If the client goes away meanwhile.
        MalformedRequestError: If the body is empty.
    """
    if declared_length is not None and declared_length.isdecimal() and int(declared_length) > limit:
        raise BodyTooLargeError(limit)
    upload = Intake(sys.maxsize).hold() if take is None else take
    body = io.BytesIO()  # gives its bytes away without copying them
    try:
        async with upload.clock(timeout_s):
            more = True
            while more:
                message = await next_message()
                if message["type"] == "http.disconnect":
                    raise ClientLeftError("The client closed the connection within the body.")
                chunk = message.get("body", b"")
                upload(len(chunk))
                body.write(chunk)
                more = message.get("more_body", False)
                if body.tell() > limit:
                    raise BodyTooLargeError(limit)
    except TimeoutError:
        raise upload.refusal(body.tell(), timeout_s) from None
    finally:
        upload.stop_clock()
    if not body.tell():
        raise MalformedRequestError("The body is empty. Send an image file.")
    return body.getvalue()


def payloads(body: bytes, content_type: str | None, max_images: int) -> list[bytes]:
    """Take the picture files out of a body.

    Args:
        body: All of it.
        content_type: The header; for multipart it holds the boundary.
        max_images: In one request.

    Raises:
        ServiceError: If the body breaks its format, or holds none or too many.
    """
    match media_type(content_type):
        case "multipart/form-data":
            return _multipart(body, content_type or "", max_images)
        case "application/json":
            return _json(body, max_images)
        case _:
            return [body]


def _json(body: bytes, max_images: int) -> list[bytes]:
    # base64 has no commas, so one stands between two pictures, and one within a `data:` prefix
    if body.count(b",") > 2 * max_images + SPARE_COMMAS:
        raise TooManyImagesError(max_images)
    demand(3 * len(body))
    try:
        images = JsonImages.model_validate_json(body).images
    except ValidationError as error:
        where, _, rule = first_fault(error)
        raise MalformedRequestError(
            f"{where[:100] or 'the body'}: {rule}. Send "
            '{"images": ["<base64>", ...]}, each a whole image file in base64.'
        ) from error
    if len(images) > max_images:
        raise TooManyImagesError(max_images)
    return [from_base64(text, index) for index, text in enumerate(images)]


def from_base64(text: str, index: int) -> bytes:
    """Decode the picture of that index in the request.

    Raises:
        MalformedRequestError: If it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequestError(
            f"Image {index} is not base64 ({error}). Send the file's bytes in base64, "
            "without line breaks or a `data:` prefix.",
            index=index,
        ) from error


class _Files:
    """Callbacks of the multipart parser: keep the parts named `file`, refuse the rest."""

    def __init__(self, max_images: int) -> None:
        self.files: list[bytes] = []
        self.is_whole = False
        self._max_images = max_images
        self._header = bytearray()
        self._value = bytearray()
        self._header_bytes = 0
        self._disposition = b""
        self._part = bytearray()

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._end_form,
        }

    def _begin(self) -> None:
        if len(self.files) >= self._max_images:
            raise TooManyImagesError(self._max_images)
        self._disposition, self._part, self._header_bytes = b"", bytearray(), 0

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > MAX_HEADER_BYTES:
            raise MalformedRequestError(
                f"The headers of a part have more than {MAX_HEADER_BYTES:,} bytes."
            )

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"")
        if name != FILE_FIELD:
            shown = name[:100].decode(errors="replace")
            raise MalformedRequestError(
                f"A part is named {shown!r}; each must be named 'file' and hold one image, "
                "as curl -F file=@picture.png sends it."
            )

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._part += data[start:end]

    def _end(self) -> None:
        self.files.append(bytes(self._part))

    def _end_form(self) -> None:
        self.is_whole = True


def _multipart(body: bytes, content_type: str, max_images: int) -> list[bytes]:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedRequestError("The content type multipart/form-data names no boundary.")
    collected = _Files(max_images)
    try:
        parser = MultipartParser(boundary, collected.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequestError(
            f"The body is no multipart/form-data: {error}. Send it whole, each part ended by "
            "the boundary."
        ) from error
    if not collected.is_whole:  # the parser would drop a part that was cut off
        raise MalformedRequestError("The form ends before its last boundary. Send it whole.")
    if not collected.files:
        raise MalformedRequestError("The form holds no part named 'file'. Send at least one image.")
    return collected.files
