"""A request's body as it arrives: within the limits of size and time.

No framework here: chunks of bytes come in, a whole body goes out. Bytes are counted while they
arrive, so that nothing beyond a limit is ever held. What is in it `service.api.payloads` finds.
"""

import io
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.api.budget import Intake, Upload
from service.errors import (
    BodyTooLargeError,
    ClientDisconnectedError,
    MalformedRequestError,
)

RECEIVE_TIMEOUT_S = 30.0


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
        RequestTimeoutError: If the end does not come in time, or the bytes come too slowly.
        OverloadedError: If there is no room for them.
        ClientDisconnectedError: If the client goes away meanwhile.
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
                    raise ClientDisconnectedError(
                        "The client closed the connection within the body."
                    )
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
