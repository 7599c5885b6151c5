"""Offers to speak another protocol than HTTP/1.1 are ignored (RFC 9110, 7.8)."""

from collections.abc import Iterable

UPGRADE_HEADERS = (b"upgrade", b"http2-settings")


def strip_upgrade(
    method: bytes, url: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Write the head of a request again, without its offer.

    Args:
        method: As it came.
        url: As it came.
        version: Of HTTP, as `1.1`.
        headers: Names in lower case.
    """
    lines = [b"%b %b HTTP/%b" % (method, url, version)]
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            kept = b", ".join(token for token in tokens if token.lower() not in UPGRADE_HEADERS)
            lines.append(b"connection: " + kept)
        elif name not in UPGRADE_HEADERS:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
