"""Receive a request's body within the limits of size and time, and decompress it.

`POST /predict` and `POST /v2/.../infer` both read their bodies here. Bytes are counted while they
arrive, so that never more than the limit is buffered. `service.api.payloads` parses the body.
"""

import io
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from starlette.requests import Request

from service.api.budget import BodyBudget, Upload
from service.api.compression import read_codings, unpack
from service.api.record import RequestRecord
from service.errors import BodyTooLargeError, ClientDisconnectedError, MalformedRequestError
from service.settings import Settings

RECEIVE_TIMEOUT_S = 30.0


class Received(NamedTuple):
    """A decompressed body, and when its last byte arrived, on `time.perf_counter`'s clock."""

    body: bytes
    at: float


async def read_body(
    request: Request, record: RequestRecord, limits: Settings, upload: Upload
) -> Received:
    """Receive a request's body and undo its Content-Encoding.

    Args:
        request: Its body is still to be read.
        record: Has the headers; notes the bytes received.
        limits: Of size and time.
        upload: Charges the bytes to the budget of all requests.

    Raises:
        UnsupportedMediaTypeError: If the encoding is not supported.
        ServiceError: As `receive` and `unpack` raise.
    """
    codings: list[str] = []
    headers = record.headers
    if b"content-encoding" in headers:
        codings = read_codings(request.headers.getlist("content-encoding"))
    declared, limit = headers.get(b"content-length"), limits.max_body_bytes
    try:
        body = await receive(request.receive, declared, limit, limits.body_timeout_s, upload)
    finally:
        record.bytes_in = upload.received
    at = time.perf_counter()
    if codings:
        body = await unpack(body, codings, limit, upload.charge)
    return Received(body, at)


async def receive(
    next_message: Callable[[], Awaitable[MutableMapping[str, Any]]],
    declared_length: bytes | str | None,
    limit: int,
    timeout_s: float = RECEIVE_TIMEOUT_S,
    upload: Upload | None = None,
) -> bytes:
    """Collect a body within the limits of size and time.

    Args:
        next_message: ASGI's `receive`.
        declared_length: The Content-Length header; a body over the limit is rejected unread.
        limit: In bytes.
        timeout_s: For the whole body.
        upload: Charges the bytes to the budget of all requests; None: no budget.

    Raises:
        BodyTooLargeError: If the body is larger than the limit.
        RequestTimeoutError: If the body is not complete in time, or arrives too slowly.
        OverloadedError: If the budget has no room.
        ClientDisconnectedError: If the client disconnects meanwhile.
        MalformedRequestError: If the body is empty.
    """
    if declared_length is not None and declared_length.isdigit() and int(declared_length) > limit:
        raise BodyTooLargeError(limit)
    if upload is None:
        with Upload(BodyBudget(sys.maxsize)) as own:
            return await receive(next_message, declared_length, limit, timeout_s, own)
    body, size, more = io.BytesIO(), 0, True  # BytesIO returns its bytes without a copy
    try:
        async with upload.receive_timeout(timeout_s):
            while more:
                message = await next_message()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnectedError(
                        "The client closed the connection before the end of the body."
                    )
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(chunk)
                upload.charge(len(chunk))
                if size > limit:
                    raise BodyTooLargeError(limit)
                if not more and size == len(chunk):  # all in one piece
                    break
                body.write(chunk)
    except TimeoutError:
        raise upload.timeout_error(size, timeout_s) from None
    finally:
        upload.timeout, upload.received = None, size
    if not size:
        raise MalformedRequestError("The body is empty. Send an image file.")
    return chunk if size == len(chunk) else body.getvalue()
