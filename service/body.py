"""A request's body as it arrives: within the limits of size and time.

No framework here: chunks of bytes come in, a whole body goes out. Bytes are counted while they
arrive, so that nothing beyond a limit is ever held. What is in it `service.payloads` finds.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.errors import (
    BodyTooLargeError,
    ClientLeftError,
    MalformedRequestError,
    ReceiveTimeoutError,
)

RECEIVE_TIMEOUT_S = 30.0


async def receive(
    next_message: Callable[[], Awaitable[MutableMapping[str, Any]]],
    declared_length: str | None,
    limit: int,
    timeout_s: float = RECEIVE_TIMEOUT_S,
    take: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Collect a body, no further than the limits of size and time.

    Args:
        next_message: ASGI's `receive`.
        declared_length: The Content-Length header; one over the limit is refused unread.
        limit: In bytes.
        timeout_s: For the whole body, however slowly it trickles.
        take: Makes room for so many bytes more, or raises.

    Raises:
        BodyTooLargeError: If there is more than the limit.
        ReceiveTimeoutError: If the end does not come in time.
        ClientLeftError: If the client goes away meanwhile.
        MalformedRequestError: If the body is empty.
    """
    if declared_length is not None and declared_length.isdecimal() and int(declared_length) > limit:
        raise BodyTooLargeError(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            more = True
            while more:
                message = await next_message()
                if message["type"] == "http.disconnect":
                    raise ClientLeftError("The client closed the connection within the body.")
                chunk = message.get("body", b"")
                take(len(chunk))
                body += chunk
                more = message.get("more_body", False)
                if len(body) > limit:
                    raise BodyTooLargeError(limit)
    except TimeoutError:
        raise ReceiveTimeoutError(
            f"The body did not arrive within {timeout_s:g} s; {len(body):,} bytes did. "
            "Send it faster, or in smaller requests."
        ) from None
    if not body:
        raise MalformedRequestError("The body is empty. Send an image file.")
    return bytes(body)
